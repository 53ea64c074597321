"""Configs for models that a user brings, end to end on small random models of the same architecture."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interp.cli.loading import load_config
from interp.cli.shipped import config_folders
from interp.errors import UserError
from interp.plan.estimate import estimate
from interp.plan.machines import reference_machine
from interp.track.run import open_run
from tests.parity.subject_folders import save_model
from tests.unit import hub_cache
from tests.unit.hub_cache import HubCache

pytestmark = pytest.mark.filterwarnings("ignore::saes.trained_on.UnknownTraining")
SMALL = [
    "wandb.mode=disabled",
    "mining.context_size=32",
    "mining.tokens_per_batch=1024",
    "mining.sampled_tokens=256",
    "mining.sampled_rows=64",
    "describe.sample=2",
    "describe.random_windows=5",
    "describe.nulls=2",
]
SMALL_SAE = [
    "sae.architecture={kind: topk, k: 4}",
    "sae.n_latents=32",
    "sae.training_tokens=1024",
    "sae.batch_tokens=128",
    "sae.buffer_tokens=512",
    "sae.context_size=32",
]


@pytest.mark.parametrize(
    "path",
    sorted(file for folder in config_folders() for file in folder.rglob("*.yaml")),
    ids=lambda p: p.stem,
)
def test_every_config_is_valid(path: Path) -> None:
    _, config = load_config(path)
    assert config.purpose


@pytest.mark.parametrize(
    ("config", "tokens", "tflops", "gigabytes", "minutes"),
    [
        ("gpt2_features", 2e6, 20, 4.1, 7),
        ("pythia_features", 1e6, 0.2, 2, 35),
        ("gemma2_gemmascope", 2e6, 100, 11, 4),
        ("llama31_llamascope", 2e6, 100, 24, 10),
    ],
)
def test_purposes_say_what_the_estimate_says(
    config: str, tokens: float, tflops: float, gigabytes: float, minutes: float
) -> None:
    _, settings = load_config(config)
    found = estimate(settings, int(tokens))
    machine = reference_machine().with_product(tflops * 1e12)
    assert f"({gigabytes} GB; {tokens / 1e6:.0f}M tokens: {minutes} minutes" in settings.purpose
    assert f"of {tflops} TFLOP/s" in settings.purpose
    assert 0.8 * gigabytes < found.bytes / 1e9 < 1.01 * gigabytes
    assert 0.7 * minutes < found.seconds(machine) / 60 < 1.15 * minutes


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Documents of random words, so that models of bytes have something to react to."""
    random = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta", "one", "two", "it", "was", "red", "and"]
    lines = [json.dumps({"text": " ".join(random.choice(words, 20))}) for _ in range(60)]
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def run(tmp_path: Path, text: Path) -> Callable[..., Path]:
    """Runs a config as `interp run` does, and returns the folder of the run."""

    def go(config: str, architecture: str, name: str, *overrides: str) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            save_model(architecture, folder)
        given = [f"subject.name={folder}", "subject.device=cpu", f"corpus.path={text}", *SMALL, *overrides]
        experiment, settings = load_config(config, given)
        experiment.check(settings)
        with open_run(settings, settings.name, tmp_path / "runs") as opened:
            experiment.run(settings, opened)
        return opened.folder

    return go


def finished(folder: Path) -> dict[str, float]:
    page = (folder / "report.html").read_text()
    assert "<script src" not in page
    metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return metrics


@pytest.mark.parametrize(
    ("config", "architecture", "name", "site"),
    [
        ("gpt2_features", "gpt2", "gpt2", "resid_post.1"),
        ("pythia_features", "gpt-neox", "pythia-70m-deduped", "resid_post.1"),
    ],
)
def test_training_an_sae_on_your_model(
    run: Callable[..., Path], config: str, architecture: str, name: str, site: str
) -> None:
    folder = run(config, architecture, name, f"sae_site={site}", *SMALL_SAE)
    assert "sae/explained_variance" in finished(folder)
    assert (folder / "sae" / "sae_weights.safetensors").is_file()


def test_gemma_scope(run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = HubCache(tmp_path / "hub", monkeypatch)
    hub_cache.gemma_scope(cache, 32, path="layer_1/width_16k/average_l0_102")
    with pytest.raises(UserError, match="is not in the cache, and the hub cannot be reached"):
        run("gemma2_gemmascope", "gemma2", "gemma-2-2b")  # as it stands: layer 12
    folder = run("gemma2_gemmascope", "gemma2", "gemma-2-2b", f"saes=[{'/'.join(hub_cache.GEMMA)}]")
    compared(folder)


def test_llama_scope(run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = HubCache(tmp_path / "hub", monkeypatch)
    hub_cache.llama_scope(cache, 32, norm=32**0.5 / 39.76699029126213, threshold=0.01)
    with pytest.raises(UserError, match=r"trained on meta-llama/Llama-3.1-8B, not on llama-tiny"):
        run("llama31_llamascope", "llama", "llama-tiny", f"saes=[{'/'.join(hub_cache.LLAMA)}]")
    compared(run("llama31_llamascope", "llama", "Llama-3.1-8B", f"saes=[{'/'.join(hub_cache.LLAMA)}]"))


def compared(folder: Path) -> None:
    finished(folder)
    tables = {file.stem: pd.read_parquet(file) for file in (folder / "tables").glob("*.parquet")}
    kinds = {str(value) for table in tables.values() if "space" in table for value in table["space"]}
    assert not kinds or any("sae" in kind for kind in kinds)
    assert tables
