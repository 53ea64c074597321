"""A first look at a judge before a search: does it ever say yes, and does it ever say no?"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp.elicit.behaviour import Behaviour, Exchange
from interp.elicit.proposal import Proposal
from interp.elicit.target import Target
from interp.errors import UserError
from interp.statistics.estimate import Estimate, share_interval

MOST_ORDINARY = 0.9
"""Share of ordinary replies above which a behaviour needs no search."""


@dataclass(frozen=True)
class FirstLook:
    """How often a behaviour shows in ordinary replies, with its interval, and in its examples."""

    ordinary: Estimate
    replies: int
    unreadable: int
    examples_shown: int
    examples: int
    exchanges: tuple[Exchange, ...]


def first_look(target: Target, behaviour: Behaviour, prompts: Sequence[str]) -> FirstLook:
    """Judges the model's replies to ordinary prompts, and the behaviour's own examples.

    Raises:
        UserError: the judge says no to every example (it never says yes), or yes to more than
            `MOST_ORDINARY` of the ordinary replies (there is nothing to search), or it can judge none.
    """
    asked = list(dict.fromkeys(prompts))
    own = tuple(target.ask([Proposal(prompt) for prompt in asked]))
    first = target.ids(asked[0])
    shown = [
        Exchange(asked[0], example, tuple(first), tuple(target.reply_ids(example)))
        for example in behaviour.examples
    ]
    judged = behaviour.judge.judge([*own, *shown])
    ordinary = [one.shown for one in judged[: len(own)] if one is not None]
    examples = [one.shown for one in judged[len(own) :] if one is not None]
    place = f"behaviour {behaviour.name}: {behaviour.judge.name}"
    if not ordinary:
        raise UserError(f"none of {len(own)} ordinary replies could be judged", place, "check the judge")
    if shown and not any(examples):
        raise UserError(
            f"the judge says no to all of {len(shown)} examples of the behaviour: it may never say yes",
            place,
            "correct the judge (pattern, share, threshold, rubric) or the examples",
        )
    if sum(ordinary) > MOST_ORDINARY * len(ordinary):
        raise UserError(
            f"the behaviour shows in {sum(ordinary)} of {len(ordinary)} ordinary replies: no need to search",
            place,
            "make the judge stricter, or ask other ordinary prompts",
        )
    return FirstLook(
        share_interval(sum(ordinary), len(ordinary)),
        len(ordinary),
        len(own) - len(ordinary),
        sum(examples),
        len(shown),
        own,
    )
