"""Prompts drawn from a distribution and a proposal in a mixture, each with its weight."""

import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from interp.elicit.prompts import PromptDistribution
from interp.errors import UserError
from interp.fields import PositiveFraction, taken

Number = float | int


@runtime_checkable
class PromptProposal(Protocol):
    """Prompts that bring a behaviour out more often than those of a distribution, with how likely each is."""

    @property
    def name(self) -> str:
        """Everything that decides it, in words."""
        ...

    def sample(self, n: int, random: Random) -> list[str]:
        """Draws prompts independently."""
        ...

    def log_prob(self, prompts: Sequence[str]) -> list[float]:
        """The log-probability of each prompt, in nats; -inf for one that is never drawn."""
        ...


class Weighted(NamedTuple):
    """A prompt, and the log of how likely the distribution gives it, over how likely it is to be drawn."""

    prompt: str
    log_weight: Number


class PromptMixture:
    """Draws prompts: a share `defensive` from the distribution itself, else from the proposal.

    The weight of a prompt x is D(x) / (e D(x) + (1 - e) Q(x)), with e = `defensive`, and never above 1 / e
    (Hesterberg 1995; see `interp.elicit.propensity.replies`). Without a proposal all weights are 1.

    Raises:
        UserError: the distribution does not know how likely a prompt is, so that no proposal can be weighed.
    """

    def __init__(
        self,
        prompts: PromptDistribution,
        proposal: PromptProposal | None = None,
        defensive: Number = 0.2,
    ) -> None:
        self.prompts, self.proposal = prompts, proposal
        self.defensive = 1.0 if proposal is None else taken(PositiveFraction, defensive, "defensive")
        if proposal is not None and prompts.log_prob(prompts.sample(1, Random(0))) is None:
            raise UserError(
                "how likely a prompt is, is not known",
                prompts.name,
                "leave the proposal of prompts out, or use templates or listed prompts",
            )

    @property
    def name(self) -> str:
        """The parts of the mixture."""
        if self.proposal is None:
            return self.prompts.name
        return f"{self.prompts.name} ({self.defensive:.3g}) and {self.proposal.name}"

    @property
    def largest(self) -> float:
        """What no weight is above."""
        return 1 / self.defensive

    def draw(self, n: int, random: Random) -> list[Weighted]:
        """Draws prompts independently.

        Raises:
            UserError: the distribution says of a prompt that it gave itself that it never gives it.
        """
        if self.proposal is None:
            return [Weighted(one, 0.0) for one in self.prompts.sample(n, random)]
        own = sum(random.random() < self.defensive for _ in range(n))
        drawn = self.prompts.sample(own, random) + self.proposal.sample(n - own, random)
        chances = self.prompts.log_prob(drawn)
        assert chances is not None, "it was known when the mixture was made"
        for prompt, chance in zip(drawn[:own], chances, strict=False):
            if chance == -math.inf:
                raise UserError(
                    f"it gave {prompt!r}, of which it says that it never does",
                    self.prompts.name,
                    "leave the proposal of prompts out, or put its log_prob right",
                )
        proposed = np.array(self.proposal.log_prob(drawn))
        known = np.array(chances)
        shares = math.log(self.defensive), math.log1p(-self.defensive) if self.defensive < 1 else -math.inf
        weights = known - np.logaddexp(shares[0] + known, shares[1] + proposed)
        weighted = list(map(Weighted, drawn, np.where(known == -math.inf, -math.inf, weights).tolist()))
        random.shuffle(weighted)
        return weighted
