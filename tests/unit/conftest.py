"""A store on each kind of database; a cache of published SAEs, and models to load them into."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

import interp.subject
from interp.store.store import Store
from interp.subject import Subject
from tests.databases import KINDS, new_database, postgres_server
from tests.parity.subject_folders import save_model
from tests.unit.hub_cache import HubCache

NAMES = count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.sqlite")
    return new_database(request.getfixturevalue("server"), f"store{next(NAMES)}")


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    opened = Store(where)
    yield opened
    opened.close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    return HubCache(tmp_path / "hub", monkeypatch)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Subject]:
    """Small random models in folders that are named like the published ones."""
    folders = tmp_path_factory.mktemp("models")
    architectures = {
        "gemma-2-2b": "gemma2",
        "Llama-3.1-8B": "llama",
        "gpt2": "gpt2",
        "pythia-70m-deduped": "gpt-neox",
        "Qwen3-1.7B-Base": "qwen3",
        "DeepSeek-R1-Distill-Llama-8B": "llama",
    }

    def subject(name: str, **options: str) -> Subject:
        folder = folders / name
        if not folder.exists():
            save_model(architectures[name], folder)
        return interp.subject.load(folder, device="cpu", **options)

    return subject
