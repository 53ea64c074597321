"""Matches each feature with the most similar one of another kind, by activations on the same tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.mining.exemplars import TokenSample

Samples = Mapping[str, TokenSample]
"""Token samples by the name of their space; the tokens are the same for all."""


@dataclass(frozen=True)
class Match:
    """A feature and its most similar candidate.

    `selected` is the Pearson correlation over the select tokens on which the candidate was chosen among
    `n_candidates`, `correlation` that over the report tokens; NaN where one of them does not vary there.
    """

    feature: FeatureRef
    partner: FeatureRef
    selected: float
    correlation: float
    n_candidates: int


def standardised(values: Float[Tensor, "token d"]) -> Float[Tensor, "token d"]:
    """Scales columns to mean 0 and length 1; a column that does not vary becomes NaN."""
    centred = values.float() - values.float().mean(0)
    length = centred.norm(dim=0)
    return centred / torch.where(length > 0, length, torch.nan)


def pairwise_correlations(
    first: Float[Tensor, "token a"], second: Float[Tensor, "token b"]
) -> Float[Tensor, "a b"]:
    """Returns Pearson's r of every column of one with every column of the other, as one matrix product."""
    return standardised(first).T @ standardised(second)


def most_similar(
    features: Sequence[FeatureRef],
    candidates: Sequence[ReadableFeatures],
    select: Samples,
    report: Samples,
    most: int | None = None,
) -> list[Match | None]:
    """Finds each feature's candidate with the highest correlation on the select split, in the order given.

    A candidate of a signed space may match in its negative polarity. `most` limits the candidates (the first
    of each space, the same share of each), for a null with as many. None for a feature that does not vary on
    the select tokens.
    """
    if not features:
        return []
    total = sum(space.n_features for space in candidates)
    sizes = [
        space.n_features if most is None else min(space.n_features, space.n_features * most // total)
        for space in candidates
    ]
    signed = torch.cat([torch.full((n,), space.signed) for space, n in zip(candidates, sizes, strict=True)])
    place = [(space, i) for space, n in zip(candidates, sizes, strict=True) for i in range(n)]
    pool = torch.cat(
        [select[space.name].value[:, :n].float() for space, n in zip(candidates, sizes, strict=True)], 1
    )
    table = pairwise_correlations(columns(features, select), pool)
    strength = torch.where(signed, table.abs(), table).nan_to_num(-torch.inf)
    best = strength.argmax(1)
    matches: list[Match | None] = []
    for row, feature in enumerate(features):
        column = int(best[row])
        selected = float(strength[row, column])
        if selected == -torch.inf:
            matches.append(None)
            continue
        space, feature_id = place[column]
        opposite = space.signed and float(table[row, column]) < 0
        partner = FeatureRef(space, feature_id, -1 if opposite else 1)
        matches.append(Match(feature, partner, selected, torch.nan, len(place)))
    return _measured(matches, report)


def columns(features: Sequence[FeatureRef], samples: Samples) -> Float[Tensor, "token feature"]:
    """Returns each feature's activation on the sampled tokens, in its polarity."""
    return torch.stack(
        [samples[f.space.name].value[:, f.feature_id].float() * f.polarity for f in features], 1
    )


def _measured(matches: Sequence[Match | None], report: Samples) -> list[Match | None]:
    """Adds the correlations on the report tokens to the matches."""
    found = [match for match in matches if match is not None]
    if not found:
        return list(matches)
    first = standardised(columns([match.feature for match in found], report))
    second = standardised(columns([match.partner for match in found], report))
    r = iter((first * second).sum(0).tolist())
    return [
        None if m is None else Match(m.feature, m.partner, m.selected, next(r), m.n_candidates)
        for m in matches
    ]
