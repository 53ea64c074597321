"""Simulates all tokens in one pass through an endpoint that returns log-probabilities of a prompt.

After Bills et al. 2023: every token of the excerpt is followed by a place-holder, and the expected value of
0 to 10 is read from the model's distribution there. Needs a server with echo or
`prompt_logprobs`, such as vLLM.
"""

import asyncio
import math
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from interp.descriptions.candidate import Candidate, Simulated
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.prompt import load_prompt
from interp.llm.client import Client
from interp.llm.request import TokenLogprobs

UNKNOWN = "unknown"
ALTERNATIVES = 20
_PLACE = re.compile(rf"\t{UNKNOWN}(?=\n|$)")
_VALUES = {str(value): float(value) for value in range(11)}


class PromptLogprobSimulator:
    """The `Simulator` that reads expected values from a prompt's log-probabilities.

    An excerpt with a token for which no number is among the alternatives has no prediction. A model whose
    tokenizer cuts "10" in two reads 10 as 1: there the scale ends at 9.
    """

    def __init__(self, client: Client) -> None:
        self._client = client.named("simulate")
        self._prompt = load_prompt("expected")

    @property
    def name(self) -> str:
        """The prompt with its version, and the model."""
        return f"prompt_logprobs {self._prompt.digest}, {self._client.name}"

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predicts activations for each excerpt, in concurrent calls."""
        return Simulated(tuple(await asyncio.gather(*(self._one(candidate.text, one) for one in excerpts))))

    async def _one(self, description: str, excerpt: Excerpt) -> Float[np.ndarray, " _"] | None:
        lines = [piece.replace("\n", "⏎").replace("\t", "⇥") + "\t" for piece in excerpt.pieces]
        head, question = self._prompt.messages(description=description, tokens="")
        prompt = f"{head.content}\n\n{question.content}\n"
        prompt += "".join(f"{line}{UNKNOWN}\n" for line in lines)
        tokens = await self._client.prompt_logprobs(prompt, ALTERNATIVES)
        return expected_values(tokens, len(lines))


def expected_values(tokens: Sequence[TokenLogprobs], n: int) -> Float[np.ndarray, " n"] | None:
    """Returns the expected value of 0 to 10 in each of the last `n` place-holders; None if one has no number.

    The place-holders are searched for in what the tokens spell, which need not be the prompt to the letter: a
    server may show special tokens, and tokens that are a part of a character, as it likes.
    """
    ends = np.cumsum([len(token.token) for token in tokens])
    places = [one.start() + 1 for one in _PLACE.finditer("".join(token.token for token in tokens))][-n:]
    if len(places) < n:
        return None
    found = []
    for place in np.searchsorted(ends, places, side="right").tolist():
        weights = [
            (_VALUES[token.strip()], math.exp(logprob))
            for token, logprob in tokens[place].top.items()
            if token.strip() in _VALUES
        ]
        total = sum(weight for _, weight in weights)
        if not total:
            return None
        found.append(sum(value * weight for value, weight in weights) / total)
    return np.array(found)
