"""A pilot: a few draws that say, before the budget is spent, whether an estimate will come of it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from interp.elicit.propensity.draws import Draw, shown_of, weights_of
from interp.elicit.propensity.weights import effective_size
from interp.elicit.spending import Meter, Spent
from interp.errors import UserError

Number = float | int
LEAST_EFFECTIVE = 10
"""Below so many effective draws that show the behaviour, no estimate is made."""
PLACE = "pilot"


@dataclass(frozen=True)
class Pilot:
    """What a pilot found.

    `proposed` are the draws that a proposal made (the steered ones; without steering, those that are more
    likely to be drawn than by the distribution), `proposed_shown` those of them that show the behaviour.
    `variation` is the coefficient of variation of a draw's part in the estimate (its weight if it shows the
    behaviour, else 0), `effective` the effective size of those that show it. `spent` is for all of it.
    """

    n: int
    proposed: int
    proposed_shown: int
    variation: Number
    effective: Number
    spent: Spent

    @classmethod
    def of(cls, draws: Sequence[Draw], steered: bool, spent: Spent) -> "Pilot":
        """Measures the draws of a pilot."""
        weights, shown = weights_of(draws), shown_of(draws)
        proposed = np.array([one.part > 0 for one in draws]) if steered else weights < 1
        values = weights * shown
        mean = float(values.mean())
        return cls(
            n=len(draws),
            proposed=int(proposed.sum()),
            proposed_shown=int((proposed & shown).sum()),
            variation=float(values.std(ddof=1)) / mean if mean and len(draws) > 1 else math.inf,
            effective=effective_size(weights[shown]),
            spent=spent,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def half_width(self, n: int, confidence: Number) -> float:
        """The relative half-width of the interval that `n` draws are expected to give: z cv / sqrt(n)."""
        return float(norm.ppf((1 + confidence) / 2)) * self.variation / math.sqrt(n)

    def needed(self, wanted: Number, confidence: Number) -> int:
        """The draws that a relative half-width needs: (z cv / wanted)^2."""
        return max(2, math.ceil((self.half_width(1, confidence) / wanted) ** 2))

    def affordable(self, meter: Meter) -> float:
        """How many more draws of the pilot's cost the budget has room for; inf without a limit."""
        budget = meter.budget
        limits = zip((budget.passes, budget.tokens, budget.usd), meter.spent, self.spent, strict=True)
        rooms = [(most - done) * self.n / each for most, done, each in limits if most is not None and each]
        return max(0.0, min(rooms, default=math.inf))

    def check(self, n: int, confidence: Number, wanted: Number | None, meter: Meter) -> None:
        """Says what stands against an estimate from `n` draws.

        Raises:
            UserError: the proposal never shows the behaviour; too few effective draws would; or neither `n`
                draws nor the budget reach the `wanted` relative half-width.
        """
        if not self.proposed_shown:
            raise UserError(
                f"the proposal has no support: none of {self.proposed} replies drawn under it shows the "
                "behaviour",
                PLACE,
                "steer more strongly or by another direction, tilt the prompts, or sample plainly",
            )
        room = self.affordable(meter)
        said = f"; the budget has room for {math.floor(room):,}" if room < n else ""
        expected = self.effective * min(n, room) / self.n
        if expected < LEAST_EFFECTIVE:
            raise UserError(
                f"the estimate would rest on {expected:.1f} effective draws: {self.effective:.1f} of "
                f"{self.n} in the pilot{said}",
                PLACE,
                f"make {math.ceil(LEAST_EFFECTIVE * self.n / self.effective):,} draws, or steer less",
            )
        if wanted is None:
            return
        needed = self.needed(wanted, confidence)
        each = self.spent.tokens / self.n
        if needed > min(n, room):
            raise UserError(
                f"an interval of ±{wanted:.0%} needs about {needed:,} draws, {needed * each:,.0f} tokens, as "
                f"they vary by {self.variation:.2g} times their mean; {n:,} are planned{said}",
                PLACE,
                f"ask for ±{self.half_width(max(2, int(min(n, room))), confidence):.0%}, or spend more",
            )
