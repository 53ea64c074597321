"""What the steps of `elicit` record of searches and finds, as rows of tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interp.elicit.behaviour import Behaviour
from interp.elicit.findings import confirm, diversity, first_found, median_perplexity
from interp.elicit.investigators.steering import WhatItTakes
from interp.elicit.reduction import reduced
from interp.elicit.search import History, Try
from interp.elicit.target import Target
from interp.statistics.estimate import share_interval

MOST_COMPARED = 500
"""Prompts of an investigator of which diversity and perplexity are measured."""
TAKES = ("direction", "strength", "below", "shown", "shown_low", "shown_high", "reply")
CONFIRMED = (
    "prompt", "steered", "reply", "shown", "shown_low", "shown_high", "unreadable", "perplexity", "shortest",
    "shortest_shown", "shortest_shown_low", "shortest_shown_high", "how",
)  # fmt: skip


def measured_searches(target: Target, histories: Sequence[History]) -> dict[str, Any]:
    """How often searches by one investigator found the behaviour, how soon, how different and how fluent.

    `passes_first` and `tokens_first` are medians over the searches that found it, up to the round of the
    first find; None if none did.
    """
    firsts = [first_found(history) for history in histories]
    known = [first for first in firsts if first is not None]
    shown = [one.proposal.prompt for history in histories for one in history.shown]
    tried = sum(len(history) for history in histories)
    different = list(dict.fromkeys(shown))[:MOST_COMPARED]
    return {
        **share_interval(len(known), len(firsts)).named("found"),
        "searches": len(firsts),
        "passes_first": float(np.median([one.passes for one in known])) if known else None,
        "tokens_first": float(np.median([one.tokens for one in known])) if known else None,
        "tries": tried,
        **share_interval(len(shown), tried).named("of_tries"),
        "prompts": len(set(shown)),
        "effective": diversity(different).effective,
        "perplexity": median_perplexity(target, different),
        "tokens": sum(history.spent.tokens for history in histories),
        "usd": sum(float(history.spent.usd) for history in histories),
    }


def confirmed_find(target: Target, behaviour: Behaviour, one: Try, draws: int, seed: int) -> dict[str, Any]:
    """A find, shortened to the words that it needs, and both asked again."""
    short = reduced(target, behaviour, one.proposal, one.reply).proposal
    own, shortest = confirm(target, behaviour, [one.proposal, short], draws, seed)
    steered = (f"{steer.direction} x {steer.strength:.3g}" for steer in one.proposal.steer)
    return {
        "prompt": one.proposal.prompt,
        "steered": ", ".join(steered),
        "reply": one.reply,
        **own.shown.named("shown"),
        "unreadable": own.unreadable,
        "perplexity": median_perplexity(target, [one.proposal.prompt]),
        "shortest": short.prompt,
        **shortest.shown.named("shortest_shown"),
        "how": one.proposal.how,
    }


def taken_strength(one: WhatItTakes) -> dict[str, Any]:
    """The least strength of a direction, as plain values."""
    return {
        "direction": one.direction,
        "strength": one.strength,
        "below": one.below,
        **one.shown.named("shown"),
        "reply": one.reply,
    }
