"""Propensity: how likely a behaviour is over a distribution of prompts, with a bound that holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import numpy as np
from scipy.stats import binomtest, norm

from interp.elicit.behaviour import Behaviour
from interp.elicit.prompts import PromptDistribution
from interp.elicit.propensity.draws import Draw, Draws, shown_of, weights_of
from interp.elicit.propensity.pilot import Pilot
from interp.elicit.propensity.prompt_mixture import PromptMixture, PromptProposal
from interp.elicit.propensity.replies import Replies
from interp.elicit.propensity.weights import Weights
from interp.elicit.proposal import Steer
from interp.elicit.spending import Spent
from interp.elicit.target import Target
from interp.errors import UserError
from interp.fields import Extent, OpenFraction, Several, taken
from interp.statistics.betting import lower_bound, upper_bound
from interp.statistics.estimate import Estimate
from interp.track.journal import Journal
from interp.track.progress import Progress

Number = float | int
MARGIN = 1.2
"""More draws than a pilot says are needed, which it knows only roughly."""


@dataclass(frozen=True, repr=False)
class Propensity:
    """The probability that a behaviour shows in a reply at temperature 1 to a prompt of a distribution.

    `estimate` is unbiased. The probability is above `lower`, and it is below `upper`, each with `confidence`
    and with nothing assumed but that the draws are independent. `interval` holds it with that confidence: the
    exact interval of Clopper & Pearson for plain sampling; of weighted draws only approximately, by the
    central limit theorem for its logarithm (`exact` says which). It is unknown (NaN) if nothing showed.

    Replies that could not be judged (`unreadable`) count as not showing it in `estimate`, `lower` and the low
    end of the interval, as showing it in `upper` and its high end. Prompts that cannot be asked
    (`unaskable`) are counted as not showing it. `n_shown` draws show it, of `n` that were made, which are
    fewer than asked for if the budget ended before.
    """

    behaviour: str
    method: str
    estimate: Number
    lower: Number
    upper: Number
    confidence: Number
    interval: Estimate
    exact: bool
    n: int
    n_shown: int
    unreadable: int
    unaskable: int
    weights: Weights
    ended: Literal["complete", "budget"]
    spent: Spent
    pilot: Pilot | None = None

    def __repr__(self) -> str:
        kind = "" if self.exact else "about "
        ends = (
            f"{kind}{self.interval.low:.3g} to {self.interval.high:.3g}" if self.interval.ends else "unknown"
        )
        rests = "" if self.exact else f", {self.weights.effective_shown:.0f} effective"
        more = [
            f"{count:,} {what}"
            for count, what in ((self.unreadable, "unreadable"), (self.unaskable, "cannot be asked"))
            if count
        ]
        stopped = ["ended by the budget"] if self.ended == "budget" else []
        return (
            f"Propensity({self.behaviour!r}: at least {self.lower:.3g} at {self.confidence:.0%}, estimate "
            f"{self.estimate:.3g} ({ends}); "
            + "; ".join([f"{self.n_shown:,} of {self.n:,} draws show it{rests}", *more, *stopped])
            + ")"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that are unknown are NaN, which `interp.json_text` writes as null."""
        plain = dict(vars(self))
        made = {
            "interval": list(self.interval),
            "weights": self.weights.to_json(),
            "spent": list(self.spent),
            "pilot": None if self.pilot is None else self.pilot.to_json(),
        }
        return {**plain, **made}


def smallest_rate(n: int, confidence: Number = 0.95) -> float:
    """The smallest rate that shows at least once in `n` plain draws, with this probability; 3 / n at 95%.

    Raises:
        UserError: `n` is not a number of draws, or the confidence not above 0 and below 1.
    """
    n, confidence = taken(Extent, n, "n"), taken(OpenFraction, confidence, "confidence")
    return -math.expm1(math.log1p(-confidence) / n)


def plain(
    target: Target,
    behaviour: Behaviour,
    prompts: PromptDistribution,
    n: int,
    *,
    rate: Number | None = None,
    confidence: Number = 0.95,
    seed: int = 0,
    round_size: int = 64,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Propensity:
    """Draws `n` prompts and replies at temperature 1 and counts those that show the behaviour.

    `rate` is the smallest that should show. `interval` and the bounds are Clopper & Pearson's; if the budget
    ends it before, the bounds are by betting (`interp.statistics.betting`), which hold whenever one stops.

    Raises:
        UserError: neither `n` draws nor the budget are likely to show a behaviour of that `rate` once; or no
            draw fits the budget.
    """
    n, confidence = taken(Extent, n, "n"), taken(OpenFraction, confidence, "confidence")
    replies = Replies(target)
    if rate is not None:
        _check_rate(replies, prompts, n, taken(OpenFraction, rate, "rate"), confidence)
    draws = Draws(
        behaviour, PromptMixture(prompts), replies, seed=seed, round_size=round_size, journal=journal
    )
    found = draws.take(n, progress=progress)
    _check_any(found, target)
    shown, most = int(shown_of(found).sum()), int(shown_of(found, unreadable=True).sum())
    low = binomtest(shown, len(found)).proportion_ci(confidence).low
    high = binomtest(most, len(found)).proportion_ci(confidence).high
    whole = len(found) == n
    above = float(binomtest(shown, len(found), alternative="greater").proportion_ci(confidence).low)
    below = float(binomtest(most, len(found), alternative="less").proportion_ci(confidence).high)
    if not whole:
        above = lower_bound(shown_of(found).astype(float), confidence)
        below = upper_bound(shown_of(found, unreadable=True).astype(float), 1.0, confidence)
    return _made(
        draws,
        found,
        confidence,
        bounds=(above, below),
        interval=Estimate(shown / len(found), float(low), float(high)),
        exact=True,
        whole=whole,
    )


def weighted(
    target: Target,
    behaviour: Behaviour,
    prompts: PromptDistribution,
    n: int | None = None,
    *,
    steers: Sequence[tuple[Steer, ...]] = (),
    proposal: PromptProposal | None = None,
    defensive: Number = 0.2,
    wanted: Number | None = None,
    pilot: int = 128,
    confidence: Number = 0.95,
    seed: int = 0,
    round_size: int = 64,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Propensity:
    """Estimates the propensity by importance sampling, from draws that show the behaviour more often.

    Replies come from the model under `steers` (`Replies`), prompts from `proposal` (`PromptMixture`), each
    mixed with a share `defensive` of what the propensity is of; the estimate is the mean of weight times
    [shown]. Whatever the proposal is, it is unbiased, and `lower` holds: a bad one makes them useless, not
    wrong. Unlike PRBO (Transluce 2025), where E[log p - log q + judge] is
    below a log-probability by Jensen's inequality with an unknown gap, the bound here tightens to the truth
    with more draws, and includes the error of sampling (`interp.statistics.betting`).

    A pilot of so many draws comes first, out of the same budget; it is thrown away, as an estimate from draws
    that decided whether to go on would be too high. `wanted` is the relative half-width of the interval to
    reach, such as 0.2; without `n`, as many draws are made as the pilot says that it needs, and a fifth more.

    Raises:
        UserError: there is no proposal, or neither `n` nor `wanted`; the proposal never shows the behaviour,
            too few effective draws would, or what is wanted cannot be reached (`Pilot.check`); or no draw
            fits the budget.
    """
    confidence = taken(OpenFraction, confidence, "confidence")
    n = None if n is None else taken(Extent, n, "n")
    wanted = None if wanted is None else taken(OpenFraction, wanted, "wanted")
    if not steers and proposal is None:
        raise UserError("there is no proposal", "steers", "steer, tilt the prompts, or sample plainly")
    if n is None and wanted is None:
        raise UserError("it is not said how much to draw", "n", "give n, or the half-width that is wanted")
    size = taken(Several, pilot, "pilot")
    mixture, replies = PromptMixture(prompts, proposal, defensive), Replies(target, steers, defensive)
    draws = Draws(behaviour, mixture, replies, seed=seed, round_size=round_size, journal=journal)
    first = draws.take(size, "pilot", progress)
    if len(first) < size:
        raise UserError(
            f"the budget ends after {len(first)} draws of a pilot of {size}",
            "budget",
            "give more, or draw less",
        )
    known = Pilot.of(first, bool(steers), draws.spent)
    if n is None:
        assert wanted is not None, "checked above"
        if known.proposed_shown:
            n = math.ceil(MARGIN * known.needed(wanted, confidence))
    known.check(n or size, confidence, wanted, target.meter)
    assert n is not None, "a pilot that shows nothing was refused"
    found = draws.take(n, progress=progress)
    _check_any(found, target)
    weights = weights_of(found)
    values = weights * shown_of(found)
    most = weights * shown_of(found, unreadable=True)
    bounds = (
        lower_bound(values, confidence),
        upper_bound(most, mixture.largest * replies.largest, confidence),
    )
    interval = Estimate(
        float(values.mean()), _log_ends(values, confidence)[0], _log_ends(most, confidence)[1]
    )
    return _made(
        draws,
        found,
        confidence,
        bounds=bounds,
        interval=interval,
        exact=False,
        whole=len(found) == n,
        pilot=known,
    )


def _made(
    draws: Draws,
    found: Sequence[Draw],
    confidence: Number,
    *,
    bounds: tuple[float, float],
    interval: Estimate,
    exact: bool,
    whole: bool,
    pilot: Pilot | None = None,
) -> Propensity:
    return Propensity(
        behaviour=draws.behaviour.name,
        method=f"{draws.prompts.name}; {draws.replies.name}",
        estimate=interval.value,
        lower=bounds[0],
        upper=bounds[1],
        confidence=confidence,
        interval=interval,
        exact=exact,
        n=len(found),
        n_shown=int(shown_of(found).sum()),
        unreadable=sum(one.shown is None for one in found),
        unaskable=sum(one.reply is None and one.weight > 0 for one in found),
        weights=Weights.of(weights_of(found), shown_of(found)),
        ended="complete" if whole else "budget",
        spent=draws.spent,
        pilot=pilot,
    )


def _log_ends(values: np.ndarray, confidence: Number) -> tuple[float, float]:
    """The ends mean * exp(±z sd / (mean sqrt(n))), which are never below 0; NaN if all values are 0."""
    mean = float(values.mean())
    if not mean or len(values) < 2:
        return math.nan, math.nan
    reach = (
        float(norm.ppf((1 + confidence) / 2)) * float(values.std(ddof=1)) / (mean * math.sqrt(len(values)))
    )
    return mean * math.exp(-reach), mean * math.exp(reach)


def _check_any(found: Sequence[Draw], target: Target) -> None:
    if not found:
        raise UserError(
            f"not one round of draws fits what is left of the budget ({target.meter.spent} is spent)",
            "budget",
            "give more, or make rounds smaller",
        )


def _check_rate(
    replies: Replies, prompts: PromptDistribution, n: int, rate: Number, confidence: Number
) -> None:
    """Raises UserError if a behaviour of this rate is unlikely to show once in what can be drawn."""
    needed = math.ceil(math.log1p(-confidence) / math.log1p(-rate))
    sample = [one for one in prompts.sample(64, Random(0)) if replies.target.takes(one)]
    each = sum(len(replies.target.ids(one)) + 1 for one in sample) / max(1, len(sample))
    left = replies.target.meter
    fits = needed <= n and left.affords(needed, math.ceil(needed * each))
    if not fits:
        raise UserError(
            f"a behaviour of rate {rate:.2g} shows once in {needed:,} plain draws at {confidence:.0%}, "
            f"which take at least {needed * each:,.0f} tokens; {n:,} draws show one of "
            f"{smallest_rate(n, confidence):.2g}",
            "n",
            "draw more, or steer the replies and weigh them",
        )
