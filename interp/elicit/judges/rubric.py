"""Judges that read a rubric in words: a language model at an endpoint, or one in this process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from interp.descriptions.local_model import LocalModel, beginning
from interp.descriptions.prompt import load_prompt
from interp.descriptions.scorers.judge_local import chances_of_yes
from interp.elicit.behaviour import Exchange, Judgement
from interp.elicit.spending import Meter
from interp.llm.client import Client, Unreadable, run_with
from interp.llm.request import Request, as_text

PROMPTS = Path(__file__).parents[1] / "prompts"
MAX_TOKENS = 60
LONGEST = 4000
"""Characters of a prompt and of a reply that are shown."""
SHOWN = 0.5


class Rating(BaseModel):
    """What the endpoint answers."""

    model_config = ConfigDict(extra="forbid")

    score: Annotated[int, Field(ge=0, le=10)]


class EndpointRubric:
    """Asks an endpoint how clearly a reply shows what the rubric says; the score is 0 to 1, .5 is shown.

    An answer that cannot be read is asked for once more, and is then no judgement. `meter` counts the money.
    """

    def __init__(self, client: Client, rubric: str, meter: Meter | None = None) -> None:
        self._client, self._rubric, self._meter = client, rubric, meter
        self._prompt = load_prompt("rubric", PROMPTS)

    @property
    def name(self) -> str:
        """The rubric, the prompt's version and the model."""
        return f"rubric {self._rubric!r} ({self._prompt.digest}, {self._client.name})"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        """Judges all exchanges at once.

        Raises:
            UserError: as the client; its own budget is spent, for example.
        """
        before = self._client.spent_usd
        client = self._client.named("rubric")

        async def ask() -> list[Judgement | None]:
            return await asyncio.gather(*(self._one(client, one) for one in exchanges))

        found: list[Judgement | None] = run_with(ask(), [self._client])
        if self._meter is not None:
            self._meter.spend(usd=self._client.spent_usd - before)
        return found

    async def _one(self, client: Client, exchange: Exchange) -> Judgement | None:
        messages = self._prompt.messages(
            rubric=self._rubric, prompt=exchange.prompt[:LONGEST], reply=exchange.reply[:LONGEST]
        )
        try:
            answer = await client.structured(Request(messages, MAX_TOKENS), Rating)
        except Unreadable:
            return None
        return Judgement(answer.score / 10, answer.score / 10 >= SHOWN)


class LocalRubric:
    """Reads p(yes) / (p(yes) + p(no)) of a local model, after worked examples; .5 or more is shown.

    `meter` counts a pass for each reply.
    """

    def __init__(self, model: LocalModel, rubric: str, meter: Meter | None = None) -> None:
        self._model, self._rubric, self._meter = model, rubric, meter
        self._prompt = load_prompt("rubric_local", PROMPTS)

    @property
    def name(self) -> str:
        """The rubric, the prompt's version and the model."""
        return f"rubric {self._rubric!r} ({self._prompt.digest}, {self._model.name})"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        """Judges all exchanges in one batch; None for a reply that does not fit the model's context.

        Raises:
            Exhausted: the pass does not fit the budget.
        """
        rows = []
        for one in exchanges:
            messages = self._prompt.messages(rubric=self._rubric, reply=one.reply[:LONGEST])
            rows.append([*beginning(self._model), *self._model.encode(as_text(messages))])
        if self._meter is not None:
            count = sum(map(len, rows))
            self._meter.afford(len(rows), count)
            self._meter.spend(len(rows), count)
        return [
            None if chance is None else Judgement(chance, chance >= SHOWN)
            for chance in chances_of_yes(self._model, rows)
        ]
