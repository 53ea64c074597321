"""One table of all sides of features that several stores hold of a subject."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int

from interp.monitor.knowledge import MAIN_SCORE, Knowledge
from interp.store.rows import SpaceRow

SPLIT = "report"
SCORE = f"{MAIN_SCORE} {SPLIT}"
"""The column of scores, named as in `Store.catalogue`."""
_NUMBERS = ("rate", SCORE, "low", "high", "null_high")
Rows = Int[np.ndarray, " row"]


@dataclass(frozen=True)
class Sides:
    """The sides of features, by layer, space, id and polarity.

    `frame` has the columns of `Store.catalogue` that filters use, and store (its place among the stores),
    rate, low, high, null_high and guess; `description` is -1 where there is none. `texts` are descriptions
    and summaries in lower case; `starts` the first row of each space and the one after its last.
    """

    frame: pd.DataFrame
    texts: pa.ChunkedArray
    starts: Mapping[str, tuple[int, int]]


def numbered(feature_id: Rows, polarity: Rows) -> Rows:
    """A number for each side of the features of one space, in the order of the table."""
    found: Rows = 2 * feature_id + (polarity < 0)
    return found


def read_sides(knowledge: Knowledge) -> Sides:
    """Reads the stores, by three queries for each space: of each feature what `Knowledge.of` knows."""
    parts: list[pd.DataFrame] = []
    texts: list[pa.Array] = []
    starts: dict[str, tuple[int, int]] = {}
    first = 0
    for space in _spaces(knowledge):
        part = _read_space(knowledge, space.name)
        if part.empty:
            continue
        part.insert(0, "space", space.name)
        part.insert(1, "layer", np.nan if space.layer is None else float(space.layer))
        texts.append(_lowered(part))
        parts.append(part.drop(columns=["text", "summary"]))
        starts[space.name] = first, first + len(part)
        first += len(part)
    frame = pd.concat(parts, ignore_index=True) if parts else _empty()
    for name in ("space", "explainer"):
        frame[name] = frame[name].astype("category")
    frame.insert(0, "subject", pd.Series(knowledge.subject, frame.index, dtype="category"))
    score, null = frame[SCORE], frame["null_high"]
    frame["guess"] = score.isna() | (score <= null)  # as `Known.is_guess`
    return Sides(frame, pa.chunked_array(texts, pa.large_string()), starts)


def _spaces(knowledge: Knowledge) -> Iterator[SpaceRow]:
    """The spaces by layer and name, each as the first store that has it says."""
    rows = [row for store in knowledge.stores for row in store.spaces() if row.subject == knowledge.subject]
    known = {row.name: row for row in reversed(rows)}
    yield from sorted(known.values(), key=lambda row: (np.inf if row.layer is None else row.layer, row.name))


def _read_space(knowledge: Knowledge, space: str) -> pd.DataFrame:
    """The sides of one space's features, each with the description that `Knowledge.of` takes."""
    found = []
    for place, store in enumerate(knowledge.stores):
        rows = store.sides(knowledge.subject, space, MAIN_SCORE, SPLIT).rename(columns={"value": SCORE})
        rows["store"] = np.int16(place)
        found.append(rows.sort_values(SCORE, ascending=False, kind="stable", na_position="last"))
    rows = pd.concat(found).drop_duplicates(["feature_id", "polarity"])  # the first store, its best score
    order = np.argsort(numbered(rows["feature_id"].to_numpy(), rows["polarity"].to_numpy()))
    rows = rows.iloc[order].reset_index(drop=True)
    rows["description"] = rows["description"].fillna(-1).astype("int64")
    return rows


def _lowered(part: pd.DataFrame) -> pa.Array:
    """What is searched of each row: a summary that the text contains is not kept twice."""
    held = zip(part["text"].fillna("").tolist(), part["summary"].fillna("").tolist(), strict=True)
    lowered = ((text.lower(), summary.lower()) for text, summary in held)
    return pa.array(
        [text if summary in text else f"{text}\0{summary}" for text, summary in lowered], pa.large_string()
    )


def _empty() -> pd.DataFrame:
    words = {name: pd.Series(dtype="object") for name in ("space", "explainer")}
    whole = {name: pd.Series(dtype="int64") for name in ("feature_id", "polarity", "description", "store")}
    numbers = {name: pd.Series(dtype="float64") for name in ("layer", *_NUMBERS)}
    return pd.DataFrame({**words, **whole, **numbers, "interesting": pd.Series(dtype="boolean")})
