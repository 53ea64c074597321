"""Asks a language model for the activations as JSON: every token of several excerpts in one call."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from interp.descriptions.candidate import Candidate, Simulated
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.prompt import load_prompt
from interp.llm.client import Client, Unreadable
from interp.llm.request import Request

EXCERPTS_PER_CALL = 5
TOKENS_PER_VALUE = 4
"""Tokens of an answer per value, with its comma and brackets."""


class Activations(BaseModel):
    """What the model answers: a list for each excerpt."""

    model_config = ConfigDict(extra="forbid")

    activations: list[list[Annotated[int, Field(ge=0, le=10)]]]


class StructuredSimulator:
    """The `Simulator` that asks an endpoint; works with every one that can answer.

    An excerpt whose list has the wrong length, or whose answer could not be parsed, is asked about once more
    on its own; after that it has no prediction. It is never scored as silent.
    """

    def __init__(self, client: Client, few_shot: bool = True) -> None:
        self._client = client.named("simulate")
        self._few_shot = few_shot
        self._prompt = load_prompt("simulate")

    @property
    def name(self) -> str:
        """The prompt with its version, and the model."""
        shots = "" if self._few_shot else ", no examples"
        return f"structured {self._prompt.digest}{shots}, {self._client.name}"

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predicts activations for each excerpt, in concurrent calls."""
        parts = [excerpts[i : i + EXCERPTS_PER_CALL] for i in range(0, len(excerpts), EXCERPTS_PER_CALL)]
        answers = await asyncio.gather(*(self._ask(candidate.text, part) for part in parts))
        return Simulated(tuple(values for part in answers for values in part))

    async def _ask(
        self, description: str, excerpts: Sequence[Excerpt]
    ) -> list[Float[np.ndarray, " _"] | None]:
        lines = [
            f"Excerpt {number} ({len(one.pieces)} tokens): {one.listed}"
            for number, one in enumerate(excerpts, start=1)
        ]
        messages = self._prompt.messages(self._few_shot, description=description, excerpts="\n".join(lines))
        room = 100 + TOKENS_PER_VALUE * sum(len(one.pieces) for one in excerpts)
        lists: list[list[int]] = [[]] * len(excerpts)
        try:
            if len(excerpts) > 1:  # what is wrong with several is asked for again one by one
                answer = await self._client.structured(Request(messages, room), Activations, 0)
                lists = answer.activations if len(answer.activations) == len(excerpts) else lists
            else:
                amiss = partial(_length_amiss, len(excerpts[0].pieces))
                request = Request(messages, room)
                lists = (await self._client.structured(request, Activations, amiss=amiss)).activations
        except Unreadable:
            pass
        read = [
            np.array(values, dtype=np.float64) if len(values) == len(one.pieces) else None
            for values, one in zip(lists, excerpts, strict=True)
        ]
        if len(excerpts) == 1:
            return read
        again = [place for place, values in enumerate(read) if values is None]
        alone = await asyncio.gather(*(self._ask(description, [excerpts[place]]) for place in again))
        for place, (values,) in zip(again, alone, strict=True):
            read[place] = values
        return read


def _length_amiss(n: int, answer: Activations) -> str:
    """Says what is wrong with the answer about one excerpt of `n` tokens; empty if nothing is."""
    lengths = [len(values) for values in answer.activations]
    return "" if lengths == [n] else f"there has to be one list of {n} integers, not lists of {lengths}"
