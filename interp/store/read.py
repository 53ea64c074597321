"""Read whole features, and the catalogue that filters look at."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Connection, select

from interp.store import schema
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow
from interp.store.write import parts

_SCORE = tuple(ScoreRow.__annotations__)


def catalogue(connection: Connection, subject: str | None, chosen_only: bool) -> pd.DataFrame:
    """A row for each description; see `Store.catalogue`."""
    f, s, d, c = schema.features, schema.spaces, schema.descriptions, schema.scores
    query = select(
        d.c.id.label("description"), s.c.subject, s.c.name.label("space"), s.c.layer, f.c.feature_id,
        f.c.polarity, d.c.explainer, d.c.chosen, d.c.interesting,
    ).join_from(d, f).join(s, f.c.space == s.c.id).order_by(d.c.id)  # fmt: skip
    if subject is not None:
        query = query.where(s.c.subject == subject)
    if chosen_only:
        query = query.where(d.c.chosen)
    names = [column.name for column in query.selected_columns]
    table = pd.DataFrame(connection.execute(query).all(), columns=names)
    scored = connection.execute(select(c.c.description, c.c.kind, c.c.split, c.c.value)).all()
    given = pd.DataFrame(scored, columns=["description", "kind", "split", "value"])
    if len(given):
        given["score"] = given["kind"] + " " + given["split"]
        wide = given.pivot_table("value", "description", "score", aggfunc="first")
        table = table.merge(wide, how="left", left_on="description", right_index=True)
    return table


def whole(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Iterator[FeatureRow]:
    """Features with everything that belongs to them."""
    ids = [row["id"] for row in rows]
    d, c, e = schema.descriptions, schema.scores, schema.exemplars
    described = list(connection.execute(select(d).where(d.c.feature.in_(ids)).order_by(d.c.id)).mappings())
    of = [one["id"] for one in described]
    scored: dict[int, list[ScoreRow]] = {}
    for part in parts(of):
        for one in connection.execute(select(c).where(c.c.description.in_(part)).order_by(c.c.id)).mappings():
            scored.setdefault(one["description"], []).append(ScoreRow(*(one[name] for name in _SCORE)))
    words: dict[int, list[DescriptionRow]] = {}
    for one in described:
        words.setdefault(one["feature"], []).append(
            DescriptionRow(
                one["text"], one["explainer"], one["sample"], one["summary"], one["chosen"],
                one["interesting"], one["reason"], one["provenance"], tuple(scored.get(one["id"], ())),
            )
        )  # fmt: skip
    shown: dict[int, list[ExemplarRow]] = {}
    for one in connection.execute(select(e).where(e.c.feature.in_(ids)).order_by(e.c.id)).mappings():
        shown.setdefault(one["feature"], []).append(
            ExemplarRow(*(one[name] for name in ExemplarRow.__annotations__))
        )
    for row in rows:
        yield FeatureRow(
            row["name"], row["feature_id"], row["polarity"], row["rate"], row["quantiles"],
            tuple(words.get(row["id"], ())), tuple(shown.get(row["id"], ())),
        )  # fmt: skip
