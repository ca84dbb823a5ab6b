"""Pipelines whose steps do next to nothing: what is left is what the tool takes."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, Goal
from measuring import Command, Failed, remove, run, say
from peers import Programs

FEW = 5


@dataclass(frozen=True, slots=True)
class Project:
    """``run`` runs the pipeline, or what of it has to be run; ``again`` all of it. ``check`` raises Failed."""

    run: Command
    again: Command
    check: Callable[[], None]


Maker = Callable[[Path, Path, dict[str, str], int], Project]


def _do(env: dict[str, str], folder: Path, *words: str | Path) -> None:
    run(Command(tuple(map(str, words)), folder, env))


def _equal(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Failed(f"{what}: {str(found)[:200]} instead of {str(wanted)[:200]}")


_OURS_FIRST = "from pathlib import Path\n\nfrom windlass import step\n"
_OURS_STEP = "\n\n@step\ndef step_{at}({before}) -> int:\n    return {value}\n"
_OURS_COMMAND = '\n[pipeline.commands.step-{at}]\nrun = ["python", "-c", "pass"]\nneeds = [{before}]\n'


def _windlass_chain(program: Path, folder: Path, env: dict[str, str], count: int) -> Project:
    """Functions, each forked from a process that has imported what they need."""
    first = _OURS_STEP.format(at=0, before="rows: Path", value="len(list(rows.iterdir()))")
    others = (
        _OURS_STEP.format(at=at, before=f"step_{at - 1}: int", value=f"step_{at - 1} + 1") for at in range(1, count)
    )
    return _windlass(program, folder, env, _OURS_FIRST + first + "".join(others))


def _windlass_commands(program: Path, folder: Path, env: dict[str, str], count: int) -> Project:
    """Commands: each starts an interpreter of its own."""
    commands = (_OURS_COMMAND.format(at=at, before=f'"step-{at - 1}"' if at else '"rows"') for at in range(count))
    return _windlass(program, folder, env, _OURS_FIRST, "".join(commands))


def _windlass_wide(program: Path, folder: Path, env: dict[str, str], count: int) -> Project:
    marked = f"\n\n@step(grid={{'at': {list(range(count))}}})\ndef square(at: int) -> int:\n    return at * at\n"
    return _windlass(program, folder, env, _OURS_FIRST + marked)


def _windlass(program: Path, folder: Path, env: dict[str, str], source: str, config: str = "") -> Project:
    _do(env, folder.parent, program, "init", folder)
    (folder / "pipeline.py").write_text(source)
    with (folder / "windlass.toml").open("a") as file:
        file.write(config)
    (folder / "data").mkdir()
    (folder / "data" / "rows.csv").write_text("a,b\n1,2\n")
    _do(env, folder, "git", "add", "-A")
    _do(env, folder, "git", "commit", "-qm", "pipeline")
    _do(env, folder, program, "data", "add", "--name", "rows")

    ours = (str(program), "run")

    def check() -> None:
        said = run(Command((*ours, "--json"), folder, env)).said
        found = json.loads(said[said.index("{") :])["steps"]  # after what it said of its progress
        _equal({step["state"] for step in found}, {"cached"}, "windlass run, nothing changed")

    return Project(Command(ours, folder, env), Command((*ours, "--fresh"), folder, env), check)


_SCRIPT = """\
import sys

out, value, *files = sys.argv[1:]
with open(out, "w") as file:
    file.write(str(int(value) ** 2 + sum(int(open(each).read()) for each in files)))
"""
_Stage = dict[str, str | list[str]]


def _dvc_chain(program: Path, folder: Path, env: dict[str, str], count: int) -> Project:
    stages: dict[str, _Stage] = {}
    for at in range(count):
        before = [f"{at - 1}.txt"] if at else []
        command = " ".join([sys.executable, "step.py", f"{at}.txt", "1", *before])
        stages[f"step_{at}"] = {"cmd": command, "deps": ["step.py", *(before or ["data"])], "outs": [f"{at}.txt"]}
    return _dvc(program, folder, env, stages, [f"{count - 1}.txt"])


def _dvc_wide(command: str) -> Maker:
    """``command`` writes its part's square to ``${item}.txt``."""

    def project(program: Path, folder: Path, env: dict[str, str], count: int) -> Project:
        square = {"foreach": list(range(count)), "do": {"cmd": command, "outs": ["${item}.txt"]}}
        return _dvc(program, folder, env, {"square": square}, [f"{at}.txt" for at in range(count)])

    return project


def _dvc(program: Path, folder: Path, env: dict[str, str], stages: object, made: list[str]) -> Project:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "rows.csv").write_text("a,b\n1,2\n")
    _do(env, folder, "git", "init", "-q")
    _do(env, folder, program, "init", "-q")
    for name in ("core.analytics", "core.check_update"):
        _do(env, folder, program, "config", name, "false")
    (folder / "step.py").write_text(_SCRIPT)
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))  # JSON is YAML
    _do(env, folder, program, "add", "-q", "data")

    def check() -> None:
        _equal([name for name in made if not (folder / name).is_file()], [], "dvc repro left out")

    ours = (str(program), "repro", "-q")
    return Project(Command(ours, folder, env), Command((*ours, "--force"), folder, env), check)


_PREFECT = """\
from prefect import flow, task


@task
def square(n: int) -> int:
    return n * n


@flow
def wide() -> list[int]:
    return square.map(list(range({count}))).result()


if __name__ == "__main__":
    assert wide() == [n * n for n in range({count})]
    open("done", "w").close()
"""

_ZENML = """\
from zenml import pipeline, step


@step(enable_cache=False)
def square(n: int) -> int:
    return n * n


@pipeline(enable_cache=False)
def wide() -> None:
    for n in range({count}):
        square(n)


if __name__ == "__main__":
    run = wide()
    assert str(run.status) == "completed", run.status
    open("done", "w").close()
"""


def _script(source: str) -> Maker:
    """A flow in the peer's own Python; a small one before makes its database, which is not timed."""

    def project(program: Path, folder: Path, env: dict[str, str], count: int) -> Project:
        folder.mkdir()
        _do(env, folder, "git", "init", "-q")
        python = str(program.parent / "python")
        for name, width in (("warm.py", 2), ("flow.py", count)):
            (folder / name).write_text(source.format(count=width))
        command = Command((python, "flow.py"), folder, env)
        run(Command((python, "warm.py"), folder, env))
        (folder / "done").unlink()

        def check() -> None:
            _equal((folder / "done").exists(), True, f"{program.name}: the flow's end")

        return Project(command, command, check)

    return project


# A step is a Python function; DVC runs Python as a script, and is measured with a shell's `echo` too.
_WIDE: dict[str, tuple[str, Maker]] = {
    "windlass": ("windlass", _windlass_wide),
    "dvc repro": ("dvc", _dvc_wide(f"{sys.executable} step.py ${{item}}.txt ${{item}}")),
    "dvc repro of echo": ("dvc", _dvc_wide("echo $((${item} * ${item})) > ${item}.txt")),
    "prefect": ("prefect", _script(_PREFECT)),
    "zenml": ("zenml", _script(_ZENML)),
}
_CHAIN: dict[str, Maker] = {"windlass": _windlass_chain, "dvc": _dvc_chain}


def measure(programs: Programs, folder: Path, env: dict[str, str], runs: int, many: int) -> list[Figure]:
    """Nothing to do, what a step takes, and ``many`` steps side by side."""
    folder.mkdir(parents=True)
    try:
        return [*_chains(programs, folder, env, runs, many), *_fan_out(programs, folder, env, runs, many)]
    finally:
        remove(folder)


def _chains(programs: Programs, folder: Path, env: dict[str, str], runs: int, many: int) -> list[Figure]:
    names = [name for name in _CHAIN if name in programs.paths]
    idle: dict[tuple[str, int], list[float]] = {(name, count): [] for name in names for count in (FEW, many)}
    busy: dict[tuple[str, int], list[float]] = {key: [] for key in idle}
    projects: dict[tuple[str, int], Project] = {}
    for name, count in idle:
        projects[name, count] = _CHAIN[name](programs.paths[name], folder / f"{name}-{count}", env, count)
        run(projects[name, count].run)
        projects[name, count].check()
    python = Command((sys.executable, "-c", "pass"), folder, env)
    starts = []
    for turn in range(runs):
        for key in list(idle)[:: -1 if turn % 2 else 1]:
            idle[key].append(run(projects[key].run).seconds)
            busy[key].append(run(projects[key].again).seconds)
            say(f"  {key[0]}: {key[1]} steps, nothing to do {idle[key][-1]:.3f}, all of them {busy[key][-1]:.3f}")
        starts.append(run(python).seconds)
    for project in projects.values():
        project.check()
    start = statistics.median(starts)

    def more(name: str) -> list[float]:
        return [large - small for large, small in zip(idle[name, many], idle[name, FEW], strict=True)]

    pairs = zip(busy["windlass", many], busy["windlass", FEW], strict=True)
    pooled = [1000 * (large - small) / (many - FEW) for large, small in pairs]
    own = [1000 * (each - start) for each in _commands(programs, folder, env, runs)]
    peer = "dvc repro" if "dvc" in names else ""
    return [
        Figure(
            f"pipeline of {FEW} steps, nothing to do", "s", idle["windlass", FEW],
            peer, idle.get(("dvc", FEW), []), Goal(at_most=0.2, faster=7),
        ),
        Figure(
            f"pipeline of {many} steps, nothing to do: more than of {FEW}", "s", more("windlass"),
            peer, more("dvc") if peer else [], Goal(at_most=0.1),
        ),
        Figure(
            "overhead of a step in the pool", "ms", pooled, goal=Goal(at_most=5),
            note=f"(a chain of {many} steps less a chain of {FEW}) / {many - FEW}",
        ),
        Figure(
            "overhead of a step in its own process", "ms", own, goal=Goal(at_most=15),
            note=f"a command of a chain, likewise, less the interpreter's start, {1000 * start:.1f} ms here",
        ),
    ]  # fmt: skip


def _commands(programs: Programs, folder: Path, env: dict[str, str], runs: int) -> list[float]:
    """Seconds that a step takes which is a program."""
    few, many = FEW, 4 * FEW
    short, long = (
        _windlass_commands(programs.paths["windlass"], folder / f"commands-{count}", env, count)
        for count in (few, many)
    )
    found = []
    for _ in range(runs):
        less, more = run(short.again).seconds, run(long.again).seconds
        found.append((more - less) / (many - few))
    long.check()
    return found


def _fan_out(programs: Programs, folder: Path, env: dict[str, str], runs: int, wide: int) -> list[Figure]:
    """Each repetition runs all of the steps again (`--fresh`, `--force`, no cache)."""
    projects: dict[str, Project] = {}
    for name, (program, maker) in _WIDE.items():
        if program in programs.paths:
            say(f"  {name}: a fan-out of {wide}")
            projects[name] = maker(programs.paths[program], folder / f"wide-{len(projects)}", env, wide)
    times: dict[str, list[float]] = {name: [] for name in projects}
    for turn in range(runs):
        for name in list(projects)[:: -1 if turn % 2 else 1]:
            times[name].append(run(projects[name].again).seconds)
            projects[name].check()
            say(f"  {name}: fan-out {times[name][-1]:.3f}")
    return [
        Figure(
            f"fan-out of {wide} steps", "s", times["windlass"],
            *(("", []) if name == "windlass" else (name, times[name])),
            Goal() if "echo" in name else Goal(faster=20),
        )
        for name in projects
        if name != "windlass" or len(projects) == 1
    ]  # fmt: skip
