"""Attribution in one call: of a target after a text, to the features of some spaces."""

from collections.abc import Sequence
from typing import Literal, get_args

from jaxtyping import Int
from torch import Tensor

from interp.attribution.baseline import Baseline, Statistics
from interp.attribution.gradient import activation_times_gradient
from interp.attribution.integrated import Path, integrated_gradients
from interp.attribution.passes import Prompts, laid_out
from interp.attribution.result import Attribution
from interp.attribution.target import Kind, Target, Words
from interp.errors import UserError
from interp.features.space import FeatureSpace
from interp.subject.subject import Subject

Method = Literal["gradient", "integrated_gradients"]


def attribute(
    subject: Subject,
    text: Prompts,
    target: Words | Target,
    spaces: Sequence[FeatureSpace],
    method: Method = "gradient",
    *,
    distractor: Words | None = None,
    kind: Kind | None = None,
    position: int = -1,
    mask: Int[Tensor, "batch pos"] | None = None,
    baseline: Baseline = "zero",
    statistics: Statistics | None = None,
    steps: int = 20,
    path: Path = "joint",
) -> Attribution:
    """Computes what every feature at every position adds to a target: a next token, or an answer.

    `text` is one prompt, several, or tokens [batch, pos] (with a `mask`, if they are padded on the left).
    `target` is a word or token id (or one a prompt), or a `Target`. By default it is the word's logit after
    the last token; with a `distractor`, the difference of their logits; of a word of several tokens, or a
    tuple of ids, their log-probability. A word is what continues the prompt
    (`interp.subject.continuation`), which the result's `target.said` shows. `method` "gradient" is
    `activation_times_gradient` (one forward and one backward pass), "integrated_gradients" the function of
    that name, to which `steps` and `path` belong.

    Raises:
        UserError: before the model runs, a word is unknown, `kind` does not allow an answer of several
        tokens,
            a position is past a prompt, or an option does not fit.
    """
    prompts = laid_out(subject, text, mask)
    if not isinstance(target, Target):
        target = Target.of(
            subject, target, prompts=prompts, distractor=distractor, kind=kind, position=position
        )
    elif distractor is not None or kind is not None or position not in (-1, target.position):
        raise UserError(
            "a Target is given together with a distractor, a kind or a position",
            "attribute",
            "set it in the Target",
        )
    target.check(subject, prompts)
    tokens, real = prompts.tokens, prompts.real.long()
    if method == "gradient":
        return activation_times_gradient(
            subject, tokens, real, target, spaces, baseline=baseline, statistics=statistics
        )
    if method == "integrated_gradients":
        return integrated_gradients(
            subject,
            tokens,
            real,
            target,
            spaces,
            baseline=baseline,
            statistics=statistics,
            steps=steps,
            path=path,
        )
    raise UserError(f"{method!r} is no method", "attribute", f"use one of {', '.join(get_args(Method))}")
