"""The features that matter for a token: by attribution, or by how strongly they are active."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.gradient import activation_times_gradient
from interp.attribution.target import Target
from interp.errors import UserError
from interp.features.space import FeatureSpace, Polarity
from interp.monitor.knowledge import Knowledge
from interp.statistics.estimate import Estimate, mean_and_central
from interp.subject.subject import Subject

Measure = Literal["attribution", "activation"]
AT_LEVEL = "0.99999"
"""The quantile that activations are divided by, as in the published Monitor's table."""
DRAWS = 200
"""Random sets of a control."""


class Important(NamedTuple):
    """One side of a feature.

    `value` is its attribution, summed over the tokens, in the target's unit; or its largest activation over
    its own quantile. `activation` is the one largest in size, signed, and `by_token` the value at each token.
    """

    key: str
    layer: int
    value: float
    activation: float
    by_token: tuple[float, ...]


@dataclass(frozen=True)
class Ranking:
    """The features that matter most, largest first, and how much of the whole they carry.

    `by` says what was measured, `target` of which token (empty for activations), and `target_value` how
    large it is. `share` is what the features carry of the sum of all features' values in size; `control` is
    the same of as many random features of each space that are active, with the 95% range over draws.
    `unknown` features have no quantile to be divided by.
    """

    by: Measure
    features: tuple[Important, ...]
    share: float
    control: Estimate
    n_features: int
    target: str = ""
    target_value: float | None = None
    unknown: int = 0


def by_attribution(
    subject: Subject,
    ids: Sequence[int],
    place: int,
    spaces: Sequence[FeatureSpace],
    *,
    token: int | None = None,
    distractor: int | None = None,
    places: Sequence[int] | None = None,
    k: int = 50,
    seed: int = 0,
) -> Ranking:
    """Ranks features by what they add to the logit of the token at `place` of a text, to first order.

    Activation times gradient (`interp.attribution.gradient`) after the tokens before it, on the model as
    active interventions make it. `token` asks about another token in its place, `distractor` about the
    difference to that one's logit. `places` are the tokens at which features count, all by default.

    Raises:
        UserError: nothing stands before `place`, or a token does not fit.
    """
    if not 0 < place <= len(ids) or (token is None and place == len(ids)):
        raise UserError(
            f"no token {place} of {len(ids)} is predicted by others", "place", "use one after the first"
        )
    asked = ids[place] if token is None else token
    target = Target.of(subject, int(asked), distractor=distractor)
    before = torch.tensor([list(ids[:place])], device=subject.device)
    found = activation_times_gradient(subject, before, None, target, spaces)
    chosen = _places(places, place)
    values = {name: one[0] for name, one in found.values.items()}
    features, share, control = _ranked(spaces, values, found.activations, chosen, k, seed)
    total = sum(space.n_features for space in spaces)
    value = float(found.target_value[0])
    return Ranking("attribution", features, share, control, total, target.said, value)


def by_activation(
    subject: Subject,
    ids: Sequence[int],
    spaces: Sequence[FeatureSpace],
    knowledge: Knowledge,
    *,
    places: Sequence[int] | None = None,
    level: str = AT_LEVEL,
    k: int = 50,
    seed: int = 0,
) -> Ranking:
    """Ranks features by their largest activation at some tokens over their own quantile at `level`.

    Features that are active and whose quantile is not above zero, or in no store, are counted as `unknown`.

    Raises:
        UserError: no quantile of this level is stored, or a place is not in the text.
    """
    tokens = torch.tensor([list(ids)], device=subject.device)
    read = subject.run(tokens, spaces, logits="none").features
    chosen = _places(places, len(ids))
    values: dict[str, Tensor] = {}
    unknown = 0
    for space in spaces:
        found = read[space.name][0].float()
        limits = torch.from_numpy(knowledge.quantiles(space.name, space.n_features, level)).to(found)
        over = torch.where(found >= 0, limits[0], limits[1])
        known = over > 0  # false where it is not known, too
        unknown += int((~known & (found != 0))[chosen].any(0).sum())
        values[space.name] = torch.where(known, found.abs() / over, 0.0)
    features, share, control = _ranked(spaces, values, read, chosen, k, seed, largest=True)
    total = sum(space.n_features for space in spaces)
    return Ranking("activation", features, share, control, total, unknown=unknown)


def _places(places: Sequence[int] | None, n: int) -> list[int]:
    chosen = list(range(n)) if places is None else [place for place in places if place < n]
    if not chosen or min(chosen) < 0:
        raise UserError("no token is chosen", "places", f"use some of 0 to {n - 1}")
    return chosen


def _ranked(
    spaces: Sequence[FeatureSpace],
    values: Mapping[str, Float[Tensor, "pos feature"]],
    activations: Mapping[str, Float[Tensor, "1 pos feature"]],
    places: Sequence[int],
    k: int,
    seed: int,
    largest: bool = False,
) -> tuple[tuple[Important, ...], float, Estimate]:
    """Ranks features by the sum of their values over places, or the largest, in size."""
    totals = {}
    # made once on the device: a list would be sent for each space and each feature
    chosen = torch.tensor(list(places), device=next(iter(values.values())).device)
    for space in spaces:
        at = values[space.name].index_select(0, chosen).float()
        totals[space.name] = (at.max(0).values if largest else at.sum(0)).cpu()
    sizes = torch.cat([totals[space.name].abs() for space in spaces])
    top = sizes.topk(min(k, int((sizes > 0).sum()))).indices
    whole = float(sizes.sum())
    share = float(sizes[top].sum()) / whole if whole else 0.0
    starts = np.cumsum([0, *(space.n_features for space in spaces)])
    features, counts = [], dict.fromkeys(totals, 0)
    for place in top.tolist():
        number = int(np.searchsorted(starts, place, "right")) - 1
        space, feature = spaces[number], int(place - starts[number])
        counts[space.name] += 1
        by_token = values[space.name][:, feature].float()
        active = activations[space.name][0, :, feature].float()
        read = by_token if largest else active
        peak = places[int(read.index_select(0, chosen).abs().argmax())]
        side: Polarity = -1 if space.signed and active[peak] < 0 else 1
        key = f"{space.name}/{feature}{'+' if side > 0 else '-'}"
        value = float(totals[space.name][feature])
        features.append(
            Important(key, space.site.layer, value, float(active[peak]), tuple(by_token.tolist()))
        )
    return tuple(features), share, _control(totals, counts, whole, seed)


def _control(totals: Mapping[str, Tensor], counts: Mapping[str, int], whole: float, seed: int) -> Estimate:
    """Draws as many features of each space from those that are active, several times."""
    generator = np.random.default_rng(seed)
    sums = np.zeros(DRAWS)
    for name, count in counts.items():
        active = totals[name][totals[name] != 0].abs().numpy().astype(np.float64)
        for draw in range(DRAWS):
            sums[draw] += active[generator.choice(len(active), count, replace=False, shuffle=False)].sum()
    return mean_and_central(sums / whole if whole else sums)
