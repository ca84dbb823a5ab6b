"""Files of rows, read in pieces and written in one go: Parquet, CSV and JSON lines, by their suffix."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from windlass.domain.errors import Conflict, Failure, Invalid, NotFound

SUFFIXES = {".parquet": "table", ".csv": "csv", ".jsonl": "lines", ".ndjson": "lines"}
_LONGEST_LINE = 16 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """The pieces of a file, in order; ``done`` is the part of it that was read, from 0 to 1."""

    pieces: Iterator[pa.Table]
    done: Callable[[], float]


def form_of(path: Path) -> str:
    """How a file is read or written: table, csv or lines.

    Raises:
        Invalid: its suffix is of none.
    """
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise Invalid(f"'{path.name[:80]}' is of no known form", hint=f"name it {', '.join(SUFFIXES)}") from None


def read(path: Path, needed: Sequence[str], kept: Sequence[str], rows: int) -> Rows:
    """A file in pieces of at most ``rows`` rows: the columns needed and those to keep; of JSON lines, one ``line``.

    The cells of a CSV are text but in columns that are only kept.

    Raises:
        Invalid: it is not what its suffix says, or lacks a column; pieces raise it too.
    """
    form = form_of(path)
    wanted = list(dict.fromkeys([*needed, *kept]))
    try:
        match form:
            case "table":
                return _parquet(path, wanted, rows)
            case "csv":
                return _csv(path, wanted, needed, rows)
            case _:
                return _lines(path, rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise Invalid(f"{path} cannot be read as {path.suffix}: {_first_line(error)}") from None


def _parquet(path: Path, wanted: Sequence[str], rows: int) -> Rows:
    file = pq.ParquetFile(path)
    _require(path, wanted, file.schema_arrow.names)
    read = 0

    def pieces() -> Iterator[pa.Table]:
        nonlocal read
        with _readable(path), file:
            for batch in file.iter_batches(rows, columns=list(wanted)):
                read += batch.num_rows
                yield pa.Table.from_batches([batch]).select(wanted)

    return Rows(pieces(), lambda: read / max(1, file.metadata.num_rows))


def _csv(path: Path, wanted: Sequence[str], needed: Sequence[str], rows: int) -> Rows:
    size, opened = max(1, path.stat().st_size), path.open("rb")
    try:
        with path.open("rb") as first:
            header = pc.open_csv(pa.BufferReader(first.readline(_LONGEST_LINE).strip() + b"\n")).schema.names
        _require(path, wanted, header)
        options = pc.ConvertOptions(
            include_columns=list(wanted), column_types=dict.fromkeys(needed, pa.string()), strings_can_be_null=False
        )
        reader = pc.open_csv(opened, pc.ReadOptions(use_threads=False, block_size=4 << 20), convert_options=options)
    except BaseException:
        opened.close()
        raise

    def pieces() -> Iterator[pa.Table]:
        with _readable(path), opened, reader:
            yield from _of_size((pa.Table.from_batches([batch]) for batch in reader), rows)

    return Rows(pieces(), lambda: 1.0 if opened.closed else opened.tell() / size)


def _of_size(pieces: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in pieces of one size; the last may be smaller."""
    waiting: list[pa.Table] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.num_rows
        while count >= rows:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, rows)
            waiting, count = [whole.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(waiting)


def _lines(path: Path, rows: int) -> Rows:
    size, file = max(1, path.stat().st_size), path.open("rb")

    def pieces() -> Iterator[pa.Table]:
        with file:
            lines: list[bytes] = []
            while line := file.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise Invalid(f"{path} has a line of over {_LONGEST_LINE >> 20} MiB")
                lines.append(line)
                if len(lines) == rows:
                    yield pa.table({"line": pa.array(lines, type=pa.binary())})
                    lines = []
            if lines:
                yield pa.table({"line": pa.array(lines, type=pa.binary())})

    return Rows(pieces(), lambda: 1.0 if file.closed else file.tell() / size)


def _require(path: Path, wanted: Sequence[str], there: Sequence[str]) -> None:
    for name in wanted:
        if name not in there:
            raise Invalid(f"{path} lacks the column '{name}'", hint=f"it has {', '.join(there)[:300]}")
        if list(there).count(name) > 1:
            raise Invalid(f"{path} has more than one column '{name}'")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise Invalid(f"{path} cannot be read as {path.suffix}: {_first_line(error)}") from None


class Output:
    """A file that is there whole, or not: written beside its place, and moved there by ``finish``."""

    def __init__(self, path: Path, *, force: bool) -> None:
        """Raises:
        Conflict: something is there already, and ``force`` is not given.
        NotFound: its folder is not there.
        """
        self.path, self._form, self._force = path, form_of(path), force
        self.refuse_existing()
        if not path.parent.is_dir():
            raise NotFound(f"no folder {path.parent}", hint="make it first")
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        _sweep(path)
        self._file: Any = None
        self._writer: Any = None
        self._schema: pa.Schema | None = None

    def refuse_existing(self) -> None:
        if self.path.exists() and not self._force:
            raise Conflict(f"{self.path} is there already", hint="give another name, or --force to replace it")

    def write(self, table: pa.Table) -> None:
        """Raises Failure when the rows are not of the first ones' types, or cannot be written."""
        try:
            if self._schema is None:
                self._open(table.schema)
            made = table.cast(self._schema)
            if self._form == "lines":
                self._file.writelines(msgspec.json.encode(row) + b"\n" for row in made.to_pylist())
            else:
                self._writer.write_table(made)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
            hint = "keep fewer columns, or write another form"
            raise Failure(f"{self.path} cannot take these rows: {_first_line(error)}", hint=hint) from None
        except OSError as error:
            raise Failure(f"cannot write {self.path}: {error.strerror or error}", hint="check the disk") from None

    def finish(self) -> None:
        """Put the file in its place.

        Raises:
            Conflict: something came there meanwhile.
            Failure: it cannot be written.
        """
        try:
            if self._writer is not None:
                self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self.refuse_existing()
            self._temporary.replace(self.path)
        except OSError as error:
            raise Failure(f"cannot write {self.path}: {error.strerror or error}", hint="check the disk") from None

    def abandon(self) -> None:
        """Leave nothing behind."""
        for each in (self._writer, self._file):
            if each is not None:
                with suppress(OSError, ValueError):  # pyarrow's are ValueErrors
                    each.close()
        self._temporary.unlink(missing_ok=True)

    def _open(self, schema: pa.Schema) -> None:
        # A kept column that is empty so far: of what type it is, nobody knows yet.
        types = [
            pa.field(each.name, pa.string() if pa.types.is_null(each.type) else each.type) for each in schema
        ]  # fmt: skip
        self._schema = pa.schema(types)
        self._file = self._temporary.open("wb")
        if self._form == "table":
            self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        elif self._form == "csv":
            self._writer = pc.CSVWriter(self._file, self._schema)


def _sweep(path: Path) -> None:
    """Remove what processes that were killed have left of this file."""
    for left in path.parent.glob(f".{path.name}.*.partial"):
        owner = left.name.split(".")[-2]
        if owner.isdigit() and not _alive(int(owner)):
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]
