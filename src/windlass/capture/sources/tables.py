"""The tables among the files of a dataset, read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from windlass.domain.errors import Invalid, Unavailable

_BATCH = 65_536  # rows
_CSV_BLOCK = 1 << 24  # bytes; the first decides the types


def tables(folder: Path, what: str) -> dict[str, Path]:
    """The Parquet and CSV files in a folder, by their path in it.

    Raises:
        Invalid: there are none; ``what`` names the dataset.
    """
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".parquet", ".csv") and path.is_file()
    }
    if not found:
        raise Invalid(f"{what} has no tables", hint="tables are files that end with .parquet or .csv")
    return found


@contextmanager
def opened(path: str, file: Path, columns: list[str] | None = None) -> Iterator[tuple[Any, Iterator[Any]]]:
    """A table's schema and its rows in batches, of all ``columns`` or some; ``path`` is its name in errors.

    Raises:
        Invalid: it cannot be read, or lacks a column.
        Unavailable: the disk does not do, for it or for what its rows are written to.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    try:
        if file.suffix == ".csv":
            options: Any = csv.ReadOptions(block_size=_CSV_BLOCK, use_threads=False)
            with csv.open_csv(file, read_options=options) as reader:
                schema = reader.schema
                _known(path, schema, columns)
                yield schema, (batch if columns is None else batch.select(columns) for batch in reader)
        else:
            with pq.ParquetFile(file) as parquet:
                schema = parquet.schema_arrow
                _known(path, schema, columns)
                yield schema, parquet.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:  # a broken Parquet footer is an OSError to pyarrow, without a number
        if isinstance(error, OSError) and error.errno:
            raise Unavailable(f"{path}: {error.strerror or error}", hint="check the disk") from None
        said = str(error).strip().splitlines()[0]
        raise Invalid(f"{path} cannot be read as a table: {said}", hint="repair it, or give it another name") from None


def _known(path: str, schema: Any, columns: list[str] | None) -> None:
    for column in columns or []:
        if column not in schema.names:
            known = ", ".join(schema.names)
            raise Invalid(f"{path} has no column '{column}'", hint=f"it has: {known[:300]}")


def as_parquet(paths: Mapping[str, Path]) -> dict[str, str]:
    """The path that each table has when it is written as Parquet.

    Raises:
        Invalid: two would have the same.
    """
    written = {path: str(Path(path).with_suffix(".parquet").as_posix()) for path in paths}
    if len(set(written.values())) < len(written):
        raise Invalid("two tables would be written to one file", hint="give x.csv and x.parquet different names")
    return written
