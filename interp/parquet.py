"""Parquet files that come from outside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interp.errors import UserError
from interp.outside import open_file

LARGEST_TABLE = 4 * 2**30
"""Bytes of a table after unpacking."""
MOST_ROWS = 20_000_000


def read_parquet(path: Path, fix: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Reads a Parquet file that has these columns and may have others.

    Raises:
        UserError: as `open_file`; or it is not Parquet, is damaged, is larger than 4 GiB unpacked, or lacks a
            column.
    """
    table: pd.DataFrame = _table(path, fix, columns).to_pandas()
    return table


def parquet_rows(path: Path, fix: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Reads the rows of a Parquet file with exactly these columns, as plain values; a missing one is None.

    Raises:
        UserError: as `read_parquet`, or it has another column, or more than 20 million rows.
    """
    table = _table(path, fix, columns)
    others = [name for name in table.column_names if name not in columns]
    if others:
        raise UserError(f"the table has the column {', '.join(others)}, which is not known", str(path), fix)
    if table.num_rows > MOST_ROWS:
        raise UserError(f"the table has more than {MOST_ROWS:,} rows", str(path), fix)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _table(path: Path, fix: str, columns: Sequence[str]) -> pa.Table:
    with open_file(path, fix) as raw:
        try:
            file = pq.ParquetFile(raw)
            groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
            if sum(group.total_byte_size for group in groups) > LARGEST_TABLE:
                raise UserError("the table is larger than 4 GiB when it is unpacked", str(path), fix)
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise UserError(f"the table has no column {', '.join(missing)}", str(path), fix)
            return file.read()
        except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
            raise UserError(f"the file cannot be read as Parquet ({error})", str(path), fix) from None
