"""Tabulates descriptions and their scores, a row for each feature."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from interp.descriptions.description import Description
from interp.descriptions.scorers.simulation import SimulationScore
from interp.features.ref import FeatureRef
from interp.mining.mined import MinedSpaces


def score_table(
    features: Sequence[FeatureRef],
    kinds: Sequence[str],
    descriptions: Sequence[Description],
    scores: Sequence[SimulationScore],
    mined: MinedSpaces,
) -> pd.DataFrame:
    """Tabulates every feature with its description, its scores, and how active it is.

    Columns of a score are `both_value`, `both_low`, `both_null_mean` and so on, for `both`, `top` and
    `random` windows. `mean`, `rate` (share of tokens) and `largest` are of the explain split, in the
    feature's polarity. `mined` is by the name of the space.
    """
    return pd.DataFrame(
        {
            "feature": feature.key,
            "kind": kind,
            "layer": feature.space.site.layer,
            "description": description.text,
            **{
                f"{part}_{key}": value
                for part in ("both", "top", "random")
                for key, value in asdict(getattr(scored, part)).items()
            },
            "detection": scored.detection,
            **_activity(mined, feature),
        }
        for feature, kind, description, scored in zip(features, kinds, descriptions, scores, strict=True)
    )


def _activity(mined: MinedSpaces, feature: FeatureRef) -> dict[str, Any]:
    exemplars = mined[feature.space.name].exemplars["explain"]
    line = exemplars.line(feature.feature_id, 1 if feature.polarity > 0 else -1)
    return {
        "mean": float(exemplars.mean[feature.feature_id]) * feature.polarity,
        "rate": float(exemplars.rate[line]),
        "largest": float(exemplars.top_value[line, 0]),
    }
