"""Two populations of described features held against each other, by the scores of their descriptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import bootstrap

from interp.compare.concepts import ConceptRecovery
from interp.compare.populations import PopulationKind
from interp.render.digits import count, decimals, number
from interp.statistics.estimate import Estimate, central, mean_interval

DRAWS = 2000
How = Literal["run", "paired", "apart"]
HOW: dict[How, str] = {
    "run": "as the run computed it: a bootstrap that resamples the features, each one's own windows, and the "
    "random windows all share",
    "paired": "a bootstrap over features, in which both scores of a feature stay together; the windows on "
    "which they were scored are not resampled, as stores do not hold them",
    "apart": "a bootstrap over the features of either side; the windows on which they were scored are not "
    "resampled, as stores do not hold them",
}
"""How the interval of a difference is found."""


@dataclass(frozen=True)
class Choice:
    """A population that can be chosen: its key in addresses, and the group of choices it belongs to.

    `measures` are the kinds of score that it has; populations that share one of their `parts` overlap.
    """

    key: str
    name: str
    group: str
    kind: PopulationKind
    described: int
    measures: tuple[str, ...]
    parts: frozenset[str]

    def overlaps(self, other: "Choice") -> bool:
        """Whether a description may be in both."""
        return bool(self.parts & other.parts)


@dataclass(frozen=True)
class Scored:
    """A population with the scores of its descriptions, a row each by the feature's key.

    `rows` has the columns value (NaN where the score does not exist), low, high, null_mean, null_high, text.
    `null` is the mean score of other features' descriptions, with the central 95% of its means by feature.
    """

    choice: Choice
    rows: pd.DataFrame
    mean: Estimate
    null: Estimate
    subject: str
    source: str

    @property
    def values(self) -> Float[np.ndarray, " feature"]:
        """The scores that exist."""
        return self.rows["value"].dropna().to_numpy(dtype=float)

    @property
    def undefined(self) -> int:
        """How many descriptions have no score."""
        return int(self.rows["value"].isna().sum())

    @property
    def above(self) -> int:
        """How many scores are above the highest of their own null."""
        return int((self.rows["value"] > self.rows["null_high"]).sum())


@dataclass(frozen=True)
class Matches:
    """Latents and their most similar neurons, as a run found them; `difference` is the latent's score minus
    the neuron's, `rows` the run's table `pairs`."""

    rows: pd.DataFrame
    correlation: Estimate
    random: Estimate
    beyond: Estimate
    difference: Estimate
    scored: int
    ahead: int
    unmatched: int


@dataclass(frozen=True)
class Concepts:
    """Labelled concepts and how well the best feature of either population detects them, by a run's table.

    `recoveries` also hold those of random directions, as a null, if the run had any. `difference` is the mean
    over concepts of the second's AUROC minus the first's.
    """

    recoveries: tuple[ConceptRecovery, ...]
    first_found: int | None
    second_found: int | None
    difference: Estimate


@dataclass(frozen=True)
class Comparison:
    """Two populations and the difference of their mean scores, the second's minus the first's.

    `n_pairs` features have a score on both sides, if the difference is within features; of `ahead` of them
    the second is higher.
    """

    first: Scored
    second: Scored
    measure: str
    how: How
    difference: Estimate
    n_pairs: int = 0
    ahead: int = 0
    matches: Matches | None = None
    concepts: Concepts | None = None

    @property
    def sentence(self) -> str:
        """What is seen."""
        one, two = self.first.choice.name, self.second.choice.name
        if self.difference.point is None:
            return f"{_capital(two)} and {one} cannot be compared: one of them has no score."
        size = in_digits(self.difference, sign=True)
        if self.difference.ends is None:
            return f"{_capital(two)} score {size} against {one}; too few for an interval."
        low, high = self.difference.ends
        if low <= 0 <= high:
            return f"No clear difference: {two} minus {one} is {size}."
        better = "better" if low > 0 else "worse"
        by = in_digits(self.difference if low > 0 else reversed_estimate(self.difference))
        within = f", within {count(self.n_pairs)} features" if self.how == "paired" else ""
        return f"{_capital(two)} are described {better} than {one} by {by}{within}."


def compare(first: Scored, second: Scored, measure: str, seed: int = 0) -> Comparison:
    """Compares two populations: within features if they share at least two scored ones, else apart."""
    both = pd.DataFrame({"one": first.rows["value"], "two": second.rows["value"]}).dropna()
    if len(both) >= 2:
        gaps = (both["two"] - both["one"]).to_numpy(dtype=float)
        found = mean_interval(gaps, seed, DRAWS)
        return Comparison(first, second, measure, "paired", found, len(gaps), int((gaps > 0).sum()))
    return Comparison(first, second, measure, "apart", difference_of_means(first.values, second.values, seed))


def difference_of_means(
    first: Float[np.ndarray, " a"], second: Float[np.ndarray, " b"], seed: int
) -> Estimate:
    """The second's mean minus the first's, with a 95% percentile bootstrap interval over both sides.

    The interval is unknown (NaN) if a side has fewer than two values.
    """
    if not len(first) or not len(second):
        return Estimate()
    value = float(second.mean() - first.mean())
    if min(len(first), len(second)) < 2:
        return Estimate(value)
    ends = bootstrap(
        (first, second), _gap, n_resamples=DRAWS, method="percentile", rng=seed, vectorized=True
    ).confidence_interval
    return Estimate(value, float(ends.low), float(ends.high))


def null_of(rows: pd.DataFrame) -> Estimate:
    """The mean of the nulls' means, and the central 95% of them."""
    known = rows["null_mean"].dropna().to_numpy(dtype=float)
    return Estimate(float(known.mean()) if len(known) else np.nan, *central(known))


def in_digits(difference: Estimate, sign: bool = False) -> str:
    """A difference of scores with its interval, in at least two decimals, so that an end near 0 shows."""
    places = max(2, decimals(difference))
    value, *ends = (number(one, places, sign) for one in (difference.value, *(difference.ends or ())))
    return f"{value} ({ends[0]} to {ends[1]})" if ends else value


def reversed_estimate(estimate: Estimate) -> Estimate:
    """The same difference, of the first minus the second."""
    return Estimate(-estimate.value, -estimate.high, -estimate.low)


def kind_of(space: str) -> PopulationKind:
    """The kind of a space's features."""
    first, _, rest = space.partition(".")
    if "random" in (first, rest.partition(".")[0]):
        return "random"
    kinds: dict[str, PopulationKind] = {"mlp": "neuron", "sae": "latent"}
    return kinds.get(first, "direction")


def default_pair(choices: Sequence[Choice]) -> tuple[str, str] | None:
    """The keys of the two that are compared first: neurons and latents, or else the first and the last."""
    apart: list[tuple[Choice, Choice]] = []
    for first in choices:
        others = [one for one in choices if one.group == first.group and not one.overlaps(first)]
        latents = [one for one in others if one.kind == "latent"]
        if first.kind == "neuron" and latents:
            return first.key, latents[0].key
        apart += [(first, one) for one in others[-1:]]
    if not apart:
        apart = [(one, two) for one, two in combinations(choices, 2) if not one.overlaps(two)]
    return (apart[0][0].key, apart[0][1].key) if apart else None


def _gap(
    first: Float[np.ndarray, "... a"], second: Float[np.ndarray, "... b"], axis: int = -1
) -> Float[np.ndarray, "..."]:
    return np.asarray(second.mean(axis) - first.mean(axis))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
