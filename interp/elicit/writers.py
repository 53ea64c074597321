"""Writers: language models that write prompts, given the best prompts so far."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from interp.descriptions.prompt import load_prompt
from interp.elicit.behaviour import Behaviour
from interp.elicit.search import Try
from interp.elicit.spending import Meter
from interp.errors import UserError
from interp.llm.client import Client, Unreadable, run_with
from interp.llm.request import Request
from interp.subject.subject import Subject

Number = float | int
PROMPTS = Path(__file__).parent / "prompts"
PROMPTS_PER_CALL = 8
TOKENS_PER_PROMPT = 80
Shots = Sequence[tuple[str, Try | None]]
"""Prompts, each with what came of it if it was tried, the best last."""


@runtime_checkable
class Writer(Protocol):
    """Writes prompts."""

    @property
    def name(self) -> str:
        """The model and how it is asked, in words."""
        ...

    def write(self, behaviour: Behaviour, shots: Shots, n: int, random: Random, meter: Meter) -> list[str]:
        """Writes about `n` prompts after those shown.

        Raises:
            Exhausted: it does not fit the budget.
        """
        ...


class ModelWriter:
    """A model in this process that goes on with a list: each prompt so far in `form`, one after another.

    `form` holds {prompt}; a new prompt is what is written between what stands there before and after it, such
    as the turns of a user in "user : {prompt} assistant :". Each new prompt has a sample of its own of the
    prompts shown.

    Raises:
        UserError: the form has no {prompt}, or nothing after it, where a prompt would end.
    """

    def __init__(
        self, subject: Subject, form: str = "{prompt}\n", new_tokens: int = 24, temperature: Number = 1.0
    ) -> None:
        before, found, after = form.partition("{prompt}")
        if not found or not after:
            raise UserError(
                "a prompt has no place in the form, or no end",
                f"form {form!r}",
                "write it with {prompt} and what ends a prompt, such as '{prompt}\\n'",
            )
        self._subject, self._before, self._after = subject, before, after
        self._new_tokens, self._temperature = new_tokens, temperature

    @property
    def name(self) -> str:
        """The model, the form and the temperature."""
        form = f"{self._before}{{prompt}}{self._after}"
        return f"{self._subject.name} goes on with {form!r}, temperature {self._temperature:g}"

    def write(self, behaviour: Behaviour, shots: Shots, n: int, random: Random, meter: Meter) -> list[str]:
        """Writes `n` prompts in batches; what has no end within the new tokens is cut there."""
        rows = [self._row([prompt for prompt, _ in shots], random) for _ in range(n)]
        count = sum(map(len, rows)) + n * self._new_tokens
        meter.afford(n, count)
        tokens, mask = self._subject.pad(rows)
        written = self._subject.generate_ids(
            tokens, mask, self._new_tokens, self._temperature, random.randrange(2**32)
        )
        meter.spend(n, sum(map(len, rows)) + sum(map(len, written)))
        end = self._after.strip() or self._after
        texts = [self._subject.decode(ids).partition(end)[0].strip() for ids in written]
        return [text for text in texts if text]

    def _row(self, shots: Sequence[str], random: Random) -> list[int]:
        """The list up to a new prompt: as many of the prompts as fit, the best last."""
        room = self._subject.n_ctx - self._new_tokens - 1
        kept = sorted(random.sample(range(len(shots)), max(1, len(shots) * 2 // 3))) if shots else []
        while True:
            text = "".join(self._form(shots[place]) for place in kept) + self._before
            ids = self._subject.encode(text)
            if len(ids) <= room or not kept:
                return ids
            kept = kept[1:]

    def _form(self, prompt: str) -> str:
        glue = "" if self._after[-1:].isspace() else " "
        return f"{self._before}{prompt}{self._after}{glue}"


class Prompts(BaseModel):
    """What an endpoint answers."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[Annotated[str, Field(min_length=1, max_length=4000)]]


class EndpointWriter:
    """An endpoint that is told the behaviour in words and what was tried, with scores.

    An answer that cannot be read gives no prompts. The money is counted.

    Raises:
        UserError: as the client, when it is asked.
    """

    def __init__(self, client: Client, temperature: Number = 1.0) -> None:
        self._client, self._temperature = client, float(temperature)
        self._prompt = load_prompt("propose", PROMPTS)

    @property
    def name(self) -> str:
        """The prompt's version and the model."""
        return f"{self._client.name} ({self._prompt.digest}, temperature {self._temperature:g})"

    def write(self, behaviour: Behaviour, shots: Shots, n: int, random: Random, meter: Meter) -> list[str]:
        """Writes `n` prompts in concurrent calls of a few each."""
        if not behaviour.words:
            raise UserError(
                "an endpoint has to be told what the behaviour is",
                f"behaviour {behaviour.name}",
                "write it under behaviour.words",
            )
        tried = "\n".join(
            f"{0 if one is None or one.score is None else one.score:.2f}: {prompt}" for prompt, one in shots
        )
        client, before = self._client.named("proposals"), self._client.spent_usd
        samples = [random.randrange(2**31) for _ in range(-(-n // PROMPTS_PER_CALL))]
        messages = self._prompt.messages(
            behaviour=behaviour.words, tried=tried or "(nothing)", n=str(min(n, PROMPTS_PER_CALL))
        )

        async def ask(sample: int) -> list[str]:
            request = Request(messages, TOKENS_PER_PROMPT * PROMPTS_PER_CALL, self._temperature, sample)
            try:
                return (await client.structured(request, Prompts)).prompts
            except Unreadable:
                return []

        async def asked() -> list[list[str]]:
            return await asyncio.gather(*map(ask, samples))

        found = run_with(asked(), [self._client])
        meter.spend(usd=self._client.spent_usd - before)
        return [prompt for part in found for prompt in part][:n]
