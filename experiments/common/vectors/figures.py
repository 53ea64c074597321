"""Figures of the pages on vectors: profiles over layers and strengths, and shares beside their controls."""

from collections.abc import Mapping, Sequence

import pandas as pd

from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.figure import Draw
from interp.render.palette import Role
from interp.statistics.estimate import Estimate, Number, mean_interval

NAMES: Mapping[Role, str] = {
    "c": "vector", "null": "random vectors", "a": "prompted", "b": "unchanged",
}  # fmt: skip
RANDOM_SUFFIX = ", random"


def profile(
    curves: Mapping[str, pd.DataFrame],
    x: str,
    *,
    x_name: str,
    y_name: str = "share of right answers",
    roles: Mapping[str, Role] | None = None,
    marks: Sequence[tuple[Number, str]] = (),
) -> Draw:
    """Draws a curve for each name: `right` with its interval over the column `x`."""
    drawn = [Curve.of(name, (roles or {}).get(name, "c"), rows, x, "right") for name, rows in curves.items()]
    return curve_chart(drawn, x_name=x_name, y_name=y_name, marks=marks)


def best_by(rows: pd.DataFrame, x: str, keys: Sequence[str], seed: int) -> pd.DataFrame:
    """Returns, for each value of `x`, the mean over the groups of `keys` of the best share there.

    The interval is the group's own if there is one group, else a bootstrap interval over groups.
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
    rows: Sequence[tuple[str, Sequence[tuple[Role, Estimate]]]],
    *,
    x_name: str = "share of right answers",
    names: Mapping[Role, str] = NAMES,
) -> Draw:
    """Draws a row for each label with its estimates, on an axis from 0 to 1."""
    drawn = [EstimateRow(label, [Entry(role, e) for role, e in entries]) for label, entries in rows]
    return estimate_chart(drawn, x_name=x_name, names=names, null=None)


def overflow_note(rows: pd.DataFrame) -> list[str]:
    """Returns a sentence for a page's limits if logits overflowed somewhere in a sweep."""
    count = int(rows["overflowed"].sum())
    said = f"At some strengths logits overflowed ({count} prompts in all): they count as wrong."
    return [said] if count else []


def over_groups(rows: pd.DataFrame, measure: str, seed: int) -> Estimate:
    """Returns a measure's mean over rows; its interval is a single row's own, else a bootstrap over rows."""
    if rows.empty:
        return Estimate()
    if len(rows) == 1 and f"{measure}_low" in rows:
        return Estimate.of(rows.iloc[0].to_dict(), measure)
    known = rows[measure].dropna().to_numpy(dtype=float)
    return mean_interval(known, seed)
