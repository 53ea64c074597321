"""Steering search: which of a target's directions bring a behaviour out, and how strong they have to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from interp.elicit.proposal import Proposal, Steer
from interp.elicit.search import History, Try
from interp.elicit.spending import Meter
from interp.errors import UserError
from interp.statistics.estimate import Estimate, share_interval

Number = float | int


@dataclass(frozen=True)
class WhatItTakes:
    """The least strength of a direction at which the behaviour shows in a share of the prompts.

    `below` is the largest strength that was tried and did not do; the true least one lies between the two.
    `shown` is the share of prompts at `strength`, with its interval over prompts.
    """

    direction: str
    strength: Number
    below: Number
    shown: Estimate
    reply: str


class SteeringSearch:
    """Asks the same prompts under each direction at rising strengths, then halves the gap to the least one.

    A strength does if the behaviour shows in at least `share` of the prompts. Strengths are tried from the
    weakest for all directions; once one does, the gap between it and the last that did not is halved (in the
    logarithm) until it is less than `precision` of the strength. Directions that do at no strength are given
    up. The search ends by itself.

    Raises:
        UserError: there is no direction, prompt or strength.
    """

    def __init__(
        self,
        directions: Sequence[str],
        prompts: Sequence[str],
        strengths: Sequence[Number] = (0.25, 0.5, 1, 2, 4),
        share: Number = 0.5,
        precision: Number = 0.15,
    ) -> None:
        if not directions or not prompts or not strengths or min(strengths) <= 0:
            raise UserError(
                "there is nothing to steer by, nothing to ask or no strength above 0",
                "steering search",
                "give directions, prompts and strengths above 0",
            )
        self.directions = list(dict.fromkeys(directions))
        self.prompts = list(dict.fromkeys(prompts))
        self.strengths = sorted(set(map(float, strengths)))
        self.share, self.precision = float(share), float(precision)

    @property
    def name(self) -> str:
        """The method and its settings."""
        return (
            f"steering search ({len(self.directions)} directions, {len(self.prompts)} prompts, strengths "
            f"{self.strengths[0]:g} to {self.strengths[-1]:g}, share {self.share:g}, to {self.precision:.0%})"
        )

    def propose(self, history: History, n: int, random: Random, meter: Meter) -> list[Proposal]:
        """Proposes all prompts at the next strengths, of as many directions as make about `n` proposals."""
        tried = _tried(history)
        steps = [(self._next(tried.get(name, {})), name) for name in self.directions]
        open_steps = sorted((step, name) for step, name in steps if step is not None)
        chosen = open_steps[: max(1, n // len(self.prompts))]
        return [
            Proposal(prompt, f"{name} at {strength:.4g}", steer=(Steer(name, strength),))
            for strength, name in chosen
            for prompt in self.prompts
        ]

    def found(self, history: History) -> list[WhatItTakes]:
        """The least strength of each direction that does, the weakest first."""
        taken = []
        for name, strengths in _tried(history).items():
            does = [strength for strength, tries in strengths.items() if self._does(tries)]
            if not does:
                continue
            least = min(does)
            tries = strengths[least]
            shown = sum(bool(one.shown) for one in tries)
            below = max((strength for strength in strengths if strength < least), default=0.0)
            reply = next(one.reply for one in tries if one.shown)
            taken.append(WhatItTakes(name, least, below, share_interval(shown, len(tries)), reply))
        return sorted(taken, key=lambda one: (one.strength, one.direction))

    def _next(self, strengths: dict[float, list[Try]]) -> float | None:
        """The strength to try next for a direction; None if there is nothing more to learn."""
        does = [strength for strength, tries in strengths.items() if self._does(tries)]
        if not does:
            untried = [strength for strength in self.strengths if strength not in strengths]
            return untried[0] if untried else None
        least = min(does)
        below = max((strength for strength in strengths if strength < least), default=None)
        if below is None or least - below <= self.precision * least:
            return None
        return float((least * below) ** 0.5)

    def _does(self, tries: Sequence[Try]) -> bool:
        return sum(bool(one.shown) for one in tries) >= self.share * len(tries)


def _tried(history: History) -> dict[str, dict[float, list[Try]]]:
    """Tries that are steered by one direction, by that and its strength."""
    found: dict[str, dict[float, list[Try]]] = {}
    for one in history.tries:
        if len(one.proposal.steer) == 1:
            (steer,) = one.proposal.steer
            found.setdefault(steer.direction, {}).setdefault(float(steer.strength), []).append(one)
    return found
