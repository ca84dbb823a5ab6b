"""Parquet with bytes that depend on the rows only: the same rows in the same order are the same file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from windlass.domain.errors import Invalid

ROW_GROUP = 65_536  # rows


def write(schema: Any, batches: Iterable[Any], destination: Path) -> int:
    """Write Arrow batches to one new Parquet file, a row group of them in memory at a time; returns the rows.

    No metadata of a writer's (pandas, Arrow's schema) is kept. Pages end where the content says, so that a row more
    changes the pages around it and the store shares the others.

    Raises:
        Invalid: a column has a type that Parquet has not.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415

    plain = pa.schema([pa.field(field.name, _plain(field.type), field.nullable) for field in schema])
    rows = 0
    try:
        with pq.ParquetWriter(
            destination,
            plain,
            version="2.6",
            compression="zstd",
            compression_level=3,
            store_schema=False,
            use_content_defined_chunking=True,
        ) as writer:
            for group in _groups(batches):
                writer.write_table(group.cast(plain), row_group_size=ROW_GROUP)
                rows += group.num_rows
    except pa.ArrowNotImplementedError as error:
        raise Invalid(
            f"a column cannot be kept as Parquet: {str(error).splitlines()[0]}", hint="cast it in the query"
        ) from None
    return rows


def _plain(kind: Any) -> Any:
    """A dictionary is a way to encode, which depends on how the values came in batches; what counts is its values."""
    import pyarrow as pa  # noqa: PLC0415

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _groups(batches: Iterable[Any]) -> Iterable[Any]:
    """The rows as tables of ROW_GROUP each, however they came; the last has what is left."""
    import pyarrow as pa  # noqa: PLC0415

    held: list[Any] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= ROW_GROUP:
            table = pa.Table.from_batches(held)
            yield table.slice(0, ROW_GROUP)
            held, count = table.slice(ROW_GROUP).to_batches(), count - ROW_GROUP
    if count:
        yield pa.Table.from_batches(held)
