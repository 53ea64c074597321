"""Weighted draws of prompts and replies, judged; kept in a journal and never made twice."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from random import Random
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from interp.elicit.behaviour import Behaviour
from interp.elicit.propensity.prompt_mixture import PromptMixture
from interp.elicit.propensity.replies import Replies
from interp.elicit.spending import Exhausted, Spent
from interp.errors import UserError
from interp.fields import Count, Seed, taken
from interp.track.journal import Journal
from interp.track.progress import Progress, silent

Number = float | int


@dataclass(frozen=True)
class Draw:
    """One prompt and reply.

    `reply` is None if the prompt cannot be asked (`Target.takes`), which counts as not showing the behaviour.
    `part` is 0 for a reply of the model itself, i for one under the i-th steering. `weight` is how likely the
    two are, over how likely they are to be drawn. `shown` is None where the judge could not judge.
    """

    prompt: str
    reply: str | None
    part: int
    weight: Number
    shown: bool | None

    def to_json(self) -> list[Any]:
        """Plain values."""
        return list(astuple(self))


class Draws:
    """Draws in rounds, the same for the same settings and seed however often it is stopped.

    A round runs if all it may take fits the budget. What a round has cost is kept with it, and counted by the
    target's meter also when it is read from the journal.

    Raises:
        UserError: the journal is of other draws.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        prompts: PromptMixture,
        replies: Replies,
        *,
        seed: int = 0,
        round_size: int = 64,
        journal: Journal | None = None,
    ) -> None:
        self.behaviour, self.prompts, self.replies = behaviour, prompts, replies
        self.seed, self.round_size = taken(Seed, seed, "seed"), taken(Count, round_size, "round_size")
        self.spent = Spent()
        self._journal = journal or Journal()
        self._counted: set[str] = set()
        self._check()

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the draws besides their number and the budget."""
        return {
            "target": self.replies.target.name,
            "behaviour": self.behaviour.name,
            "judge": self.behaviour.judge.name,
            "prompts": self.prompts.name,
            "replies": self.replies.name,
            "seed": self.seed,
            "round_size": self.round_size,
        }

    def take(self, n: int, kind: str = "main", progress: Progress | None = None) -> list[Draw]:
        """Makes the first `n` draws of a kind, or as many as the budget has room for.

        Draws of another `kind` are independent of them.

        Raises:
            UserError: as the judge.
        """
        found: list[Draw] = []
        number = 0
        what = f"how likely: {self.behaviour.name}" + (f" ({kind})" if kind != "main" else "")
        with (progress or silent()).task(what, n, "draws") as advance:
            while len(found) < n:
                key = f"{kind} {number}"
                try:
                    made = self._kept(key) or self._round(key, min(self.round_size, n - len(found)))
                except Exhausted:
                    break
                found += made
                number += 1
                shown = sum(bool(one.shown) for one in found)
                advance(len(made), note=f"{shown} of {len(found)} show it")
        return found[:n]

    def _kept(self, key: str) -> list[Draw]:
        if key not in self._journal.done:
            return []
        kept = self._journal.done[key]
        if key not in self._counted:
            spent = Spent(*kept["spent"])
            self.replies.target.meter.spend(*spent)
            self._count(key, spent)
        return [Draw(*one) for one in kept["draws"]]

    def _round(self, key: str, n: int) -> list[Draw]:
        random, target = Random(f"{self.seed} {key}"), self.replies.target
        before = target.meter.spent
        prompts = self.prompts.draw(n, random)
        chances = np.exp([one.log_weight for one in prompts]).tolist()
        usable = [
            place for place, one in enumerate(prompts) if chances[place] > 0 and target.takes(one.prompt)
        ]
        drawn = self.replies.draw([prompts[place].prompt for place in usable], random) if usable else []
        judged = self.behaviour.judge.judge([one.exchange for one in drawn]) if drawn else []
        draws = [
            Draw(one.prompt, None, 0, chance, False) for one, chance in zip(prompts, chances, strict=True)
        ]
        for place, one, judgement in zip(usable, drawn, judged, strict=True):
            weight = float(np.exp(prompts[place].log_weight + one.log_weight))
            shown = None if judgement is None else bool(judgement.shown)
            draws[place] = Draw(prompts[place].prompt, one.exchange.reply, one.part, weight, shown)
        now = target.meter.spent
        spent = Spent(now.passes - before.passes, now.tokens - before.tokens, now.usd - before.usd)
        self._journal.add(key, {"draws": [one.to_json() for one in draws], "spent": list(spent)})
        self._count(key, spent)
        return draws

    def _count(self, key: str, spent: Spent) -> None:
        self._counted.add(key)
        so_far = self.spent
        self.spent = Spent(so_far.passes + spent.passes, so_far.tokens + spent.tokens, so_far.usd + spent.usd)

    def _check(self) -> None:
        done = self._journal.done
        if "draws" not in done:
            self._journal.add("draws", self.identity)
        elif (known := done["draws"]) != self.identity:
            differing = [key for key, value in self.identity.items() if known.get(key) != value]
            raise UserError(
                f"the kept draws are others ({', '.join(differing)})",
                str(self._journal.file or "draws"),
                "give the same settings, or another folder",
            )


def weights_of(draws: Sequence[Draw]) -> Float[np.ndarray, " n"]:
    """The weight of each draw."""
    return np.array([one.weight for one in draws], dtype=np.float64)


def shown_of(draws: Sequence[Draw], unreadable: bool = False) -> Bool[np.ndarray, " n"]:
    """Whether each draw shows the behaviour; one that could not be judged counts as `unreadable`."""
    return np.array([unreadable if one.shown is None else one.shown for one in draws], dtype=bool)
