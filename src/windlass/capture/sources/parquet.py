"""Parquet with bytes that depend on the rows only: the same rows in the same order are the same file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from windlass.domain.errors import Invalid

ROW_GROUP = 65_536  # rows


def write(schema: Any, batches: Iterable[Any], destination: Path) -> int:
    """Write Arrow batches to one new Parquet file; returns the rows.

    Raises:
        Invalid: as ``Writer``.
    """
    with Writer(schema, destination) as writer:
        for batch in batches:
            writer.add(batch)
    return writer.rows


class Writer:
    """One new Parquet file, a row group of which is in memory at a time, however the rows come in batches.

    No metadata of a writer's (pandas, Arrow's schema) is kept. Pages end where the content says, so that a row more
    changes the pages around it and the store shares the others.

    Raises:
        Invalid: a column has a type that Parquet has not.
    """

    def __init__(self, schema: Any, destination: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - heavy
        import pyarrow.parquet as pq  # noqa: PLC0415

        self.rows = 0
        self._held: list[Any] = []
        self._count = 0
        self._schema = pa.schema([pa.field(field.name, _plain(field.type), field.nullable) for field in schema])
        try:
            self._writer: Any = pq.ParquetWriter(
                destination,
                self._schema,
                version="2.6",
                compression="zstd",
                compression_level=3,
                store_schema=False,
                use_content_defined_chunking=True,
            )
        except pa.ArrowNotImplementedError as error:
            raise Invalid(
                f"a column cannot be kept as Parquet: {str(error).splitlines()[0]}", hint="cast it in the query"
            ) from None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._write(self._held)
        self._writer.close()

    def add(self, batch: Any) -> None:
        """Write a batch of rows, or keep it until there is a row group."""
        import pyarrow as pa  # noqa: PLC0415

        self._held.append(batch)
        self._count += batch.num_rows
        while self._count >= ROW_GROUP:
            table = pa.Table.from_batches(self._held)
            self._write(table.slice(0, ROW_GROUP).to_batches())
            self._held = table.slice(ROW_GROUP).to_batches()
            self._count -= ROW_GROUP

    def _write(self, batches: list[Any]) -> None:
        import pyarrow as pa  # noqa: PLC0415

        if not sum(batch.num_rows for batch in batches):
            return
        self._writer.write_table(pa.Table.from_batches(batches).cast(self._schema), row_group_size=ROW_GROUP)
        self.rows += sum(batch.num_rows for batch in batches)


def _plain(kind: Any) -> Any:
    """A dictionary is a way to encode, which depends on how the values came in batches; what counts is its values."""
    import pyarrow as pa  # noqa: PLC0415

    return kind.value_type if pa.types.is_dictionary(kind) else kind
