"""Figures of the pages on vectors: profiles over layers and strengths, and shares beside their controls."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from interp.render.data import Estimate, Kind, Number
from interp.render.dose_figure import Curve, dose_response
from interp.render.estimate_figure import Entry, EstimateRow, estimates
from interp.statistics.estimate import mean_interval

Draw = Callable[[int], str]
NAMES: Mapping[Kind, str] = {
    "direction": "vector", "random": "random vectors", "neuron": "prompted", "latent": "unchanged",
}  # fmt: skip
RANDOM_SUFFIX = ", random"


def profile(
    curves: Mapping[str, pd.DataFrame],
    x: str,
    *,
    x_name: str,
    y_name: str = "share of right answers",
    kinds: Mapping[str, Kind] | None = None,
    marks: Sequence[tuple[Number, str]] = (),
    standalone: bool = False,
) -> Draw:
    """One curve for each name over the column `x`, through `right` with its interval."""
    drawn = []
    for name, rows in curves.items():
        points: list[tuple[Number, Estimate]] = [
            (row[x], Estimate.of({str(key): cell for key, cell in row.items()}, "right"))
            for row in rows.sort_values(x).to_dict("records")
        ]
        drawn.append(Curve(name, (kinds or {}).get(name, "direction"), points))
    return lambda width: dose_response(
        drawn, x_name=x_name, y_name=y_name, marks=marks, width=width, standalone=standalone
    )


def best_by(rows: pd.DataFrame, x: str, keys: Sequence[str], seed: int) -> pd.DataFrame:
    """For each value of `x`, the mean over the groups of `keys` of the best share there.

    With one group its own interval, else a bootstrap interval over groups.
    """
    best = rows.loc[rows.groupby([*keys, x])["right"].idxmax()]
    found = []
    for value, part in best.groupby(x):
        if len(part) == 1:
            ends = tuple(part.iloc[0][["right", "right_low", "right_high"]])
        else:
            ends = mean_interval(part["right"].to_numpy(dtype=float), seed)
        found.append(dict(zip((x, "right", "right_low", "right_high"), (value, *ends), strict=True)))
    return pd.DataFrame(found)


def shares(
    rows: Sequence[tuple[str, Sequence[tuple[Kind, Estimate]]]],
    *,
    x_name: str = "share of right answers",
    names: Mapping[Kind, str] = NAMES,
    standalone: bool = False,
) -> Draw:
    """A row for each label with its estimates, from 0 to 1."""
    drawn = [EstimateRow(label, [Entry(kind, e) for kind, e in entries]) for label, entries in rows]
    return lambda width: estimates(
        drawn, x_name=x_name, names=names, null=None, width=width, standalone=standalone
    )


def overflow_note(rows: pd.DataFrame) -> list[str]:
    """A sentence for a page's limits if logits overflowed somewhere in a sweep."""
    count = int(rows["overflowed"].sum())
    said = f"At some strengths logits overflowed ({count} prompts in all): they count as wrong."
    return [said] if count else []


def over_groups(rows: pd.DataFrame, measure: str, seed: int) -> Estimate:
    """A measure's mean over rows with its interval: a row's own where there is one, else over the rows."""
    if rows.empty:
        return Estimate()
    if len(rows) == 1 and f"{measure}_low" in rows:
        return Estimate.of({str(key): cell for key, cell in rows.iloc[0].items()}, measure)
    known = rows[measure].dropna().to_numpy(dtype=float)
    return mean_interval(known, seed)
