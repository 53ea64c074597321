"""Short forms of descriptions: fewer than fifteen words, for lists and for search."""

import asyncio
import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from interp.descriptions.prompt import load_prompt
from interp.llm.client import Client, Unreadable
from interp.llm.request import Request

WORDS = 14
AT_ONCE = 10
_CLAUSE_ENDS = re.compile(r"[.;:](?=\s|$)")


class Summaries(BaseModel):
    """What the model answers: one short form for each description."""

    model_config = ConfigDict(extra="forbid")

    summaries: list[str]


def clipped(description: str, words: int = WORDS) -> str:
    """Returns the first clause of a description in lower case, cut after a word; needs no model."""
    line = " ".join(description.split())
    end = _CLAUSE_ENDS.search(line)
    clause = line[: end.start()] if end and end.start() else line
    parts = clause.split(" ")
    short = " ".join(parts[:words]).rstrip(",")
    return short.lower() + ("…" if len(parts) > words else "")


async def summarise(client: Client, descriptions: Sequence[str]) -> tuple[list[str], int]:
    """Shortens each description by a language model; also returns how many answers could not be parsed.

    Several are asked about at once; an answer of the wrong length is asked for one by one. A short form that
    is too long is clipped; where there is none, the description is.
    """
    client = client.named("summarise")
    parts = [descriptions[i : i + AT_ONCE] for i in range(0, len(descriptions), AT_ONCE)]
    answers = await asyncio.gather(*(_ask(client, part) for part in parts))
    found = [one for part in answers for one in part]
    short = [
        clipped(given if given is not None else description)
        for given, description in zip(found, descriptions, strict=True)
    ]
    return short, found.count(None)


async def _ask(client: Client, descriptions: Sequence[str]) -> list[str | None]:
    lines = [f"{number}. {' '.join(one.split())}" for number, one in enumerate(descriptions, start=1)]
    messages = load_prompt("summarise").messages(descriptions="\n".join(lines))
    try:
        answer = await client.structured(Request(messages, 60 * len(descriptions)), Summaries)
        if len(answer.summaries) == len(descriptions):
            return [short if short.strip() else None for short in answer.summaries]
    except Unreadable:
        pass
    if len(descriptions) == 1:
        return [None]
    alone = await asyncio.gather(*(_ask(client, [one]) for one in descriptions))
    return [one for (one,) in alone]
