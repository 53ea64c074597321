"""The populations of stores: the neurons, the latents of an SAE, the features of a space, by explainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sqlalchemy import select

from interp.inspection.comparison import Choice, Scored, kind_of, null_of
from interp.statistics.estimate import mean_interval
from interp.store import schema
from interp.store.connect import explained
from interp.store.read import fetched
from interp.store.rows import FeatureRow
from interp.store.store import Store

SPLIT = "report"
NEURONS = "neurons"
_COLUMNS = ("text", "explainer", "value", "low", "high", "null_mean", "null_high")


@dataclass(frozen=True)
class StoreChoice:
    """A population of a store: the features of these spaces that one explainer described."""

    choice: Choice
    store: Store
    spaces: tuple[str, ...]
    explainer: str


def store_choices(stores: Sequence[Store], subject: str) -> list[StoreChoice]:
    """The populations of the stores' features of a subject."""
    found: list[StoreChoice] = []
    for number, store in enumerate(stores):
        table = store.catalogue(subject)
        group = _name(store) if len(stores) > 1 else "What the store describes"
        explainers = sorted(map(str, table["explainer"].unique()))
        for explainer in explainers:
            own = table[table["explainer"] == explainer]
            counts = {str(space): len(part) for space, part in own.groupby("space", observed=True)}
            names = sorted(counts, key=lambda space: (kind_of(space), len(space), space))
            layers = [space for space in names if kind_of(space) == "neuron"]
            sets = {NEURONS: tuple(layers)} if len(layers) > 1 else {}
            sets |= {_said(space): (space,) for space in names}
            for name, spaces in sets.items():
                mine = own[own["space"].isin(spaces)]
                choice = Choice(
                    key=f"{number}/{NEURONS if name == NEURONS else spaces[0]}/{explainer}",
                    name=_named(name, explainer if len(explainers) > 1 else "", store, len(stores) > 1),
                    group=group,
                    kind=kind_of(spaces[0]),
                    described=sum(counts[space] for space in spaces),
                    measures=_measures(mine),
                    parts=frozenset(f"{number}/{space}/{explainer}" for space in spaces),
                )
                found.append(StoreChoice(choice, store, spaces, explainer))
    return found


def read_population(chosen: StoreChoice, subject: str, measure: str, seed: int = 0) -> Scored:
    """The scores of a population's descriptions on the report split, with the mean's interval over features.

    `measure` is a kind of score, such as "simulation".
    """
    s, f, d, c = schema.spaces, schema.features, schema.descriptions, schema.scores
    query = (
        select(
            s.c.name, f.c.feature_id, f.c.polarity, d.c.text, d.c.explainer, c.c.value, c.c.low, c.c.high,
            c.c.null_mean, c.c.null_high,
        )
        .join_from(c, d).join(f, d.c.feature == f.c.id).join(s, f.c.space == s.c.id)
        .where(
            s.c.subject == subject, s.c.name.in_(chosen.spaces), d.c.explainer == chosen.explainer,
            d.c.chosen, c.c.kind == measure, c.c.split == SPLIT,
        )
        .order_by(s.c.name, f.c.feature_id, f.c.polarity.desc(), c.c.id)
    )  # fmt: skip
    with explained(chosen.store.where), chosen.store.engine.connect() as connection:
        found = fetched(connection, query)
    keys = [FeatureRow(space, number, side).key for space, number, side, *_ in found]
    rows = pd.DataFrame([one[3:] for one in found], columns=list(_COLUMNS), index=pd.Index(keys, name="key"))
    for name in ("value", "low", "high", "null_mean", "null_high"):
        rows[name] = rows[name].astype(float)
    rows = rows[~rows.index.duplicated()]  # the first scorer's
    mean = mean_interval(rows["value"].dropna().to_numpy(dtype=float), seed)
    said = f"{_name(chosen.store)}, explainer {chosen.explainer}"
    return Scored(chosen.choice, rows, mean, null_of(rows), subject, said)


def _measures(part: pd.DataFrame) -> tuple[str, ...]:
    end = f" {SPLIT}"
    names = [str(name) for name in part if str(name).endswith(end) and part[name].notna().any()]
    return tuple(name.removesuffix(end) for name in names)


def _said(space: str) -> str:
    first, _, rest = space.partition(".")
    if first == "mlp":
        return f"neurons of layer {rest}"
    return f"latents of {rest or space}" if kind_of(space) == "latent" else space


def _named(name: str, explainer: str, store: Store, several: bool) -> str:
    said = f"{name}, by {explainer}" if explainer else name
    return f"{said} ({_name(store)})" if several else said


def _name(store: Store) -> str:
    """The last part of where a store is; of a run's store the run's name."""
    path = Path(store.where)
    return path.parent.name if path.name == "store.sqlite" else path.name
