"""The linter: features that are important for a token, grouped by what their descriptions mean.

As in Transluce's Monitor (observability 2024), lib/investigator clustering: average linkage, cosine distance
0.6, three or more. There a language model names and grades every group. Here it may (`graded`); without one a
group is named by its own words, and the embedder says whether it is out of place in the text.
"""

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import roc_auc_score

from interp.corpus.first_token import function_words
from interp.descriptions.prompt import load_prompt
from interp.embed.embedder import Embedder
from interp.embed.tfidf import WORDS
from interp.errors import UserError, quoted
from interp.llm.client import Client, Unreadable
from interp.llm.request import Request
from interp.words import spaceless

DISTANCE = 0.6
"""Mean cosine distance up to which two clusters become one."""
SMALLEST = 3
"""Fewest features of a group."""
MOST_ITEMS = 5_000
"""Most items at once: all pairs of them are held in memory (100 MB)."""
NAME_WORDS = 3
"""Most words of a name that is made of a group's own words."""
ANSWER_WORDS = (2, 5)
"""Fewest and most words of a name that an endpoint gives."""
LONGEST_NAME = 80
"""Characters of a name that an endpoint gives."""
SHOWN = 40
"""Most descriptions of a group that an endpoint is shown: those of the largest weight."""
LONGEST_TEXT = 8_000
"""Most characters of a text that an endpoint is shown: its last ones."""
MAX_TOKENS = 100
PROMPTS = Path(__file__).parent / "prompts"
TERMS = "terms"
"""What named a group whose name is made of its own words."""


@dataclass(frozen=True)
class Item:
    """A feature that is important for a token.

    `key` tells it from all others, `description` is the short form of its description, and `weight` its
    attribution or its normalised activation, with its sign and in any unit that all items share.
    """

    key: str
    description: str
    weight: float


@dataclass(frozen=True)
class Group:
    """Features whose descriptions are near each other.

    `keys` begin with the largest |weight|. `share` is the sum of the group's |weight| over that of all items,
    `signed` the sum of its weights over the same; both are 0 where all weights are. `named_by` is "terms" or
    the endpoint's model.

    `out_of_place` is the chance that a random item outside of the group is nearer to the text (by the cosine
    of its description and the text) than a random one of the group, equally near ones counting one half: 1
    where all others are nearer, 0.5 where the group is as near as the others, 0 where all others are further
    away. It is the area under the ROC curve (Mann & Whitney 1947). The mean vector of a group is not used: a
    mean of several is nearer to most texts than each of them. None where the text, or every item outside of
    the group, has no vector.

    `grade` is the endpoint's: 1 (out of place) to 4 (belongs); None where none was asked or its answer could
    not be read.
    """

    name: str
    keys: tuple[str, ...]
    share: float
    signed: float
    out_of_place: float | None
    named_by: str = TERMS
    grade: int | None = None


@dataclass(frozen=True)
class Groups:
    """All groups, the largest share first, and every item that is in none.

    `ungrouped` are the keys of items in clusters of fewer than `smallest`, `without_vector` those whose
    description is empty or has no term that the embedder knows; both begin with the largest |weight|. With
    the groups' keys they are all keys, each once. `failures` counts the groups whose answer was unreadable.
    """

    groups: tuple[Group, ...]
    ungrouped: tuple[str, ...]
    without_vector: tuple[str, ...]
    embedder: str
    distance: float
    smallest: int
    failures: int = 0


class Grade(BaseModel):
    """What the model answers about one group."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    grade: Annotated[int, Field(ge=1, le=4)]


def groups(
    items: Sequence[Item],
    embedder: Embedder,
    *,
    distance: float = DISTANCE,
    smallest: int = SMALLEST,
    text: str = "",
) -> Groups:
    """Groups items by their descriptions: average linkage on the cosine distance, cut at `distance`.

    As in Transluce's Monitor (observability 2024), lib/investigator clustering: average linkage, cosine
    distance 0.6, three or more. Each distinct description is embedded once (white space counts as one space);
    two items that say the same are two items. `text` is what `out_of_place` compares the groups with, as much
    of it as the embedder reads. The same items give the same groups in whatever order they come.

    Raises:
        UserError: a key stands twice, a weight is not finite, there are more than `MOST_ITEMS`, `distance` is
            not above 0 and up to 2, or `smallest` is less than two; or as the embedder does.
    """
    _check(items, distance, smallest)
    items = [replace(item, description=_line(item.description)) for item in items]
    items.sort(key=lambda item: (-abs(item.weight), item.key))
    distinct = sorted({item.description for item in items} - {""})
    vectors = _vectors(embedder, distinct)
    row_of = {line: row for row, line in enumerate(distinct) if vectors[row].any()}
    usable = [item for item in items if item.description in row_of]
    rows = np.array([row_of[item.description] for item in usable], dtype=np.int64)
    cluster = _clusters(vectors, rows, distance)
    nearness = _nearness(embedder, text, vectors)
    share, terms = _Shares(items), _Terms([item.description for item in items])
    found: list[Group] = []
    for number in np.flatnonzero(np.bincount(cluster) >= smallest).tolist():
        within = cluster == number
        own = [usable[place] for place in np.flatnonzero(within).tolist()]
        apart = None if nearness is None else _out_of_place(nearness[rows[within]], nearness[rows[~within]])
        name = terms.of([item.description for item in own])
        found.append(Group(name, _keys(own), share.of(own), share.signed(own), apart))
    grouped = {key for group in found for key in group.keys}
    return Groups(
        tuple(sorted(found, key=lambda group: (-group.share, -len(group.keys), group.keys))),
        _keys([item for item in usable if item.key not in grouped]),
        _keys([item for item in items if item.description not in row_of]),
        embedder.name,
        distance,
        smallest,
    )


async def graded(groups: Groups, items: Sequence[Item], client: Client, text: str) -> Groups:
    """Lets an endpoint name each group in two to five words and grade it: 1 (out of place) to 4 (belongs).

    As in Transluce's Monitor (observability 2024), lib/investigator clustering, in other words and with other
    examples. All groups are asked about at once, each with the end of `text` (`LONGEST_TEXT`) and with its
    first `SHOWN` descriptions. A group whose answer cannot be read keeps its name, has no grade and is one
    of the `failures`. Order, shares and `out_of_place` stay as they are.

    Raises:
        UserError: a group's key is not among `items`, or `text` is blank; or as `Client.chat`.
    """
    if not text.strip():
        raise UserError("there is no text to compare with", "text", "give the text that the model reads")
    described = {item.key: _line(item.description) for item in items}
    missing = [key for group in groups.groups for key in group.keys if key not in described]
    if missing:
        fix = "give all items that were grouped"
        raise UserError(f"{quoted(missing[0])} is in a group, but no item", "items", fix)
    client = client.named("grade")
    answers = await asyncio.gather(*(_ask(client, group, described, text) for group in groups.groups))
    return replace(
        groups,
        groups=tuple(
            group
            if answer is None
            else replace(
                group, name=_cleaned(answer.name), named_by=client.endpoint.model, grade=answer.grade
            )
            for group, answer in zip(groups.groups, answers, strict=True)
        ),
        failures=answers.count(None),
    )


def _check(items: Sequence[Item], distance: float, smallest: int) -> None:
    if len(items) > MOST_ITEMS:
        fix = "give those of the largest weight"
        raise UserError(f"{len(items):,} items are more than {MOST_ITEMS:,}", "items", fix)
    if not 0 < distance <= 2:
        raise UserError(f"{distance} is no cosine distance", "distance", "give a number above 0 and up to 2")
    if smallest < 2:
        raise UserError(f"{smallest} items are no group", "smallest", "give 2 or more")
    seen: set[str] = set()
    for item in items:
        if item.key in seen:
            raise UserError(f"{quoted(item.key)} stands twice", "items", "give each feature once")
        if not math.isfinite(item.weight):
            raise UserError(f"a weight is {item.weight}", f"item {quoted(item.key)}", "give a finite number")
        seen.add(item.key)


def _line(text: str) -> str:
    return " ".join(text.split())


def _vectors(embedder: Embedder, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
    """Embeds texts in double precision; a vector that is not finite becomes zero."""
    if not texts:
        return np.zeros((0, embedder.width))
    found = embedder.embed(texts).astype(np.float64)
    found[~np.isfinite(found).all(axis=1)] = 0
    return found


def _clusters(
    vectors: Float[np.ndarray, "text width"], rows: Int[np.ndarray, " item"], distance: float
) -> Int[np.ndarray, " item"]:
    """Numbers the cluster of each item, given the row of its vector."""
    cluster = np.zeros(len(rows), dtype=np.int64)
    if len(rows) > 1:
        order = np.argsort(rows, kind="stable")  # ties of the linkage fall as the descriptions alone decide
        tree = linkage(vectors[rows[order]], method="average", metric="cosine")
        cluster[order] = fcluster(tree, t=distance, criterion="distance")
    return cluster


def _nearness(
    embedder: Embedder, text: str, vectors: Float[np.ndarray, "text width"]
) -> Float[np.ndarray, " text"] | None:
    """The cosine of each vector and that of a text; None where the text has no vector."""
    of_text = _vectors(embedder, [text] if text.strip() and len(vectors) else [])
    return vectors @ of_text[0] if of_text.any() else None


def _out_of_place(own: Float[np.ndarray, " own"], others: Float[np.ndarray, " other"]) -> float | None:
    """The chance that one of the others is larger than one of the own; None without others."""
    if not len(others):
        return None
    is_other = np.repeat([False, True], [len(own), len(others)])
    return float(roc_auc_score(is_other, np.concatenate([own, others])))


class _Shares:
    """The shares of items in the |weight| of all; sums do not depend on the order of their terms."""

    def __init__(self, items: Sequence[Item]) -> None:
        # divided by the largest first: the sum of finite weights may overflow
        self._largest = max((abs(item.weight) for item in items), default=0.0) or 1.0
        self._total = math.fsum(abs(item.weight) / self._largest for item in items) or 1.0

    def of(self, items: Sequence[Item]) -> float:
        return math.fsum(abs(item.weight) / self._largest for item in items) / self._total

    def signed(self, items: Sequence[Item]) -> float:
        return math.fsum(item.weight / self._largest for item in items) / self._total


def _keys(items: Sequence[Item]) -> tuple[str, ...]:
    return tuple(item.key for item in items)


class _Terms:
    """The words of all descriptions, each distinct description counted once."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._words = {line: frozenset(re.findall(WORDS, line.casefold())) for line in lines}
        self._holding = Counter(word for words in self._words.values() for word in words)

    def of(self, lines: Sequence[str]) -> str:
        """Names a group, given its descriptions, by the words that they have and the others have not.

        A word counts by the share of the group's descriptions that contain it, less the share of the others.
        Up to three words are taken, those more than half as telling as the first; function words only where
        there is no other word. Where no word tells the group apart, its first description is its name.
        """
        within = len({*lines})
        beyond = max(len(self._words) - within, 1)
        own = Counter(word for line in {*lines} for word in self._words[line])
        more = {word: n / within - (self._holding[word] - n) / beyond for word, n in own.items()}
        telling = {word: value for word, value in more.items() if value > 0}
        telling = {word: value for word, value in telling.items() if word not in function_words()} or telling
        ranked = sorted(telling, key=lambda word: (-telling[word], word))[:NAME_WORDS]
        chosen = [word for word in ranked if telling[word] > telling[ranked[0]] / 2]
        return ", ".join(chosen) or lines[0]


async def _ask(client: Client, group: Group, described: Mapping[str, str], text: str) -> Grade | None:
    """Asks about one group; None where no answer could be read."""
    lines = list(dict.fromkeys(described[key] for key in group.keys))
    numbered = [f"{number}. {line}" for number, line in enumerate(lines[:SHOWN], start=1)]
    more = [f"(and {len(lines) - SHOWN} more)"] if len(lines) > SHOWN else []
    shown = text if len(text) <= LONGEST_TEXT else "…" + text[-LONGEST_TEXT:]
    messages = load_prompt("grade", PROMPTS).messages(
        text=json.dumps(shown, ensure_ascii=False), descriptions="\n".join([*numbered, *more])
    )
    try:
        return await client.structured(Request(messages, MAX_TOKENS), Grade, amiss=_amiss)
    except Unreadable:
        return None


def _amiss(answer: Grade) -> str:
    """Says what is wrong with a name; empty if nothing is. Scripts without spaces have no words to count."""
    name = _cleaned(answer.name)
    fewest, most = ANSWER_WORDS
    counted = not any(map(spaceless, name))
    if not name or len(name) > LONGEST_NAME or (counted and not fewest <= len(name.split()) <= most):
        return f"the name has to have {fewest} to {most} words"
    return ""


def _cleaned(name: str) -> str:
    return _line(name).strip("\"'“”.").strip()
