"""The agreement report: every approximation held against the exact effects it stands for."""

from collections.abc import Iterator

import pandas as pd

from interp.attribution.agreement import agreement

MEASURES = ("spearman", "sign", "top")
NOT_METHODS = ("prompt", "group", "feature", "position", "drawn", "exact", "pair", "kind")


def quality(ablation: pd.DataFrame, patching: pd.DataFrame, top: int, seed: int) -> pd.DataFrame:
    """Agreement of every approximation with the exact effects, a row for each set of effects.

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
                    estimate = getattr(side, measure)
                    row[measure + end] = estimate.value
                    row[f"{measure}{end}_low"] = estimate.low
                    row[f"{measure}{end}_high"] = estimate.high
            rows.append(row | {"n": found.n, "clusters": found.n_clusters, "floor": found.floor})
    return pd.DataFrame(rows)


def _sets(ablation: pd.DataFrame, patching: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Each set of effects with its name and the column of its clusters."""
    for drawn, part in ablation.groupby("drawn", sort=False):
        yield f"ablation {drawn}", part, "prompt"
    for kind, part in patching.groupby("kind", sort=False):
        yield f"patching {kind}", part, "pair"
