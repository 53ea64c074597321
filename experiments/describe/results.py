"""What came of describing: one row for each feature and explainer, and the means of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from interp.descriptions.candidate import Candidate
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace
from interp.track.records import read_written
from interp.track.step import Step

Choice = tuple[list[Candidate], int, list[float]]
"""The candidates of a feature by one explainer, which is chosen, and what each scored on the select split."""
KINDS = ("simulation", "detection", "fuzzing", "intervention", "agreement")


def read_choices(chosen: Path) -> list[list[Choice]]:
    """Of each feature and explainer: its candidates, which is chosen, and what each scored on select."""
    return [
        [
            (
                [Candidate.from_json(c) for c in of["candidates"]],
                of["best"],
                [float("nan") if v is None else v for v in of["values"]],
            )
            for of in per_feature
        ]
        for per_feature in read_written(chosen / "chosen.json", "list")
    ]


def result_table(
    features: Sequence[FeatureRef],
    choices: Sequence[Sequence[Choice]],
    results: Sequence[Any],
    populations: Mapping[str, Sequence[FeatureSpace]],
    explainers: Sequence[str],
) -> pd.DataFrame:
    """The scores of each feature's chosen description by each explainer, and what choosing gave."""
    rows = []
    for feature, of, scored in zip(features, choices, results, strict=True):
        population = next(n for n, spaces in populations.items() if feature.space in spaces)
        for number, ((candidates, best, values), found) in enumerate(zip(of, scored, strict=True)):
            row: dict[str, Any] = {
                "feature": feature.key, "population": population,
                "explainer": f"{number + 1}. {explainers[number]}",
                "candidates": len(candidates), "text": candidates[best].text if candidates else "",
                "selected": values[best] if values else float("nan"),
                "chosen": found["chosen"] if found else float("nan"),
                "first": found["first"] if found else float("nan"),
            }  # fmt: skip
            judges: dict[str, int] = {}
            for score in found["scores"] if found else ():
                seen = judges[score["kind"]] = judges.get(score["kind"], 0) + 1
                name = score["kind"] if seen == 1 else f"{score['kind']} {seen}"
                row |= {
                    name: score["value"],
                    f"{name} null": score["null_mean"],
                    f"{name} failures": score["failures"],
                }
            rows.append(row)
    return pd.DataFrame(rows)


def result_metrics(step: Step, table: pd.DataFrame) -> None:
    """Means of every score, of what choosing promised too much, and of what it gained."""
    for explainer, part in table.groupby("explainer", sort=False):
        name = str(explainer).replace(". ", "_")
        for kind in KINDS:
            if kind in part:
                values = part[kind].astype(float)
                step.metric(f"{kind}/{name}", float(values.mean()), headline=kind != "fuzzing")
                step.metric(f"{kind}/{name}/null", float(part[f"{kind} null"].astype(float).mean()))
                step.metric(f"{kind}/{name}/failures", int(part[f"{kind} failures"].fillna(0).sum()))
                step.metric(f"{kind}/{name}/undefined", int(values.isna().sum()))
        optimism = (part["selected"] - part["chosen"]).astype(float)
        step.metric(f"best_of_n/{name}/optimism", float(optimism.mean()), headline=True)
        gain = (part["chosen"] - part["first"]).astype(float)
        step.metric(f"best_of_n/{name}/gain", float(gain.mean()), headline=True)
