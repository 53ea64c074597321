"""Knowledge neurons: those with a large attribution to the answers of most prompts of a kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.integrated import integrated_gradients
from interp.causal.answer_targets import answer_target, padded_prompts
from interp.corpus.questions import Question
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace
from interp.subject.subject import Subject

STEP = 0.05  # change of the share of prompts at each step
ROUNDING = 1e-9
PROMPTS_AT_ONCE = 16


@dataclass(frozen=True)
class SharedFeature:
    """A feature and the share of prompts on which it passes; `attribution` is its mean over all prompts."""

    feature: FeatureRef
    share: float
    attribution: float


def answer_attributions(
    subject: Subject,
    spaces: Sequence[FeatureSpace],
    questions: Sequence[Question],
    steps: int = 20,
    advance: Callable[[float | int], None] | None = None,
) -> list[Float[Tensor, "prompt feature"]]:
    """Attributes the probability of each question's answer to the features of each space at the last token.

    Integrated gradients from zero, both ends included, all features of a layer together: Attr(w) of Dai et
    al. 2022 (arXiv 2104.08696, equation 2). `advance` is called with the number of questions done.
    """
    parts: list[list[Tensor]] = [[] for _ in spaces]
    for start in range(0, len(questions), PROMPTS_AT_ONCE):
        batch = questions[start : start + PROMPTS_AT_ONCE]
        tokens, mask = padded_prompts(subject, batch)
        found = integrated_gradients(
            subject,
            tokens,
            mask,
            answer_target(subject, batch, "probability"),
            spaces,
            steps=steps,
            rule="endpoints",
            path="each",
            positions="last",
        )
        for part, space in zip(parts, spaces, strict=True):
            part.append(found.values[space.name][:, found.prompt_length - 1].float().cpu())
        if advance is not None:
            advance(len(batch))
    return [torch.cat(part) for part in parts]


def shared_features(
    spaces: Sequence[FeatureSpace],
    attributions: Sequence[Float[Tensor, "prompt feature"]],
    of_largest: float = 0.2,
    least_share: float = 0.7,
    wanted: tuple[int, int] | None = None,
) -> tuple[list[SharedFeature], float]:
    """Selects features whose attribution exceeds a part of the prompt's largest, on enough of the prompts.

    Dai et al. 2022 (arXiv 2104.08696, section 3.2): a feature counts for a prompt if its attribution exceeds
    `of_largest` times the largest of all features of all spaces, and is kept if it counts for at least
    `least_share` of the prompts. With `wanted`, that share moves by `STEP` as in the published code, down
    while fewer and up while more features are kept, until their number is within the two, or the share
    would have to move back. Returns the features, most shared first, and the share.
    """
    joined = torch.cat(list(attributions), dim=1)
    counts = joined > of_largest * joined.amax(1, keepdim=True).clamp(min=0)
    share, mean = counts.double().mean(0), joined.mean(0)
    if wanted is not None:
        least_share = _share_that_keeps(share, least_share, wanted)
    sizes = [part.shape[1] for part in attributions]
    refs = [FeatureRef(space, i) for space, size in zip(spaces, sizes, strict=True) for i in range(size)]
    kept = (share >= least_share - ROUNDING).nonzero()[:, 0].tolist()
    found = [SharedFeature(refs[place], float(share[place]), float(mean[place])) for place in kept]
    return sorted(found, key=lambda one: (-one.share, -one.attribution)), least_share


def _share_that_keeps(share: Float[Tensor, " feature"], start: float, wanted: tuple[int, int]) -> float:
    """Finds the share that keeps a wanted number of features, in steps from `start`."""
    at, direction = start, 0
    while True:
        kept = int((share >= at - ROUNDING).sum())
        towards = -1 if kept < wanted[0] else 1 if kept > wanted[1] else 0
        following = round(at + towards * STEP, 6)
        if towards == 0 or towards == -direction or not STEP <= following <= 1:
            return at
        at, direction = following, towards
