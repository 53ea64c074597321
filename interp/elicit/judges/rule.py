"""Judges by rules, which need no model: a regular expression, and the concepts of the world's words."""

from collections.abc import Sequence

import regex

from interp.bundled.world.labelling import carries
from interp.elicit.behaviour import Exchange, Judgement
from interp.errors import UserError

Number = float | int
SECONDS = 0.2
"""Time for one reply."""


class RegexJudge:
    """The behaviour shows where a regular expression is found in the reply, in any case.

    The score is 1 or 0. `absent` turns it round: it shows where the expression is not found. An expression
    that is not done with a reply after `SECONDS`, as one that goes back without end, makes no judgement.

    Raises:
        UserError: it is no regular expression, or is found in an empty text: it would always be.
    """

    def __init__(self, pattern: str, absent: bool = False) -> None:
        try:
            self._pattern = regex.compile(pattern, regex.IGNORECASE | regex.DOTALL)
        except (regex.error, RecursionError, OverflowError) as error:
            raise UserError(
                f"no regular expression ({error})", f"pattern {pattern!r}", "correct it"
            ) from error
        if self._pattern.search("") and not absent:
            raise UserError(
                "the pattern is found in every text, also in an empty one",
                f"pattern {pattern!r}",
                "ask for at least one character",
            )
        self.absent = absent

    @property
    def name(self) -> str:
        """The expression."""
        return f"reply {'lacks' if self.absent else 'matches'} /{self._pattern.pattern}/"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        """Judges each reply."""
        return [self._judged(one.reply) for one in exchanges]

    def _judged(self, reply: str) -> Judgement | None:
        try:
            shown = bool(self._pattern.search(reply, timeout=SECONDS)) != self.absent
        except TimeoutError:
            return None
        return Judgement(int(shown), shown)


class LabelJudge:
    """The behaviour shows where at least `share` of the reply's tokens carry a concept of the world.

    The score is that share, 0 for an empty reply.

    Raises:
        UserError: there is no such concept, no word carries it, or the share is not above 0 and at most 1.
    """

    def __init__(self, concept: str, share: Number = 0.5) -> None:
        carries([], concept)
        if not 0 < share <= 1:
            raise UserError(f"{share} is no share", "share", "use a number above 0, at most 1")
        self.concept, self.share = concept, share

    @property
    def name(self) -> str:
        """The concept and the share."""
        return f"at least {self.share:.0%} of the reply carry {self.concept}"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        """Judges each reply by its token ids, which are the world's."""
        shares = [
            float(carries(one.written, self.concept).mean()) if one.written else 0.0 for one in exchanges
        ]
        return [Judgement(share, share >= self.share) for share in shares]
