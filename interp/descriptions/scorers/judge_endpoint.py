"""A judge that asks a language model: ratings of several texts in one call."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from interp.descriptions.candidate import Candidate, Shown
from interp.descriptions.prompt import load_prompt
from interp.llm.client import Client, Unreadable
from interp.llm.request import Request

TEXTS_PER_CALL = 5
MAX_TOKENS = 200


class Ratings(BaseModel):
    """What the model answers: a rating for each text."""

    model_config = ConfigDict(extra="forbid")

    ratings: list[Annotated[int, Field(ge=0, le=10)]]


class EndpointJudge:
    """The `Judge` that asks an endpoint.

    An answer of the wrong length, or one that cannot be parsed, is asked for once more, text by text; a text
    that then has no rating gets None.
    """

    def __init__(self, client: Client, few_shot: bool = True) -> None:
        self._client = client.named("judge")
        self._few_shot = few_shot
        self._prompts = {False: load_prompt("detect"), True: load_prompt("fuzz")}

    @property
    def name(self) -> str:
        """The prompts with their versions, and the model."""
        digests = "+".join(prompt.digest for prompt in self._prompts.values())
        return f"judge {digests}{'' if self._few_shot else ', no examples'}, {self._client.name}"

    async def rate(self, candidate: Candidate, shown: Sequence[Shown]) -> list[float | None]:
        """Rates each text in concurrent calls; texts are either all marked, or none is."""
        parts = [shown[i : i + TEXTS_PER_CALL] for i in range(0, len(shown), TEXTS_PER_CALL)]
        answers = await asyncio.gather(*(self._ask(candidate.text, part) for part in parts))
        return [rating for part in answers for rating in part]

    async def _ask(self, description: str, shown: Sequence[Shown]) -> list[float | None]:
        lines = [f"Text {number}: {one.line}" for number, one in enumerate(shown, start=1)]
        messages = self._prompts[shown[0].marked is not None].messages(
            self._few_shot,
            description=description,
            texts="\n".join(lines),
        )
        n = len(shown)
        reread = 0 if n > 1 else None  # several are asked for again one by one
        try:
            answer = await self._client.structured(
                Request(messages, MAX_TOKENS), Ratings, reread, partial(_number_amiss, n)
            )
            return [rating / 10 for rating in answer.ratings]
        except Unreadable:
            if n == 1:
                return [None]
        alone = await asyncio.gather(*(self._ask(description, [one]) for one in shown))
        return [rating for (rating,) in alone]


def _number_amiss(n: int, answer: Ratings) -> str:
    """Says what is wrong with the answer about `n` texts; empty if nothing is."""
    given = len(answer.ratings)
    return "" if given == n else f"there have to be {n} ratings, not {given}"
