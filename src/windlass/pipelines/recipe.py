"""Recipes: the digest over everything that determines what a step makes.

The code of a function step is what its result can depend on: its own source, the definitions of the pipeline's file
that it uses, however indirectly, and the whole import closure of the project's modules that those use. A change to
another step of the same file, or to a module that it does not import, leaves it as it was.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windlass.capture import code
from windlass.domain import digest
from windlass.pipelines.graph import Step, is_step

FORMAT = 1
_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*):[A-Za-z_][A-Za-z0-9_]*")


def parts(
    *,
    step_code: Mapping[str, str],
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    seed: int,
    threads: int,
    environment: str,
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """The parts of a recipe; its digest is ``digest.of`` of them."""
    return {
        "format": FORMAT,
        "code": dict(step_code),
        "inputs": dict(inputs),
        "config": dict(config),
        "seed": seed,
        "threads": threads,
        "environment": environment,
        "variables": dict(variables),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing in which a recipe differs from an earlier one; None: it has or had no such thing."""

    part: str
    name: str
    before: Any
    after: Any


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Exactly what differs between two recipes of a step."""
    found = [
        Change(part=part, name=name, before=old[part].get(name), after=new[part].get(name))
        for part in ("code", "inputs", "config", "variables")
        for name in sorted(old[part].keys() | new[part].keys())
        if old[part].get(name) != new[part].get(name)
    ]
    return found + [
        Change(part=part, name=part, before=old[part], after=new[part])
        for part in ("seed", "threads", "environment")
        if old[part] != new[part]
    ]


def difference(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    """Why a step has to run, in words."""
    if old is None:
        return "first run"
    words = {"config": "config {}", "variables": "variable {}"}
    said = [words.get(each.part, "{}").format(each.name) for each in changes(old, new)]
    return ", ".join(said) + " changed" if said else "it was asked to run again"


class Codes:
    """The code of the steps of one pipeline, in a checkout that nobody edits: what they share is looked at once."""

    def __init__(self, root: Path, file: str) -> None:
        self._root, self._file = root, file
        self._tree: ast.Module | None = None
        self._sources: dict[ast.stmt, str] = {}
        self._closures: dict[Path, dict[str, str]] = {}
        self._known: dict[str, dict[str, str]] = {}

    def of(self, step: Step) -> dict[str, str]:
        """What a step's result can depend on in the project: name -> digest.

        Raises:
            NotFound: a file is missing.
        """
        if step.name not in self._known:
            self._known[step.name] = _of_command(self._root, step) if step.command else self._of_function(step)
        return self._known[step.name]

    def _of_function(self, step: Step) -> dict[str, str]:
        found: dict[str, str] = {}
        segments = []
        for node in _reached(self._parsed(), step.name):
            segments.append(self._source(node))
            for module in _modules(self._root, node):
                found |= self._closure(module)
        # The file itself stands for the step's own part of it; that somebody imports it back is no new dependency.
        found.pop(self._file, None)
        return {f"{self._file}:{step.name}": digest.of(segments), **dict(sorted(found.items()))}

    def imported(self) -> list[str]:
        """The modules of others that the pipeline's file imports when it is loaded."""
        names: dict[str, None] = {}
        for node in self._parsed().body:
            if isinstance(node, ast.Import):
                names |= dict.fromkeys(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names[node.module] = None
        return [name for name in names if not _is_ours(self._root, name.partition(".")[0])]

    def _parsed(self) -> ast.Module:
        if self._tree is None:
            self._tree = ast.parse((self._root / self._file).read_text(encoding="utf-8"))
        return self._tree

    def _source(self, node: ast.stmt) -> str:
        if node not in self._sources:
            self._sources[node] = ast.unparse(node)
        return self._sources[node]

    def _closure(self, module: Path) -> dict[str, str]:
        if module not in self._closures:
            self._closures[module] = code.closure(self._root, module)
        return self._closures[module]


def code_of(root: Path, file: str, step: Step) -> dict[str, str]:
    """What one step's result can depend on; see ``Codes``."""
    return Codes(root, file).of(step)


def _is_ours(root: Path, name: str) -> bool:
    return (root / f"{name}.py").is_file() or (root / name).is_dir()


def _of_command(root: Path, step: Step) -> dict[str, str]:
    found = {"command": digest.of(list(step.command))}
    for word in step.command:
        if word.endswith(".py") and (root / word).is_file():
            found |= code.closure(root, Path(word))
    return found


def _reached(tree: ast.Module, name: str) -> list[ast.stmt]:
    """The top-level statements that the step named ``name`` depends on, in their order."""
    definers: dict[str, list[int]] = {}
    always: set[int] = set()
    for index, node in enumerate(tree.body):
        names = set(_defined(node))
        if names and not isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for each in names:
                definers.setdefault(each, []).append(index)
        elif not _is_docstring(node):
            always.add(index)  # it runs whenever the file is imported, whatever it does
    pending = [*always, *definers.get(name, ())]
    reached: set[int] = set()
    while pending:
        index = pending.pop()
        if index in reached:
            continue
        reached.add(index)
        node = tree.body[index]
        for used in ast.walk(node):
            if isinstance(used, ast.Name):
                # Steps take each other's results by parameters, which are values: the name is no use of the code.
                pending += [each for each in definers.get(used.id, ()) if not is_step(tree.body[each])]
    return [tree.body[index] for index in sorted(reached)]


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            if alias.name != "*":
                yield alias.asname or alias.name.partition(".")[0]
    else:
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                yield each.id


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _modules(root: Path, statement: ast.stmt) -> Iterator[Path]:
    """The project's modules that a statement imports, or names as "module:function"."""
    for node in ast.walk(statement):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = _REFERENCE.fullmatch(node.value)
            names = [match.group(1)] if match else []
        for name in names:
            path = Path(*name.split("."))
            for candidate in (path.with_suffix(".py"), path / "__init__.py"):
                if (root / candidate).is_file():
                    yield candidate
