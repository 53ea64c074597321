"""superposition on a small config, as a person runs it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from interp.cli.loading import load_config
from interp.errors import UserError
from tests.command_line import process

CONFIG = Path(__file__).parents[2] / "configs" / "superposition.yaml"
TRAINING = "{steps: 600, batch: 128, learning_rate: 0.01, decay: cosine}"
SMALL = [
    "wandb.mode=disabled",
    f"vectors={{importance: 0.6, densities: [1.0, 0.03], copies: 3, training: {TRAINING}}}",
    f"sparsity={{features: 8, dimensions: 3, importance: 0.7, densities: [1.0, 0.03], training: {TRAINING}}}",
    f"geometry={{features: 20, dimensions: 5, densities: [1.0, 0.1, 0.03], training: {TRAINING}}}",
    f"recovery.toy={{features: 20, dimensions: 8, densities: [0.3, 0.03], training: {TRAINING}}}",
    "recovery.sources=[toy, random]",
    "recovery.seeds=2",
    "recovery.architectures=[{kind: topk, k: 1}, {kind: topk, k: 4}]",
    "recovery.sae.n_latents=20",
    "recovery.sae.training_tokens=25600",
    "recovery.sae.batch_tokens=128",
    "recovery.sae.buffer_tokens=4096",
    "recovery.sae.learning_rate=0.01",
    "recovery.tokens=2048",
]


def test_toy_models_share_dimensions_and_saes_find_what_they_share(tmp_path: Path) -> None:
    done = process("run", str(CONFIG), "--runs-dir", str(tmp_path), *SMALL)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "superposition"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["vectors/1/represented"] == 2 < metrics["vectors/0.03/represented"]
    assert metrics["sparsity/1/represented"] == 3 < metrics["sparsity/0.03/represented"]
    assert metrics["sparsity/0.03/loss_over_linear"] < 0.9 < metrics["sparsity/1/loss_over_linear"]
    assert metrics["sparsity/linear/loss_over_optimum"] < 1.1
    found = metrics["recovery/toy/topk/0.03/recall"]
    assert found > metrics["recovery/toy/random_directions/0.03/recall"] + 0.1
    assert found > metrics["recovery/toy/untrained_SAE/0.03/recall"] + 0.1
    settings = pd.read_parquet(folder / "tables" / "settings.parquet")
    recovery = pd.read_parquet(folder / "tables" / "recovery.parquet")
    assert len(settings) == 2 * 2 * 2  # sources, densities, settings
    assert len(recovery) == 2 * 2 * 2 * 3  # sources, densities, seeds, one kind and two nulls
    assert not set(settings["seed"]) & set(recovery["seed"])  # what was chosen on one is measured on others
    page = (folder / "report.html").read_text()
    assert "<script src" not in page and len(page) < 5_000_000
    assert {f.stem for f in (folder / "figures").glob("*.svg")} >= {"vectors", "importance", "dimensionality"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("vectors.dimensions=3", "cannot be drawn"),
        ("geometry={features: 4, dimensions: 8}", "must exceed"),
        ("sparsity.densities=[0.0]", "greater than 0"),
        ("sparsity.densities=[0.5, 0.5]", "differ"),
        ("recovery.architectures=[{kind: topk, k: 100}]", "must not exceed n_latents"),
        ("recovery.architectures=[{kind: transcoder}]", "transcoder"),
        ("recovery.seeds=1", "seeds"),
    ],
)
def test_bad_input_is_found_before_anything_is_written(override: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        experiment, settings = load_config(CONFIG, [override])
        experiment.check(settings)
