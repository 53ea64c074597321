"""Which answers can be judged by their first token.

If a first token stands for an answer, a model is right on "the" for "the United States", and on "San" for
"San Francisco" when it means San Diego. Such answers are left out and counted, and a note says so.
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
    """Indices of the items that are kept, and sentences on those that are left out."""

    kept: tuple[int, ...]
    notes: tuple[str, ...] = ()


def told_apart(
    answers: Sequence[Sequence[Continuation]], groups: Sequence[str] | None = None, what: str = "items"
) -> ToldApart:
    """Leaves out the items whose first token says nothing or is also that of another item's answer.

    `answers` has for each item its spellings. A first token says nothing if more tokens follow and it is
    blank, a mark, a part of a character or a function word. Items are compared only within one of `groups`;
    `what` names them in the notes.
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

    A capitalised one is a function word before another word ("The Hague"), but not inside a word ("Theo").
    """
    if len(answer.ids) == 1:
        return False
    first, following = answer.pieces[0].strip(), answer.pieces[1]
    known = first.casefold() if following[:1].isspace() else first
    return not any(map(str.isalnum, first)) or known in function_words()


@cache
def function_words() -> frozenset[str]:
    """Articles, prepositions, pronouns and the like of a few languages, in lower case."""
    text = (Path(__file__).parent / "function_words.yaml").read_text(encoding="utf-8")
    return frozenset(word for words in yaml.safe_load(text).values() for word in words.split())


def _name(answer: Continuation) -> str:
    return answer.text.strip().casefold()


def _shown(answer: Continuation) -> str:
    return f"{answer.text.strip()!r} with {answer.pieces[0]!r}"
