"""Holds a finished quickstart run to what the README promises; says what is missing and exits with 1."""

import json
import sys
from datetime import datetime
from pathlib import Path

import pandas as pd

SIX_MINUTES = 360


def failures(folder: Path) -> list[str]:
    """Everything about the run that is not as promised."""
    metrics = json.loads((folder / "metrics.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    started, finished = (datetime.fromisoformat(manifest[key]) for key in ("started", "finished"))
    features = pd.read_parquet(folder / "tables" / "features.parquet")
    concepts = pd.read_parquet(folder / "tables" / "concepts.parquet")
    report = (folder / "report.html").read_text()
    held = {
        "the run finished": manifest["status"] == "finished",
        "in under six minutes": (finished - started).total_seconds() < SIX_MINUTES,
        "64 neurons and 64 latents are described": features["kind"].value_counts().to_dict()
        == {"neuron": 64, "latent": 64},
        "every feature has a description": bool((features["description"].str.len() > 0).all()),
        "the SAE explains 90% of the variance": metrics["sae/explained_variance"] > 0.9,
        "the SAE recovers 95% of the cross-entropy": metrics["sae/cross_entropy_recovered"] > 0.95,
        "descriptions of neurons beat shuffled ones": metrics["score/neuron/both_low"]
        > metrics["score/neuron/null"] + 0.1,
        "descriptions of latents beat shuffled ones": metrics["score/latent/both_low"]
        > metrics["score/latent/null"] + 0.1,
        "the difference has an interval": metrics["score/latents_minus_neurons_low"]
        < metrics["score/latents_minus_neurons"]
        < metrics["score/latents_minus_neurons_high"],
        "concepts are compared with a random baseline": set(concepts["method"])
        >= {"neurons", "latents", "random"},
        "the report is one page under 5 MB": 100_000 < len(report.encode()) < 5_000_000,
        "W&B wrote an offline run": bool(list((folder / "wandb").rglob("*.wandb"))),
    }
    return [promise for promise, kept in held.items() if not kept]


if __name__ == "__main__":
    missing = failures(Path(sys.argv[1]))
    print("\n".join(f"not so: {promise}" for promise in missing) or "the quickstart kept its promises")
    sys.exit(bool(missing))
