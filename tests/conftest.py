"""How tests run: their threads, types that are checked at every call, and the models that all share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

if "PYTEST_XDIST_WORKER" in os.environ:  # more threads get in each other's way on two cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Documents are written in some forty short calls each, which would take eight times as long with checks, and
# every test reads documents: what is imported here, before the hook, goes unchecked.
import interp.bundled.world.corpus  # noqa: F401

settings.register_profile(
    "interp", deadline=None
)  # two workers on two cores: a time says nothing of the code
settings.load_profile("interp")
install_import_hook(["interp", "saes"], "beartype.beartype")

from interp.subject import Subject  # noqa: E402
from tests.subjects import BACKENDS, pydoc_subject, world_subject  # noqa: E402

FIRST = ("real/test_gemma.py", "integration/test_world_card.py")
"""What other files wait for (Gemma's weights in the cache), and what takes longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files in `FIRST`; all others stay in their order."""
    order = {Path(__file__).parent / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(FIRST)))


@pytest.fixture(scope="session")
def subject() -> Subject:
    """The bundled world; a file that studies another model says so by a fixture of this name."""
    return world_subject()


@pytest.fixture(scope="session", params=BACKENDS)
def each_backend(request: pytest.FixtureRequest) -> Subject:
    """The world on one backend after the other."""
    return world_subject(request.param)


@pytest.fixture(scope="session")
def pydoc() -> Subject:
    return pydoc_subject()
