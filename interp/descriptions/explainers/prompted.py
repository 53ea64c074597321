"""Asks a language model what the marked tokens of a feature's strongest excerpts have in common.

The layout of the published 8B explainer (Choi et al. 2024, Transluce, "Scaling automatic neuron
description"): `{{ }}` around active tokens, the threshold stepping inwards through the feature's outer
quantiles, several answers at temperature 1, each from another random subset of the exemplars.
"""

import asyncio
import re
from collections.abc import Sequence

import numpy as np

from interp.descriptions.candidate import Candidate, Explained
from interp.descriptions.excerpt import Excerpt, TextEvidence
from interp.descriptions.explainers.highlight import active, mark, threshold
from interp.descriptions.prompt import PromptTemplate, load_prompt
from interp.llm.client import Client
from interp.llm.request import Message, Request

FROM_TOP = 20
FEWEST, MOST = 10, 20
"""Exemplars that a prompt shows: a random number of the strongest, in random order."""
MAX_TOKENS = 400
_DESCRIPTION = re.compile(r"(?>\[DESCRIPTION\]\**:?\**\s*)(?!\[DESCRIPTION\])(\S.*)", re.IGNORECASE)
_AGAIN = (
    "Answer with one line that begins with [DESCRIPTION]: and says what the marked tokens have in common."
)


class Prompted:
    """The `Explainer` that asks an endpoint, about one polarity of a feature at a time."""

    def __init__(self, client: Client, few_shot: bool = True, temperature: float = 1.0) -> None:
        self._client = client.named("explain")
        self._few_shot = few_shot
        self._temperature = temperature
        self._prompt = self.prompt()

    def prompt(self) -> PromptTemplate:
        """The instructions."""
        return load_prompt("explain")

    @property
    def name(self) -> str:
        """The prompt with its version, and the model."""
        options = ("" if self._few_shot else ", no examples") + f", temperature {self._temperature:g}"
        return f"{self._prompt.name} {self._prompt.digest}{options}, {self._client.name}"

    async def explain(self, evidence: TextEvidence, samples: int, seed: int) -> Explained:
        """Asks for up to `samples` descriptions concurrently; an answer without one is asked for again."""
        if not any(one.peak > 0 for one in evidence.exemplars):
            return Explained(())
        exemplars = evidence.exemplars[:FROM_TOP]
        active_lines = marked(exemplars, threshold(exemplars, evidence.levels))
        silent_lines = self.silent(evidence)
        asked = [
            self._one(
                self.messages(active_lines, silent_lines, np.random.default_rng([seed, number])), number
            )
            for number in range(samples)
        ]
        answers = await asyncio.gather(*asked)
        found = [
            Candidate(text, self.name, number) for number, text in enumerate(answers) if text is not None
        ]
        return Explained(tuple(found), answers.count(None))

    def silent(self, evidence: TextEvidence) -> list[str]:
        """Returns the lines of silent excerpts that prompts draw from; this explainer shows none."""
        return []

    def messages(
        self, active_lines: Sequence[str], silent_lines: Sequence[str], rng: np.random.Generator
    ) -> tuple[Message, ...]:
        """Builds the prompt of one sample."""
        return self._prompt.messages(
            self._few_shot, excerpts=numbered_lines(sampled_lines(active_lines, FEWEST, MOST, rng))
        )

    async def _one(self, messages: tuple[Message, ...], sample: int) -> str | None:
        request = Request(messages, MAX_TOKENS, self._temperature, sample)
        reply = await self._client.chat(request)
        if (text := description_in(reply.text)) is not None:
            return text
        again = (*messages, Message("assistant", reply.text or "(nothing)"), Message("user", _AGAIN))
        second = await self._client.chat(Request(again, MAX_TOKENS, self._temperature, sample))
        return description_in(second.text)


def description_in(answer: str) -> str | None:
    """Extracts the description from an answer: the line's text after the last [DESCRIPTION]:."""
    found = _DESCRIPTION.findall(answer)
    return found[-1].strip() if found else None


def sampled_lines(lines: Sequence[str], fewest: int, most: int, rng: np.random.Generator) -> list[str]:
    """Draws a random number of the lines, in random order."""
    n = len(lines)
    size = int(rng.integers(min(fewest, n), min(most, n) + 1))
    return [lines[place] for place in rng.permutation(n)[:size]]


def marked(excerpts: Sequence[Excerpt], level: float) -> list[str]:
    """Writes each excerpt on one line, with its active tokens marked."""
    return [mark(one, active(one, level)).replace("\n", "⏎").strip() for one in excerpts]


def numbered_lines(lines: Sequence[str], first: int = 1) -> str:
    """The lines, numbered."""
    return "\n".join(f"Excerpt {first + place}: {line}" for place, line in enumerate(lines))
