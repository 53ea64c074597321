"""A browser, a server of the app on the world, and pages that note what goes wrong on them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright

from interp import Site, Subject, Vector
from interp.corpus.source import WorldSource
from interp.monitor.bench import Bench, Sources
from interp.store.rows import Contents, DescriptionRow, FeatureRow, ScoreRow
from interp.store.store import Store, open_store
from interp.vectors.file import save_vectors
from interp.web.app import make_app
from interp.web.sessions import Limits
from tests.browser.monitor import Monitor
from tests.browser.visit import Visit
from tests.integration.toy_runs import TOYS, start
from tests.web_server import running, slowly

HOSTILE = '"><img src=x onerror="alert(1)">'
SCRIPT = "<script>alert(1)</script> & verbs"
DESCRIBED = """
mlp.0/49- mlp.0/52- mlp.0/106+ mlp.0/112+ mlp.0/128- mlp.0/138- mlp.0/144- mlp.0/189- mlp.0/191- mlp.0/221-
mlp.0/230+ mlp.0/285- mlp.1/101+ mlp.1/301- mlp.2/244- mlp.5/215-
"""
"""The neurons that do most to the world's answer to `tests.browser.monitor.WRONG`, and some about numbers."""
DOCUMENTS = 12_000


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program. Without one these tests are skipped, unless INTERP_BROWSER=required."""
    path = os.environ.get("INTERP_CHROMIUM", "/usr/bin/chromium")
    if os.access(path, os.X_OK):
        return path
    missing = f"there is no browser {path}: apt-get install chromium, or set INTERP_CHROMIUM"
    if os.environ.get("INTERP_BROWSER") == "required":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """The browser; it ends with this folder's tests, since no other loop can run while it does."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="session")
def store(chromium: str, subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen neurons as the package describes them, and one whose description is hostile."""
    path = tmp_path_factory.mktemp("browser") / "store.sqlite"
    keys = DESCRIBED.split()
    scored = ScoreRow("simulation", "known", "report", 0.5, 0.4, 0.6, 0.0, -0.1, 0.2, 20)
    row = DescriptionRow(f"{SCRIPT} {HOSTILE}", "test", scores=(scored,))
    hostile = FeatureRow("mlp.2", 300, 1, 0.1, {"0.99999": 2.0}, (row,))
    with open_store("world") as known, Store(path) as made:
        spaces = {key.rpartition("/")[0] for key in [*keys, hostile.key]}
        rows = [*known.features("world", keys), hostile]
        made.put_all(Contents([one for one in known.spaces() if one.name in spaces], {"world": rows}))
    return path


@pytest.fixture(scope="session")
def bench(subject: Subject, store: Path) -> Bench:
    """What `interp serve` opens."""
    texts = WorldSource(documents=DOCUMENTS)
    return Sources(stores=(str(store),), neutral=texts, neutral_texts=4, corpora=(texts,)).open(subject)


@pytest.fixture(scope="session")
def vectors(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a vector that is long enough to change what is written."""
    folder = tmp_path_factory.mktemp("vectors")
    values = 8 * torch.randn(subject.d_model, generator=torch.Generator().manual_seed(1))
    save_vectors(folder / "noise.safetensors", [Vector("noise", Site("resid_post", 4), values, "world")])
    return folder


@pytest.fixture(scope="session")
def runs(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of the toy experiment; the name of one is hostile."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("toy", "toy_folder"):
        process = start(folder, "run", str(TOYS / f"{name}.yaml"), "--runs-dir", str(folder))
        printed = process.communicate(timeout=120)
        assert process.returncode == 0, printed
    (folder / "toy").rename(folder / HOSTILE)
    return folder


@pytest.fixture(scope="session")
def app(bench: Bench, vectors: Path, runs: Path) -> FastAPI:
    return make_app(bench, vectors=[vectors], limits=Limits(sessions=200), runs_dir=runs)


@pytest.fixture(scope="session")
def server(app: FastAPI) -> Iterator[str]:
    """The address of the server that all tests share."""
    with running(app) as address:
        yield address


@pytest.fixture
def slow(app: FastAPI, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every pass of the model take a moment."""
    monkeypatch.setattr(app.state.worker, "_guarded", slowly(subject))


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Callable[..., Visit]]:
    """Opens pages, each in a context of its own; at the end nothing may have gone wrong on any of them."""
    made: list[Visit] = []

    def opened(address: str = server, **options: Any) -> Visit:
        made.append(Visit(browser, address, **options))
        return made[-1]

    yield opened
    wrong = [one.wrong for one in made]
    for one in made:
        one.close()
    assert not any(wrong), wrong


@pytest.fixture
def monitor(visit: Callable[..., Visit]) -> Monitor:
    """The Monitor with a new session of plain text."""
    return Monitor(visit()).text()
