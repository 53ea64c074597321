"""Measures how well a score ranks the descriptions of a feature by their known truth.

A score is useful if it ranks the better of two descriptions of one feature higher, so scores of different
features are never compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from interp.statistics.estimate import Estimate, central, mean_interval

Ragged = Sequence[Float[np.ndarray, " _"]]


@dataclass(frozen=True)
class Calibration:
    """How one score compares with the truth of the candidates of each feature.

    `spearman` is the mean over features of the rank correlation, `pairs` of the share of pairs of candidates
    of different truth that the score orders rightly (a tie counts half), `chosen` of the truth of the
    candidate with the largest score, `at_random` of that of a candidate drawn at random, `regret` of the
    best candidate's truth minus the chosen one's. The intervals are over features. `null_low` to
    `null_high` is the central 95% of the mean rank correlation when the scores are
    permuted within each feature. A score that does not exist ranks last; `undefined` counts them. Features
    whose candidates are all equally true are left out.
    """

    spearman: Estimate
    null_low: float
    null_high: float
    pairs: Estimate
    chosen: Estimate
    at_random: Estimate
    regret: Estimate
    n_features: int
    n_candidates: int
    undefined: int


def calibrate(truth: Ragged, score: Ragged, seed: int = 0, deals: int = 400) -> Calibration:
    """Compares a score with the truth; both are [feature][candidate]. NaN truths are left out."""
    features = []
    for true, given in zip(truth, score, strict=True):
        known = ~np.isnan(true)
        if known.any() and np.ptp(true[known]) > 0:
            features.append((true[known], given[known]))
    undefined = sum(int(np.isnan(given).sum()) for _, given in features)
    features = [(true, np.nan_to_num(given, nan=-np.inf)) for true, given in features]
    rng = np.random.default_rng(seed)
    correlation = np.array([_rank_correlation(true, given[None])[0] for true, given in features])
    permuted = [
        _rank_correlation(true, rng.permuted(np.tile(given, (deals, 1)), axis=1)) for true, given in features
    ]
    null = np.mean(permuted, axis=0) if features else np.full(deals, np.nan)
    low, high = central(null)
    chosen = np.array([_of_the_chosen(true, given) for true, given in features])
    best = np.array([true.max() for true, _ in features])
    return Calibration(
        mean_interval(correlation, seed),
        low,
        high,
        mean_interval(np.array([_pairs(true, given) for true, given in features]), seed),
        mean_interval(chosen, seed),
        mean_interval(np.array([true.mean() for true, _ in features]), seed),
        mean_interval(best - chosen, seed),
        len(features),
        sum(len(true) for true, _ in features),
        undefined,
    )


def _rank_correlation(
    x: Float[np.ndarray, " candidate"], y: Float[np.ndarray, "row candidate"]
) -> Float[np.ndarray, " row"]:
    """Returns Spearman's correlation of x with each row; 0 where all values of a row are equal."""
    centre = (len(x) + 1) / 2
    a, b = rankdata(x) - centre, rankdata(y, axis=1) - centre
    spread = np.sqrt((a @ a) * (b * b).sum(axis=1))
    found: Float[np.ndarray, " row"] = np.divide(b @ a, spread, out=np.zeros(len(y)), where=spread > 0)
    return found


def _pairs(true: Float[np.ndarray, " candidate"], given: Float[np.ndarray, " candidate"]) -> float:
    better = true[:, None] > true[None, :]
    higher = (given[:, None] > given[None, :]) + 0.5 * (given[:, None] == given[None, :])
    return float(higher[better].mean())


def _of_the_chosen(true: Float[np.ndarray, " candidate"], given: Float[np.ndarray, " candidate"]) -> float:
    """Returns the truth of the candidate with the largest score; the mean of several with that score."""
    return float(true[given == given.max()].mean())
