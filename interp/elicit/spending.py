"""What a search may spend, and what it has spent."""

from typing import NamedTuple

from interp.errors import UserError
from interp.fields import Positive, Section, Tokens

Number = float | int


class Budget(Section):
    """What a search may spend at most; where several limits are given, the first that is reached ends it."""

    passes: Tokens | None = None
    """Texts that the model runs through: forwards, with what it then writes, is one; backwards counts two."""
    tokens: Tokens | None = None
    """Tokens that the model computes: those of prompts, and those it writes."""
    usd: Positive | None = None
    """Money spent on endpoints, by the prices in the config."""

    def check(self, place: str = "budget") -> None:
        """Raises UserError if there is no limit at all."""
        if self.passes is None and self.tokens is None and self.usd is None:
            raise UserError("a search without a limit does not end", place, "give passes, tokens or usd")


class Spent(NamedTuple):
    """What was spent, in the units of `Budget`."""

    passes: int = 0
    tokens: int = 0
    usd: Number = 0.0


class Exhausted(Exception):
    """Ends a search: what it would do next does not fit its budget."""


class Meter:
    """Counts what is spent. Ask `afford` before the model runs, and `spend` what it took."""

    def __init__(self, budget: Budget, spent: Spent | None = None) -> None:
        self.budget, self.spent = budget, spent or Spent()

    def affords(self, passes: int = 0, tokens: int = 0, usd: Number = 0.0) -> bool:
        """Whether so much more fits."""
        limits = (self.budget.passes, self.budget.tokens, self.budget.usd)
        after = (self.spent.passes + passes, self.spent.tokens + tokens, self.spent.usd + usd)
        return all(most is None or would <= most for most, would in zip(limits, after, strict=True))

    def afford(self, passes: int = 0, tokens: int = 0, usd: Number = 0.0) -> None:
        """Raises Exhausted if so much more does not fit."""
        if not self.affords(passes, tokens, usd):
            raise Exhausted

    def spend(self, passes: int = 0, tokens: int = 0, usd: Number = 0.0) -> None:
        """Counts what was used, also above the limit."""
        before = self.spent
        self.spent = Spent(before.passes + passes, before.tokens + tokens, before.usd + usd)

    @property
    def used(self) -> float:
        """The share of the limit that is nearest, 0 to 1."""
        limits = (self.budget.passes, self.budget.tokens, self.budget.usd)
        shares = [done / most for most, done in zip(limits, self.spent, strict=True) if most]
        return min(1.0, max(shares, default=0.0))
