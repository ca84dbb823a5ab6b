"""Makes the data, always the same: `python generating.py small-files|large-file|insert ...`, a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SEED = 20261121
FOLDERS = 100
ROWS_AT_ONCE = 200_000
INSERTED = 5
TOWNS = np.frombuffer(b"parismilantokyoquitocairodelhilagososaka", dtype=np.uint8).reshape(8, 5)


def small_files(folder: Path, count: int) -> None:
    """Files of 4 to 20 KB in up to 100 folders: every other one words (compressible), the rest random bytes."""
    random = np.random.default_rng(SEED)
    letters = random.integers(97, 123, size=(4000, 9), dtype=np.uint8)
    words = np.array([bytes(row[: 2 + i % 8]) for i, row in enumerate(letters)], dtype=object)
    weights = 1 / np.arange(1, len(words) + 1)
    steps = np.cumsum(weights / weights.sum())
    for at in range(FOLDERS):
        (folder / f"part-{at:03}").mkdir(parents=True)
    for at in range(count):
        size = int(random.integers(4096, 20481))
        if at % 2:
            content = random.bytes(size)
        else:
            chosen = words[np.minimum(np.searchsorted(steps, random.random(size // 3)), len(words) - 1)]
            content = b" ".join(chosen.tolist())[:size]
        (folder / f"part-{at % FOLDERS:03}" / f"{at:06}.{'bin' if at % 2 else 'txt'}").write_bytes(content)


def _digits(values: np.ndarray, width: int) -> np.ndarray:
    tens = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return (48 + values[:, None] // tens % 10).astype(np.uint8)


def _rows(random: np.random.Generator, first: int, count: int) -> np.ndarray:
    """number,time,person,town,amount,score: of one width, so that the middle of the file is a row's beginning."""

    def mark(sign: str) -> np.ndarray:
        return np.full((count, 1), ord(sign), dtype=np.uint8)

    number = np.arange(first, first + count, dtype=np.int64)
    columns = [
        _digits(number, 9), mark(","),
        _digits(1_700_000_000 + number // 7, 10), mark(","),
        _digits(random.integers(0, 10**6, count), 6), mark(","),
        TOWNS[random.integers(0, len(TOWNS), count)], mark(","),
        _digits(random.integers(0, 10**3, count), 3), mark("."), _digits(random.integers(0, 100, count), 2), mark(","),
        mark("0"), mark("."), _digits(random.integers(0, 10**8, count), 8), mark("\n"),
    ]  # fmt: skip
    return np.concatenate(columns, axis=1)


def large_file(path: Path, size: int) -> None:
    """A table of about ``size`` bytes."""
    random = np.random.default_rng(SEED)
    width = _rows(np.random.default_rng(0), 0, 1).shape[1]
    with path.open("wb") as file:
        for first in range(0, size // width, ROWS_AT_ONCE):
            file.write(_rows(random, first, min(ROWS_AT_ONCE, size // width - first)).data)


def insert(source: Path, path: Path) -> None:
    """The same table with five rows more in its middle."""
    rows = _rows(np.random.default_rng(SEED + 1), 999_999_990, INSERTED)
    half = source.stat().st_size // rows.shape[1] // 2 * rows.shape[1]
    with source.open("rb") as old, path.open("wb") as new:
        left = half
        while left and (block := old.read(min(left, 1 << 22))):
            new.write(block)
            left -= len(block)
        new.write(rows.data)
        while block := old.read(1 << 22):
            new.write(block)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["small-files", folder, count]:
            small_files(Path(folder), int(count))
        case ["large-file", path, size]:
            large_file(Path(path), int(size))
        case ["insert", source, path]:
            insert(Path(source), Path(path))
        case _:
            sys.exit("usage: generating.py small-files FOLDER COUNT | large-file FILE BYTES | insert OLD NEW")
