"""Parquet files that come from outside."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interp.errors import UserError
from interp.outside import open_file

LARGEST_TABLE = 4 * 2**30
"""Bytes of a table after unpacking."""


def read_parquet(path: Path, fix: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """The table of a Parquet file, which has these columns and may have others.

    Raises:
        UserError: as `open_file`, or it is no Parquet file, damaged, larger than 4 GiB when it is
            unpacked, or lacks a column.
    """
    with open_file(path, fix) as raw:
        try:
            file = pq.ParquetFile(raw)
            groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
            if sum(group.total_byte_size for group in groups) > LARGEST_TABLE:
                raise UserError("the table is larger than 4 GiB when it is unpacked", str(path), fix)
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise UserError(f"the table has no column {', '.join(missing)}", str(path), fix)
            table: pd.DataFrame = file.read().to_pandas()
            return table
        except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
            raise UserError(f"the file cannot be read as Parquet ({error})", str(path), fix) from None
