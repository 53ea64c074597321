"""`calibration` on the world: scores rank descriptions of features whose meaning is known."""

import json
from pathlib import Path

import pandas as pd

from interp.cli.loading import load_config
from interp.track.run import open_run

SMALL = (
    "corpus.documents=700", "mining.context_size=64", "mining.sampled_tokens=1500",
    "sae.training_tokens=8192",
    "sae.n_latents=64", "sae.context_size=64", "features.max_tokens=6000", "features.sampled_tokens=3600",
    "features.least_positives=130",
    "features.of_each=1", "candidates.patterns=2", "candidates.meagre=1",
    "candidates.foreign=1", "candidates.concepts=1", "scores.random_windows=10", "scores.texts=8",
    "scores.truth_windows=60", "scores.prompts=3", "scores.new_tokens=4",
)  # fmt: skip


def test_scores_are_held_against_the_truth(tmp_path: Path) -> None:
    experiment, config = load_config("configs/calibration.yaml", [*SMALL])
    experiment.check(config)
    with open_run(config, config.name, tmp_path) as run:
        experiment.run(config, run)
    folder = tmp_path / "calibration"
    candidates = pd.read_parquet(folder / "tables" / "candidates.parquet")
    true = candidates[candidates["explainer"] == "true definition"]
    foreign = candidates[candidates["explainer"] == "patterns of another feature"]
    assert len(true) == candidates[["feature", "kind"]].drop_duplicates().shape[0] >= 3
    assert (true["truth"] == 1).all()
    assert foreign["truth"].mean() < 0.8
    ranks = pd.read_parquet(folder / "tables" / "calibration.parquet")
    of_all = ranks[(ranks["among"] == "all") & (ranks["kind"] == "all")].set_index("score")
    assert {"simulation, both", "detection, AUROC", "fuzzing, AUROC", "intervention, AUROC"} <= set(
        of_all.index
    )
    assert of_all.loc["simulation, both", "spearman"] > of_all.loc["simulation, both", "null_high"]
    assert of_all.loc["simulation, both", "chosen"] > of_all.loc["simulation, both", "at_random"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["calibration/simulation, both/spearman"] == of_all.loc["simulation, both", "spearman"]
    assert "Which score recognises a true description" in (folder / "report.html").read_text()
