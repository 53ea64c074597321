"""Answers judged by their first token: which of them it tells apart.

Where the first of an answer's tokens stands for it, a model is right on "the" for "the United States", and on
"San" for "San Francisco" where it means San Diego. Such answers are left out, counted, and said.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from interp.subject.continuation import Continuation

_SHOWN = 3  # answers named in a note


class ToldApart(NamedTuple):
    """The places of the items that are kept, and what must be said of those that are not."""

    kept: tuple[int, ...]
    notes: tuple[str, ...] = ()


def told_apart(
    answers: Sequence[Sequence[Continuation]], groups: Sequence[str] | None = None, what: str = "items"
) -> ToldApart:
    """Leaves out the items that are not told from others, or from no answer, by a first token.

    `answers` has for each item its spellings. An item is left out if one of these is several tokens of which
    the first is blank, a mark, a part of a character or a function word; or if it shares its first token with
    another item's answer. Only items of the same one of `groups` are candidates beside each other.
    """
    groups = groups or [""] * len(answers)
    owners: dict[tuple[str, int], set[str]] = defaultdict(set)
    for group, spellings in zip(groups, answers, strict=True):
        for one in spellings:
            owners[group, one.ids[0]].add(_name(one))
    trivial = [place for place, spellings in enumerate(answers) if any(map(is_trivial, spellings))]
    shared = [
        place
        for place, (group, spellings) in enumerate(zip(groups, answers, strict=True))
        if place not in trivial
        and any(owners[group, one.ids[0]] - set(map(_name, spellings)) for one in spellings)
    ]
    notes = []
    for places, why in (
        (trivial, "begins with a token that says nothing"),
        (shared, "begins with the same token as another's"),
    ):
        if places:
            named = list(dict.fromkeys(_shown(answers[place][0]) for place in places))
            more = f", and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
            notes.append(
                f"{len(places)} of {len(answers)} {what} are left out: the answer is judged by its first "
                f"token and {why} ({', '.join(named[:_SHOWN])}{more})."
            )
    left_out = {*trivial, *shared}
    return ToldApart(tuple(place for place in range(len(answers)) if place not in left_out), tuple(notes))


def is_trivial(answer: Continuation) -> bool:
    """Whether the first of an answer's several tokens says nothing: a blank, a mark, a function word.

    One in capitals is a function word before another word ("The Hague") and a piece inside of one ("Theo").
    """
    if len(answer.ids) == 1:
        return False
    first, following = answer.pieces[0].strip(), answer.pieces[1]
    known = first.casefold() if following[:1].isspace() else first
    return not any(map(str.isalnum, first)) or known in function_words()


@cache
def function_words() -> frozenset[str]:
    """Articles, prepositions, pronouns and their like, in a few languages."""
    text = (Path(__file__).parent / "function_words.yaml").read_text(encoding="utf-8")
    return frozenset(word for words in yaml.safe_load(text).values() for word in words.split())


def _name(answer: Continuation) -> str:
    return answer.text.strip().casefold()


def _shown(answer: Continuation) -> str:
    return f"{answer.text.strip()!r} with {answer.pieces[0]!r}"
