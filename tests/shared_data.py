"""Small public data that some tests hold the product against: found by a setting, never shipped."""

import os
from pathlib import Path

import pytest

SETTING = "INTERP_TEST_DATA"


def shared_data(name: str) -> Path:
    """A folder of the data; skips the test where it is not there."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get(SETTING, beside)) / name
    if not folder.is_dir():
        pytest.skip(f"{SETTING} names no folder with {name}")
    return folder
