"""train_saes and sae_sweep on small budgets, as the command line runs them."""

import json
from pathlib import Path

import pandas as pd
import pytest
from sae_lens import SAE

from interp.cli.loading import load_config
from interp.errors import UserError
from interp.track.run import open_run

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["corpus.documents=300", "wandb.mode=disabled", "evaluation.tokens=1000"]


def run(runs: Path, config: str, *overrides: str) -> dict[str, float]:
    experiment, loaded = load_config(CONFIGS / f"{config}.yaml", [*SMALL, *overrides])
    experiment.check(loaded)
    with open_run(loaded, config, runs) as opened:
        experiment.run(loaded, opened)
    page = (runs / config / "report.html").read_text()
    assert "<script src" not in page and len(page) < 5_000_000
    return dict(json.loads((runs / config / "metrics.json").read_text()))


def test_a_sweep_draws_the_frontier(tmp_path: Path) -> None:
    metrics = run(
        tmp_path,
        "sae_sweep",
        "widths=[64, 128]",
        "families=[{architecture: {kind: topk}, sparsities: [2, 16]}, "
        "{architecture: {kind: standard}, sparsities: [1.0]}]",
        "sae.training_tokens=20480",
        "sae.buffer_tokens=8192",
        "sae.evaluate_every_steps=20",
    )
    folder = tmp_path / "sae_sweep"
    table = pd.read_parquet(folder / "tables" / "dictionaries.parquet").set_index("dictionary")
    assert list(table.index) == [
        "topk-2-64", "topk-2-128", "topk-16-64", "topk-16-128", "standard-1-64", "standard-1-128",
    ]  # fmt: skip
    for width in (64, 128):
        sparse, dense = table.loc[f"topk-2-{width}"], table.loc[f"topk-16-{width}"]
        assert sparse.l0 <= 2 < dense.l0 <= 16
        assert sparse.explained_variance < dense.explained_variance
        assert sparse.kl_spliced > dense.kl_spliced
        assert SAE.load_from_disk(folder / "saes" / f"topk-2-{width}").cfg.d_sae == width
    assert metrics["sae/topk-2-64/l0"] == table.loc["topk-2-64"].l0
    figures = {file.stem for file in (folder / "figures").glob("*.svg")}
    assert {"topk_explained_variance", "standard_cross_entropy_recovered", "topk_kl_spliced"} <= figures
    history = (folder / "steps" / "train" / "history.jsonl").read_text()
    assert '"sae/standard-1-128/l0"' in history and '"sae/topk-2-64/cross_entropy_recovered"' in history


def test_dictionaries_at_several_sites_and_a_transcoder(tmp_path: Path) -> None:
    small = "sae: {n_latents: 64, training_tokens: 10240, buffer_tokens: 8192, architecture: "
    metrics = run(
        tmp_path,
        "train_saes",
        "dictionaries={heads: {site: head_out.3, " + small + "{kind: batchtopk}}}, "
        "across: {site: resid_mid.3, " + small + "{kind: transcoder, to: mlp_out.3, k: 8}}}}",
    )
    assert {"sae/heads/l0", "sae/across/explained_variance"} <= metrics.keys()
    assert SAE.load_from_disk(tmp_path / "train_saes" / "saes" / "across").cfg.d_out == 128


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dictionaries={a: {site: resid_post.9}}", "layer"),
        ("dictionaries={a: {site: somewhere.1}}", "not a site"),
        (
            "dictionaries={a: {site: resid_post.3, sae: {architecture: {kind: transcoder, to: mlp_out.3}}}}",
            "before",
        ),
        (
            "dictionaries={a: {site: resid_post.3}, b: {site: resid_post.4, sae: {seed: 1}}}",
            "share a stream differ in seed",
        ),
        ("dictionaries={../a: {site: resid_post.3}}", "letters, digits"),
        ("evaluation.context_size=4096", "do not fit"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment, config = load_config(CONFIGS / "train_saes.yaml", [override])
        experiment.check(config)


def test_an_impossible_cell_of_a_sweep_is_said_before_anything_is_written() -> None:
    experiment, config = load_config(CONFIGS / "sae_sweep.yaml", ["widths=[16]"])
    with pytest.raises(UserError, match="must not exceed n_latents"):
        experiment.check(config)
