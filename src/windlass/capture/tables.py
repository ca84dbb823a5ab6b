"""Tables in a snapshot: rows and columns, and which of them two versions have in common."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from windlass.domain.errors import Invalid

SUFFIXES = (".parquet", ".csv")
# Beyond this, rows are not compared one by one: both versions have to be in memory.
_LARGEST_ROWS = 5_000_000
_LARGEST_CSV = 256 << 20
_PARTS, _PART = 16, 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDiff:
    """What changed in one table. ``rows_added`` and ``rows_removed`` count rows as a whole, wherever they stand."""

    path: str
    rows_before: int
    rows_after: int
    rows_added: int | None
    rows_removed: int | None
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    columns_retyped: tuple[str, ...]


def is_table(path: str) -> bool:
    return path.endswith(SUFFIXES)


def described(path: str, opened: Callable[[], BinaryIO], size: int) -> tuple[int | None, dict[str, str]]:
    """A table's rows, and its columns with their types. Of a Parquet file only the footer is read, of a huge CSV file
    only parts: then nobody knows how many rows it has.

    Raises:
        Invalid: it cannot be read as a table.
    """
    import pyarrow as pa  # noqa: PLC0415 - a dataset of other files does not need it

    with opened() as source:
        try:
            if path.endswith(".parquet"):
                import pyarrow.parquet as pq  # noqa: PLC0415

                file: Any = pq.ParquetFile(source)
                return file.metadata.num_rows, {field.name: str(field.type) for field in file.schema_arrow}
            from pyarrow import csv  # noqa: PLC0415

            whole = not is_too_large(path, size)
            rows = 0
            with csv.open_csv(source if whole else parts(source, size)) as reader:
                schema: Any = reader.schema
                if not whole:
                    return None, {field.name: str(field.type) for field in schema}
                for batch in reader:
                    rows += batch.num_rows
        except (pa.ArrowException, OSError) as error:  # a broken Parquet footer is an OSError to pyarrow
            raise unreadable(path, error) from None
    return rows, {field.name: str(field.type) for field in schema}


def is_too_large(path: str, size: int) -> bool:
    """Whether a table is only looked at in parts: all of a CSV file has to be parsed to know how many rows it has."""
    return path.endswith(".csv") and size > _LARGEST_CSV


def parts(file: BinaryIO, size: int) -> BinaryIO:
    """The header of a CSV file and whole lines from evenly spread places of it."""
    header = file.readline()
    found = [header]
    for at in range(_PARTS):
        file.seek(max(len(header), size * at // _PARTS))
        piece = file.read(_PART)
        # From the beginning of a line to the end of one; the first piece begins with one.
        start = 0 if at == 0 else piece.find(b"\n") + 1
        found.append(piece[start : piece.rfind(b"\n") + 1])
    return io.BytesIO(b"".join(found))


def compare(path: str, before: BinaryIO, after: BinaryIO) -> TableDiff:
    """What changed from one version of a table to the next.

    Raises:
        Invalid: one cannot be read as a table.
    """
    import pyarrow as pa  # noqa: PLC0415

    try:
        old, new = _read(path, before), _read(path, after)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from None
    was = {field.name: str(field.type) for field in old.schema}
    now = {field.name: str(field.type) for field in new.schema}
    added, removed = _rows(old, new)
    return TableDiff(
        path=path,
        rows_before=old.num_rows,
        rows_after=new.num_rows,
        rows_added=added,
        rows_removed=removed,
        columns_added=tuple(name for name in now if name not in was),
        columns_removed=tuple(name for name in was if name not in now),
        columns_retyped=tuple(
            f"{name}: {was[name]} -> {now[name]}" for name in was if was[name] != now.get(name, was[name])
        ),
    )


def unreadable(path: str, error: Exception) -> Invalid:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return Invalid(f"{path} cannot be read as a table: {said}", hint="repair it, or give it another name")


def _read(path: str, source: BinaryIO) -> Any:
    if path.endswith(".parquet"):
        import pyarrow.parquet as pq  # noqa: PLC0415

        return pq.read_table(source)
    from pyarrow import csv  # noqa: PLC0415

    return csv.read_csv(source)


def _rows(old: Any, new: Any) -> tuple[int | None, int | None]:
    """Rows of the one that the other has not, each as often as it stands there, by the columns that both have."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    both = [name for name in old.column_names if name in new.column_names]
    if not both or old.num_rows + new.num_rows > _LARGEST_ROWS:
        return None, None
    signed = [
        pa.table([*_plain(table, both), pa.repeat(sign, table.num_rows)], names=[*map(str, range(len(both))), "sign"])
        for table, sign in ((old, -1), (new, 1))
    ]
    together = pa.concat_tables(signed, promote_options="permissive")
    counts = together.group_by([str(at) for at in range(len(both))]).aggregate([("sign", "sum")])["sign_sum"]
    added = pc.sum(pc.if_else(pc.greater(counts, 0), counts, 0)).as_py() or 0
    removed = pc.sum(pc.if_else(pc.less(counts, 0), counts, 0)).as_py() or 0
    return added, -removed


def _plain(table: Any, columns: list[str]) -> list[Any]:
    """Columns that can be grouped by: a nested value is compared by its text."""
    import pyarrow as pa  # noqa: PLC0415

    found = []
    for name in columns:
        column = table[name]
        if pa.types.is_nested(column.type):
            column = pa.array([json.dumps(value, default=str, sort_keys=True) for value in column.to_pylist()])
        elif pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        found.append(column)
    return found
