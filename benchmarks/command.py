"""What the benchmarks' command lines have in common: options, a folder to work in, parts, and how they end."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from figures import Figure, Machine, as_json, from_json, table
from measuring import Failed, machine, remove, say

B = TypeVar("B")
NAMING = ("--folder", "--environments", "--json")  # options that name this machine's folders


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Where to work, what to keep, and how to print."""
    parser.add_argument("--folder", type=Path, help="where to work [a temporary folder]")
    parser.add_argument("--environments", type=Path, help="keep the peers' environments here, and use them again")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    parser.add_argument("--markdown", action="store_true", help="print the section of docs/benchmarks.md")
    parser.add_argument("--from", dest="given", type=Path, help="print what a run wrote with --json; run nothing")
    parser.add_argument("--keep", action="store_true", help="leave the folder")


@contextlib.contextmanager
def working_folder(options: argparse.Namespace) -> Iterator[Path]:
    """A new folder, removed afterwards unless it is to be kept."""
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="windlass-bench-", dir=options.folder)).resolve()
    try:
        yield folder
    finally:
        if options.keep:
            say(f"left: {folder}")
        else:
            remove(folder)


def facts(folder: Path) -> Machine:
    """The machine's; warns where the disk is none."""
    found = machine(folder)
    if found["filesystem"] == "tmpfs":
        say("warning: the folder is in memory (tmpfs), so an fsync costs nothing: choose another with --folder")
    return found


def parts_of(
    names: Iterable[str], parts: Mapping[str, Callable[[B], list[Figure]]], bench: B
) -> tuple[list[Figure], list[str]]:
    """The figures of each part, and which parts failed, with why."""
    figures, failed = list[Figure](), list[str]()
    for name in names:
        say(name)
        try:
            figures += parts[name](bench)
        except Failed as error:
            say(str(error))
            failed.append(f"{name}: {str(error).splitlines()[0]}")
    return figures, failed


def document(script: str, figures: list[Figure], left_out: list[str], **more: Any) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {
        "command": shlex.join(["uv", "run", f"benchmarks/{script}", *own_words(sys.argv[1:])]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        **more,
        "figures": [as_json(figure) for figure in figures],
        "left_out": left_out,
    }


def own_words(words: list[str]) -> list[str]:
    """Without the options that name this machine's folders or only choose how to print."""
    kept, skip = list[str](), False
    for word in words:
        if not (skip or word in {"--markdown", "--keep"} or word.startswith(NAMING)):
            kept.append(word)
        skip = not skip and word in NAMING
    return kept


def finish(
    options: argparse.Namespace,
    measured: Callable[[argparse.Namespace], dict[str, Any]],
    markdown: Callable[[dict[str, Any]], str],
    about: Callable[[dict[str, Any]], Iterable[str]] = lambda _: (),
) -> None:
    """Measure, or read what a run wrote; then write and print it. ``about`` gives lines to print above the table."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up, as Ctrl-C does
    found = measured(options) if options.given is None else json.loads(options.given.read_text())
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.markdown:
        print(markdown(found), end="")
        return
    for line in about(found):
        print(line)
    print(table([from_json(figure) for figure in found["figures"]]))
    for text in found["left_out"]:
        print(f"not measured: {text}")
