"""Replies drawn from a model and its steered selves in a mixture, each with its weight."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import logsumexp

from interp.elicit.behaviour import Exchange
from interp.elicit.proposal import Steer
from interp.elicit.target import Target
from interp.errors import UserError
from interp.fields import PositiveFraction, seed_after, taken
from interp.intervene.by_rows import ByRows
from interp.subject.text import Conversation

Number = float | int


class Drawn(NamedTuple):
    """One exchange.

    `part` is 0 if the model itself replied, i if it did under the i-th steering. `log_weight` is the log of
    how likely the reply is to the model itself, over how likely it is to be drawn.
    """

    exchange: Exchange
    part: int
    log_weight: Number


class Replies:
    """Draws replies at temperature 1: a share `defensive` from the model itself, else from it under `steers`.

    Each of the steerings is as likely as any other. The weight of a reply y to a prompt x is
    p(y|x) / sum_j share_j p_j(y|x), the sum over all parts of the mixture, whichever it was drawn from (the
    balance heuristic: Veach & Guibas 1995). As the model itself is one of them, no weight is above
    1 / defensive (the defensive mixture: Hesterberg 1995; Owen & Zhou 2000). Parts are drawn independently
    and not in fixed numbers, so that each reply by itself has the right mean, as bounds by betting ask for.

    p(y|x) is that of all tokens and of the one that ended the reply; nothing of one that was cut short, as
    that is all that the judge sees. To the part that it was drawn from it is read off the generation itself,
    to the others from one pass each over prompt and reply; sums are in double precision. Interventions that
    are active around a call count as the model itself.

    Raises:
        UserError: a direction is not known, or `defensive` is not above 0 and up to 1.
    """

    def __init__(
        self, target: Target, steers: Sequence[tuple[Steer, ...]] = (), defensive: Number = 0.2
    ) -> None:
        self.target = target
        self.defensive = taken(PositiveFraction, defensive, "defensive") if steers else 1.0
        self.steers: tuple[tuple[Steer, ...], ...] = ((), *steers)
        if not all(self.steers[1:]):
            raise UserError("a steering has no direction", "steers", "leave it out")
        self._changes = [[target.change(one) for one in steer] for steer in self.steers]
        others = [(1 - self.defensive) / len(steers)] * len(steers) if steers else []
        self.shares = [self.defensive, *others]

    @property
    def name(self) -> str:
        """The parts of the mixture."""
        if len(self.steers) == 1:
            return "replies of the model itself"
        steered = [" and ".join(f"{one.direction} at {one.strength:g}" for one in s) for s in self.steers[1:]]
        return f"replies of the model itself ({self.defensive:.3g}) and steered by {'; '.join(steered)}"

    @property
    def largest(self) -> float:
        """What no weight is above."""
        return 1 / self.defensive

    def most_spent(self, prompts: Sequence[str]) -> tuple[int, int]:
        """The passes and the most tokens that `draw` takes."""
        tokens = sum(len(self.target.ids(one)) + self.target.frame.new_tokens for one in prompts)
        return len(self.steers) * len(prompts), len(self.steers) * tokens

    def draw(self, prompts: Sequence[str], random: Random) -> list[Drawn]:
        """Draws a reply to each prompt; the order is kept.

        Raises:
            Exhausted: it may not fit the budget; nothing is run.
            UserError: a prompt cannot be asked (`Target.takes`).
        """
        self.target.meter.afford(*self.most_spent(prompts))
        parts = random.choices(range(len(self.shares)), self.shares, k=len(prompts))
        seed = random.randrange(2**32)
        rows = [Conversation(self.target.ids(one)) for one in prompts]
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        found: dict[int, Drawn] = {}
        for start in range(0, len(order), self.target.batch_size):
            places = order[start : start + self.target.batch_size]
            places.sort(key=lambda place: parts[place])
            asked, kinds = [rows[place] for place in places], [parts[place] for place in places]
            exchanges, table = self._written(
                [prompts[place] for place in places], asked, kinds, seed_after(seed, start)
            )
            weights = table[:, 0] - logsumexp(np.log(self.shares) + table, axis=1)
            drawn = map(Drawn, exchanges, kinds, weights.tolist())
            found |= dict(zip(places, drawn, strict=True))
        return [found[place] for place in range(len(prompts))]

    def _written(
        self, prompts: Sequence[str], rows: Sequence[Conversation], parts: Sequence[int], seed: int
    ) -> tuple[list[Exchange], Float[np.ndarray, "row part"]]:
        """The exchanges, and the log-probability of each reply to every part, in nats; `parts` are sorted."""
        subject = self.target.subject
        tokens, mask = subject.pad(rows)
        groups = [(parts.count(part), changes) for part, changes in enumerate(self._changes)]
        with subject.intervene(*[ByRows(groups)] if any(parts) else []):
            written = subject.write_ids(tokens, mask, self.target.frame.new_tokens, 1.0, seed)
        replies = [row.ids if row.end is None else [*row.ids, row.end] for row in written]
        table = np.empty((len(rows), len(self.steers)))
        for part, changes in enumerate(self._changes):
            others = [place for place, own in enumerate(parts) if own != part]
            if others:
                with subject.intervene(*changes):
                    scores = subject.score(
                        [rows[place] for place in others], [replies[place] for place in others]
                    )
                table[others, part] = scores.total.to(torch.float64).numpy()
        for place, (part, row) in enumerate(zip(parts, written, strict=True)):
            table[place, part] = sum(row.log_probs) + row.end_log_prob
        lengths = [len(row) + len(reply) for row, reply in zip(rows, replies, strict=True)]
        self.target.meter.spend(len(self.steers) * len(rows), len(self.steers) * sum(lengths))
        exchanges = [
            Exchange(prompt, subject.decode(row.ids), tuple(asked), tuple(row.ids))
            for prompt, asked, row in zip(prompts, rows, written, strict=True)
        ]
        return exchanges, table
