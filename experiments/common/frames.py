"""Groups of a table's rows."""

from collections.abc import Iterator
from typing import Any

import pandas as pd


def groups(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yields the values of some columns and the rows that have them, in the order in which they come first.

    Their types are the columns'; the keys of `frame.groupby` are only known to be hashable.
    """
    yield from frame.groupby(list(columns), sort=False)
