"""How well an approximation agrees with exact effects, compared with a random ranking."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import spearmanr

from interp.errors import UserError
from interp.statistics.estimate import Estimate, central


@dataclass(frozen=True)
class Agreement:
    """`spearman`: rank correlation. `sign`: share of equal signs where |exact| is above the floor.

    `top`: share of the `k` largest |exact| that are among the `k` largest |approximation|.
    """

    spearman: Estimate
    sign: Estimate
    top: Estimate


@dataclass(frozen=True)
class AgreementReport:
    """The approximation's agreement and that of the same values in random order.

    `n` effects, of which `n_above_floor` have |exact| > `floor`; `k` as in `Agreement.top`; the intervals
    resample `n_clusters` clusters.
    """

    approximation: Agreement
    random: Agreement
    n: int
    n_above_floor: int
    n_clusters: int
    floor: float
    k: int


def agreement(
    approximation: Float[np.ndarray, " n"],
    exact: Float[np.ndarray, " n"],
    *,
    cluster: Int[np.ndarray, " n"] | None = None,
    floor: float | None = None,
    k: int = 20,
    seed: int = 0,
    draws: int = 1000,
) -> AgreementReport:
    """Computes rank correlation, sign agreement and overlap of the top `k`, with 95% intervals.

    The intervals are a percentile bootstrap over clusters (Field & Welsh 2007): effects of one prompt or one
    feature are not independent, so whole clusters are drawn with replacement, `draws` times. Without
    `cluster` [n] every effect is one. `floor` is 1% of the largest |exact| if not given. The random ranking
    is a permutation of the approximation by `seed`.

    Raises:
        UserError: there are fewer than two effects, or the lists differ in length.
    """
    n = len(exact)
    cluster = np.arange(n) if cluster is None else cluster
    if n < 2 or len(approximation) != n or len(cluster) != n:
        raise UserError(
            f"{len(approximation)} estimates, {n} exact effects and {len(cluster)} cluster ids do not fit",
            "agreement",
            "give as many of each, at least two",
        )
    floor = 0.01 * float(np.abs(exact).max()) if floor is None else floor
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(approximation)
    names, number = np.unique(cluster, return_inverse=True)
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    samples = [
        np.concatenate([members[pick] for pick in rng.integers(len(names), size=len(names))])
        for _ in range(draws)
    ]
    return AgreementReport(
        _agreement(approximation, exact, samples, floor, k),
        _agreement(shuffled, exact, samples, floor, k),
        n,
        int((np.abs(exact) > floor).sum()),
        len(names),
        floor,
        min(k, n),
    )


def _agreement(
    approximation: Float[np.ndarray, " n"],
    exact: Float[np.ndarray, " n"],
    samples: list[Int[np.ndarray, " _"]],
    floor: float,
    k: int,
) -> Agreement:
    value = _measures(approximation, exact, floor, k)
    drawn = np.array([_measures(approximation[sample], exact[sample], floor, k) for sample in samples])
    return Agreement(
        *(Estimate(found, *central(column)) for found, column in zip(value, drawn.T, strict=True))
    )


def _measures(
    approximation: Float[np.ndarray, " n"], exact: Float[np.ndarray, " n"], floor: float, k: int
) -> tuple[float, float, float]:
    varied = len(exact) > 1 and np.ptp(approximation) > 0 and np.ptp(exact) > 0
    spearman = float(spearmanr(approximation, exact).statistic) if varied else float("nan")
    large = np.abs(exact) > floor
    same = np.sign(approximation[large]) == np.sign(exact[large])
    first, second = (
        np.argsort(-np.abs(values), kind="stable")[: min(k, len(exact))] for values in (approximation, exact)
    )
    sign = float(same.mean()) if len(same) else float("nan")
    return spearman, sign, len({*first} & {*second}) / len(second)


MEASURES = ("spearman", "sign", "top")
NOT_METHODS = ("prompt", "group", "feature", "position", "drawn", "exact", "pair", "kind")


def agreement_table(ablation: pd.DataFrame, patching: pd.DataFrame, top: int, seed: int) -> pd.DataFrame:
    """Computes the agreement of every approximation with the exact effects, for each set of effects.

    `ablation` has a row for each feature at a position: `prompt`, `drawn` (how it was chosen), `exact`, and a
    column for each approximation; `patching` one for each patch: `pair`, `kind`, `exact`, the approximation.
    Columns of the result: `effects` (which), `approximation`, and for each measure of `agreement` its value,
    `_low` and `_high`, and `_random`, `_random_low`, `_random_high` for the same values in random order.
    Intervals resample prompts or pairs.
    """
    rows = []
    for name, part, cluster in _sets(ablation, patching):
        for method in (column for column in part if column not in NOT_METHODS):
            found = agreement(
                part[method].to_numpy(dtype=float),
                part["exact"].to_numpy(dtype=float),
                cluster=part[cluster].to_numpy(dtype=int),
                k=top * part[cluster].nunique(),
                seed=seed,
            )
            row: dict[str, object] = {"effects": name, "approximation": method}
            for measure in MEASURES:
                for end, side in (("", found.approximation), ("_random", found.random)):
                    row |= getattr(side, measure).named(measure + end)
            rows.append(row | {"n": found.n, "clusters": found.n_clusters, "floor": found.floor})
    return pd.DataFrame(rows)


def _sets(ablation: pd.DataFrame, patching: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Yields each set of effects: its name, its rows, and the column of its clusters."""
    for drawn, part in ablation.groupby("drawn", sort=False):
        yield f"ablation {drawn}", part, "prompt"
    for kind, part in patching.groupby("kind", sort=False):
        yield f"patching {kind}", part, "pair"
