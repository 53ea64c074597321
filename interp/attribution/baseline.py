"""Baselines: the value of a feature that its activation is compared with."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.features.space import FeatureSpace, writable
from interp.features.statistics import FeatureStatistics
from interp.intervene.values import required_statistics

Baseline = Literal["zero", "mean"]
Statistics = Mapping[str, FeatureStatistics]


def baselines(
    spaces: Sequence[FeatureSpace], baseline: Baseline, statistics: Statistics | None
) -> dict[str, Float[Tensor, " feature"]]:
    """Makes the baseline of every feature of every space: zero, or the corpus mean.

    Raises:
        UserError: the baseline is unknown, there is no space, two have one name, or one lacks statistics or
            can only be read.
    """
    names = [space.name for space in spaces]
    if not names or len(set(names)) < len(names):
        raise UserError(
            "two feature spaces have the same name" if names else "there is no feature space",
            f"spaces {', '.join(names)}",
            "give at least one, each once",
        )
    for space in spaces:
        writable(space)
    if baseline not in get_args(Baseline):
        raise UserError(f"{baseline!r} is no baseline", "baseline", f"use {' or '.join(get_args(Baseline))}")
    if baseline == "zero":
        return {space.name: torch.zeros(space.n_features) for space in spaces}
    known = statistics or {}
    return {
        space.name: required_statistics(known.get(space.name), space, "a mean baseline").mean
        for space in spaces
    }
