"""A pretrained model: Gemma 3 270M, from packages. Without the extra these tests are skipped, and say so."""

import pytest

import interp
from interp.bundled.gemma import GEMMA, gemma_parts
from interp.errors import UserError
from interp.subject import Subject


@pytest.fixture(scope="session")
def gemma() -> Subject:
    """On the backend that `auto` takes, in single precision; made in the cache if it is not there yet."""
    try:
        gemma_parts()
    except UserError as error:
        pytest.skip(f"{error.thing}; {error.fix}")
    return interp.load(GEMMA, device="cpu")
