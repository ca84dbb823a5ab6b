"""A step, in the process that was forked for it (see launcher.py).

JOB is a JSON file: the project's ``root`` and pipeline ``file``, the ``step``, the ``seed``, its ``arguments`` by name,
and the folder for its ``output``. What the step returns is written there, with its description in ``value.json``.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from windlass.capture import host
from windlass.domain.errors import Failure

EXIT_INVALID = 2


def main(job_file: str) -> int:
    """Run one step; an exception of the step leaves its traceback on stderr and exit code 1."""
    job = json.loads(Path(job_file).read_text())
    root, output = Path(job["root"]), Path(job["output"])
    _seed(job["seed"])
    sys.path.insert(0, str(root))
    from windlass.pipelines import values  # noqa: PLC0415 - the seeds are set before anything else is imported

    try:
        function = getattr(_load(root / job["file"]), job["step"])
        arguments = {name: _argument(described, values) for name, described in job["arguments"].items()}
        value = function(**arguments)
        described = values.write(value, output, job["step"], root)
    except Failure as failure:
        sys.stderr.write(f"{failure.message}\n")
        if failure.hint:
            sys.stderr.write(f"next: {failure.hint}\n")
        return EXIT_INVALID
    (output / "libraries.json").write_text(json.dumps(host.libraries()))
    (output / "value.json").write_text(json.dumps(described))
    return 0


def _argument(described: dict[str, Any], values: Any) -> Any:
    if "plain" in described:
        return described["plain"]
    if "path" in described:
        return Path(described["path"])
    return values.read(described["value"], Path(described["folder"]))


def _seed(seed: int) -> None:
    """Seed what draws at random: what is imported already now, the rest when it is imported."""
    random.seed(seed)
    seeds = {"numpy": _seed_numpy, "torch": _seed_torch}
    for name, function in seeds.items():
        if name in sys.modules:
            function(seed)
    sys.meta_path.insert(0, _SeedOnImport({name: partial(each, seed) for name, each in seeds.items()}))


def _seed_numpy(seed: int) -> None:
    sys.modules["numpy"].random.seed(seed)


def _seed_torch(seed: int) -> None:
    sys.modules["torch"].manual_seed(seed)


class _SeedOnImport(MetaPathFinder):
    """Runs a function after a module's import. To import numpy only to seed it would cost each step 0.1 s."""

    def __init__(self, then: dict[str, Callable[[], None]]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        then = self._then.pop(name, None)
        spec = importlib.util.find_spec(name) if then else None
        if then is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def seeded(module: ModuleType) -> None:
            execute(module)
            then()

        spec.loader.exec_module = seeded  # type: ignore[method-assign]
        return spec


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
