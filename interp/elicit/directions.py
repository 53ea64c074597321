"""What a target can be steered by towards a behaviour: vectors from its examples, features, random ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.attribute import attribute
from interp.attribution.target import Target as AttributionTarget
from interp.elicit.behaviour import Behaviour
from interp.elicit.proposal import Proposal
from interp.elicit.target import Target
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace, polarities, writable
from interp.intervene import Clamp
from interp.subject.forward import Intervention
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.control import random_like
from interp.vectors.vector import Vector

Number = float | int
PROMPTS_READ = 32


@dataclass(frozen=True, eq=False)
class FeatureDirection:
    """A feature held at a strength; 1 is `unit`, a high activation of it on ordinary replies."""

    feature: FeatureRef
    unit: float

    def intervention(self, subject: Subject, coefficient: Number = 1.0) -> Intervention:
        """Holds the feature at `coefficient` times its unit, everywhere."""
        value = coefficient * self.unit * self.feature.polarity
        return Clamp(
            writable(self.feature.space), self.feature.feature_id, value, "all",
            polarities=1 if self.feature.polarity > 0 else -1,
        )  # fmt: skip


def needed_examples(behaviour: Behaviour, what: str) -> tuple[str, ...]:
    """The behaviour's examples.

    Raises:
        UserError: it has none, and `what` needs them.
    """
    if not behaviour.examples:
        raise UserError(
            f"{what} needs replies that show the behaviour, and there is none",
            f"behaviour {behaviour.name}",
            "write one or more under behaviour.examples",
        )
    return behaviour.examples


def behaviour_vectors(
    target: Target, behaviour: Behaviour, prompts: Sequence[str], layers: Sequence[int] | None = None
) -> list[Vector]:
    """A vector for each layer: from the model's own replies to the behaviour's examples.

    The difference of the mean activations at `resid_post` over the replies' tokens: of the behaviour's
    examples put after each prompt (prompt i has example i, in turn), less those of what the model itself
    writes there. To be added at every token; its length is that difference (difference in means, as in
    Rimsky et al. 2023, arXiv 2312.06681, over whole replies). Costs two passes a prompt.

    Raises:
        UserError: the behaviour has no examples, or the model's own replies are all empty.
        Exhausted: it does not fit the budget.
    """
    examples = needed_examples(behaviour, "a vector")
    asked = list(dict.fromkeys(prompts))[:PROMPTS_READ]
    subject = target.subject
    sites = [Site("resid_post", layer) for layer in (layers or range(subject.n_layers))]
    own = [one for one in target.ask([Proposal(prompt) for prompt in asked]) if one.written]
    if not own:
        raise UserError("the model replies nothing to any prompt", target.name, "give other prompts")
    wanted = [target.reply_ids(examples[place % len(examples)]) for place in range(len(asked))]
    shown = reply_means(target, [target.ids(prompt) for prompt in asked], wanted, sites)
    plain = reply_means(target, [list(one.asked) for one in own], [list(one.written) for one in own], sites)
    made = {"method": "difference in means of replies", "prompts": len(asked), "examples": len(examples)}
    return [
        Vector(behaviour.name, site, (shown[site] - plain[site]).float(), subject.name, provenance=made)
        for site in sites
    ]


def reply_means(
    target: Target, asked: Sequence[Sequence[int]], replies: Sequence[Sequence[int]], sites: Sequence[Site]
) -> dict[Site, Float[Tensor, " d_model"]]:
    """The mean activation over all tokens of some replies, in double precision."""
    subject = target.subject
    rows = [[*before, *after] for before, after in zip(asked, replies, strict=True)]
    count = sum(map(len, rows))
    target.meter.afford(len(rows), count)
    sums = {site: torch.zeros(subject.site_width(site), dtype=torch.float64) for site in sites}
    for start in range(0, len(rows), target.batch_size):
        part = slice(start, start + target.batch_size)
        tokens, mask = subject.pad(rows[part], prepend_bos=False)
        from_end = torch.arange(tokens.shape[1], 0, -1)
        inside = from_end <= torch.tensor([len(reply) for reply in replies[part]])[:, None]

        for site, read in subject.read(tokens, sites, mask).items():
            sums[site] += read.double().cpu()[inside].sum(0)
    target.meter.spend(len(rows), count)
    total = sum(len(reply) for reply in replies)
    return {site: value / total for site, value in sums.items()}


def attributed_features(
    target: Target, behaviour: Behaviour, prompts: Sequence[str], spaces: Sequence[FeatureSpace], k: int
) -> list[FeatureDirection]:
    """The `k` features that add most to the first tokens of the behaviour's examples.

    Activation times gradient of the log-probability of each example's first token after each prompt, summed
    over positions and averaged over prompts. A feature's unit is the largest activation it has in these
    prompts and examples. A pass forwards and backwards, three passes, for each prompt, and one to read.

    Raises:
        UserError: the behaviour has no examples.
        Exhausted: it does not fit the budget.
    """
    examples = needed_examples(behaviour, "attribution")
    asked = list(dict.fromkeys(prompts))[:PROMPTS_READ]
    rows = [target.ids(prompt) for prompt in asked]
    replies = [target.reply_ids(examples[place % len(examples)]) for place in range(len(asked))]
    count = sum(map(len, rows))
    target.meter.afford(4 * len(rows), 4 * count)
    tokens, mask = target.subject.pad(rows, prepend_bos=False)
    wanted = AttributionTarget("log_prob", tuple(reply[0] for reply in replies))
    found = attribute(target.subject, tokens, wanted, spaces, mask=mask)
    whole = [[*before, *after] for before, after in zip(rows, replies, strict=True)]
    tokens, mask = target.subject.pad(whole, prepend_bos=False)
    read = target.subject.run(tokens, spaces, mask, logits="none").features
    target.meter.spend(4 * len(rows), 4 * count)
    ranked: list[tuple[float, FeatureDirection]] = []
    for space in spaces:
        means = found.values[space.name].sum(1).mean(0)
        real = mask.bool()[..., None]
        for side in polarities(space):
            values = (read[space.name] * side).masked_fill(~real.to(read[space.name].device), -torch.inf)
            units = values.amax((0, 1))
            best = means.topk(min(k, space.n_features))
            for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                if float(units[place]) > 0:
                    feature = FeatureRef(space, place, side)
                    ranked.append((value, FeatureDirection(feature, float(units[place]))))
    ranked.sort(key=lambda pair: -pair[0])
    return [direction for _, direction in ranked[:k]]


def random_controls(vectors: Sequence[Vector], draws: int, seed: int) -> list[Vector]:
    """Random vectors as long as each of some vectors, at the same sites: what any direction has to beat."""
    return [random_like(vector, seed + draw) for vector in vectors for draw in range(draws)]
