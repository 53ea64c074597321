"""What a steering set does, beside a random one of the same size: to the text, to predictions, elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.causal.side_effects import NeutralTexts, side_effects
from interp.monitor.steering import Card, Steerer, Steering
from interp.statistics.estimate import Estimate, mean_interval
from interp.subject.forward import Intervention
from interp.subject.stream import TokenRead
from interp.subject.subject import Subject

DRAWS = 3
"""Random sets that predictions and side effects are compared with; the first one also writes."""


class Moved(NamedTuple):
    """Probabilities of one token after the prompt: unsteered, steered, and under random sets (their mean)."""

    token: int
    unsteered: float
    steered: float
    random: float | None


@dataclass(frozen=True)
class Effects:
    """Steered beside unsteered, after the same prompt with the same seed.

    `unsteered`, `steered` and `random` are what is written; `changed` marks the steered tokens that do not
    stand in the unsteered text in this order. `moved` are the tokens whose probability after the prompt
    moved most. `side_effect` is the KL from the unsteered to the steered prediction after neutral texts, in
    nats, as if every token were steered, with the 95% interval over texts; None without neutral texts. Where
    the set has vectors only, there are no random features to compare with: None.
    """

    unsteered: tuple[TokenRead, ...]
    steered: tuple[TokenRead, ...]
    changed: tuple[bool, ...]
    moved: tuple[Moved, ...]
    steering: Steering
    random: tuple[TokenRead, ...] | None = None
    side_effect: Estimate | None = None
    random_side_effect: Estimate | None = None
    without_random: int = 0
    """Features of the set for which there was no random one to draw."""


def effects(
    steerer: Steerer,
    ids: Sequence[int],
    cards: Sequence[Card],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    neutral: NeutralTexts | None = None,
    n_moved: int = 10,
) -> Effects:
    """Writes after a prompt without the cards, with them, and with random features in their place.

    Raises:
        UserError: a card does not fit the model, or prompt and new tokens do not fit the context.
    """
    subject = steerer.subject
    steering = steerer.steering(cards)
    drawn = [steerer.random_like(cards, seed + draw) for draw in range(DRAWS)]
    random = [steerer.steering(one).edits for one, _ in drawn if one]

    def written(edits: Sequence[Intervention]) -> tuple[TokenRead, ...]:
        with subject.intervene(*edits):
            return tuple(subject.stream(ids, max_new_tokens, temperature, seed))[len(ids) :]

    def after(edits: Sequence[Intervention]) -> Float[Tensor, " d_vocab"]:
        return next_probabilities(subject, ids, edits)

    unsteered, steered = written(()), written(steering.edits)
    moved = _moved(after(()), after(steering.edits), [after(edits) for edits in random], n_moved)
    found = Effects(unsteered, steered, changed_tokens(unsteered, steered), moved, steering)
    found = replace(found, without_random=drawn[0][1])
    if random:
        found = replace(found, random=written(random[0]))
    if neutral is not None:
        elsewhere = [
            steerer.steering(one, where="all").edits for one in (cards, *(one for one, _ in drawn if one))
        ]
        costs = [side_effects(subject, neutral, edits)["kl"].to_numpy(float) for edits in elsewhere]
        found = replace(found, side_effect=mean_interval(costs[0], seed))
        if random:
            found = replace(found, random_side_effect=mean_interval(np.mean(costs[1:], axis=0), seed))
    return found


@torch.no_grad()
def next_probabilities(
    subject: Subject, ids: Sequence[int], edits: Sequence[Intervention] = ()
) -> Float[Tensor, " d_vocab"]:
    """The probability of every token after a text, under some interventions."""
    tokens = torch.tensor([list(ids)], device=subject.device)
    with subject.intervene(*edits):
        logits = subject.logits_at(tokens, torch.tensor([len(ids) - 1]))
    return logits[0].float().softmax(-1)


def changed_tokens(unsteered: Sequence[TokenRead], steered: Sequence[TokenRead]) -> tuple[bool, ...]:
    """Marks the steered tokens that are not in the unsteered text, by longest matching blocks (difflib)."""
    old, new = [one.token for one in unsteered], [one.token for one in steered]
    same = {
        place
        for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
        for place in range(block.b, block.b + block.size)
    }
    return tuple(place not in same for place in range(len(new)))


def _moved(
    unsteered: Float[Tensor, " d_vocab"],
    steered: Float[Tensor, " d_vocab"],
    random: Sequence[Float[Tensor, " d_vocab"]],
    n: int,
) -> tuple[Moved, ...]:
    most = (steered - unsteered).abs().topk(min(n, len(steered))).indices
    mean = torch.stack([one[most] for one in random]).mean(0).tolist() if random else [None] * len(most)
    rows = zip(most.tolist(), unsteered[most].tolist(), steered[most].tolist(), mean, strict=True)
    return tuple(Moved(*row) for row in rows)
