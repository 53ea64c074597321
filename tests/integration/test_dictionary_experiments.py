"""`compare` and `dictionary_truth` on small budgets: what they write, loaded SAEs, text without labels."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pandas as pd
import pytest

from tests.command_line import command, process

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["corpus.documents=900", "wandb.mode=offline"]
TINY = "{n_latents: 96, training_tokens: 8192, buffer_tokens: 4096, evaluate_every_steps: 0}"
COMPARE = [
    *SMALL,
    "mining.sampled_tokens=768",
    f"sae={TINY}",
    "describe={sample: 4, random_windows: 8, nulls: 8}",
]
TRUTH = [
    *SMALL,
    f"train={{only: {TINY}}}",
    "reading={tokens: 2500, sampled_tokens: 1200}",
    "truth={draws: 20, most_latents: 2, least_latent_f1: 0.1}",
]


def interp(name: str, runs: Path, *overrides: str) -> CompletedProcess[str]:
    return process("run", str(CONFIGS / f"{name}.yaml"), "--runs-dir", str(runs), *overrides)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def compared(runs: Path) -> Path:
    done = interp("compare", runs, *COMPARE)
    assert done.returncode == 0, done.stderr
    return runs / "compare"


def test_every_population_gets_the_same_and_pairs_are_listed(compared: Path) -> None:
    features = pd.read_parquet(compared / "tables" / "features.parquet")
    counts = features["population"].value_counts().to_dict()
    names = ("neurons", "latents", "principal directions", "random directions")
    assert [counts[name] for name in names] == [4, 4, 4, 4]
    assert (features["description"].str.len() > 0).all()
    pairs = pd.read_parquet(compared / "tables" / "pairs.parquet")
    assert len(pairs) == 4
    matched = pairs.dropna(subset=["neuron"])
    described = set(features["feature"])
    assert set(matched["neuron"]) <= described and set(pairs["latent"]) <= described
    np.testing.assert_allclose(
        pairs["difference"], pairs["latent_score"] - pairs["neuron_score"], equal_nan=True
    )
    metrics = json.loads((compared / "metrics.json").read_text())
    for name in ("latents_minus_neurons", "random_directions_minus_latents"):
        low, value, high = (metrics[f"difference/{name}{end}"] for end in ("_low", "", "_high"))
        assert low <= value <= high
    assert metrics["pairs/latents/scored"] + metrics["pairs/latents/undefined"] == len(matched)
    page = (compared / "report.html").read_text()
    assert all(key in page for key in described)
    assert "http:" not in page and "https:" not in page
    assert list((compared / "wandb").rglob("*.wandb"))
    assert (compared / "sae" / "cfg.json").exists()


def test_loaded_saes_on_text_without_labels(compared: Path, runs: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    words = ["the", "capital", "of", "france", "is", "paris", "and", "rome", "was", "happy", "with", "nurse"]
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(words, 20)) for _ in range(300)]
    text.write_text("\n".join([*lines, "the capital\u2028of stra\u00dfe is paris"]), encoding="utf-8")
    folder = compared / "sae"
    done = interp(
        "compare", runs, "name=loaded", f"corpus={{kind: text, path: {text}}}", "mining.sampled_tokens=512",
        f"saes=[{{folder: {folder}, name: one}}, {{folder: {folder}, name: two}}]", "baselines=[]",
        "describe={sample: 3, random_windows: 5, nulls: 4}", "wandb.mode=disabled",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = runs / "loaded"
    assert not (run / "tables" / "concepts.parquet").exists() and not (run / "steps" / "train_sae").exists()
    features = pd.read_parquet(run / "tables" / "features.parquet")
    assert {"latents of one", "latents of two", "neurons"} <= set(features["population"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["match/latents_of_one/correlation"] is not None
    assert "match/latents_of_one/random" not in metrics
    assert metrics["unusual_text/mine/unknown_words"] == 1
    assert "1 words that the model does not know" in (run / "report.html").read_text()
    assert f"'straße' in {text}, line 301" in " ".join(done.stderr.split())


def test_the_truth_is_told_of_every_concept_that_is_not_too_rare(runs: Path) -> None:
    done = interp("dictionary_truth", runs, *TRUTH)
    assert done.returncode == 0, done.stderr
    run = runs / "dictionary_truth"
    found = pd.read_parquet(run / "tables" / "detections.parquet")
    metrics = json.loads((run / "metrics.json").read_text())
    tokens = found[(found["level"] == "token") & (found["measure"] == "auroc")]
    per_method = tokens.groupby("method")["concept"].nunique()
    assert set(per_method) == {metrics["concepts/tested"]}
    assert metrics["concepts/tested"] + metrics["concepts/left_out"] == 38
    assert (found["positives"] >= 10).all()
    assert (found["low"] <= found["high"]).all()
    assert metrics["token_auroc/dense_probe"] > metrics["token_auroc/latents_only"]
    assert metrics["token_f1/dense_probe"] > metrics["token_f1/random_directions"]
    splits = pd.read_parquet(run / "tables" / "splitting.parquet")
    assert splits["n_splits"].between(1, 2).all() and len(splits) == metrics["concepts/tested"]
    assert splits["full"].dropna().between(0, 1).all()
    hedges = pd.read_parquet(run / "tables" / "hedging.parquet")
    assert hedges["share"].dropna().between(-1, 1).all()
    page = (run / "report.html").read_text()
    assert all(concept in page for concept in set(tokens["concept"]))


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        ("compare", "sae=null", "there is no SAE"),
        ("compare", "saes=[nowhere]", "nowhere"),
        ("compare", "site=mlp_post.4", "baselines: []"),
        ("compare", "describe.sample=1", "describe.sample"),
        ("compare", "sae.context_size=1000", "256"),
        ("dictionary_truth", "corpus={kind: text, path: nowhere.txt}", "nowhere.txt"),
        ("dictionary_truth", "site=mlp_post.4", "residual stream"),
        ("dictionary_truth", "train={}", "there is no SAE"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(
    tmp_path: Path, name: str, override: str, says: str
) -> None:
    done = command("run", str(CONFIGS / f"{name}.yaml"), "--runs-dir", str(tmp_path / "runs"), override)
    assert done.exit_code == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*/**/*"))
