"""Side effects: how much a change alters predictions on neutral text, where it should do nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.corpus.beginnings import beginnings
from interp.document import Corpus, Split
from interp.subject.forward import Intervention
from interp.subject.losses import compared_losses, likeliest_tokens
from interp.subject.read_at import normed_at_end
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class NeutralTexts:
    """Texts with the unchanged subject's prediction after each.

    `prompts` are token ids without a beginning-of-sequence token, `following` the token that comes next in
    the text, `normed` the final norm's output of the unchanged subject.
    """

    prompts: tuple[Sequence[int], ...]
    following: Int[Tensor, " text"]
    normed: Float[Tensor, "text d_model"]


def neutral_beginnings(
    subject: Subject, corpus: Corpus, count: int, *, seed: int = 0, split: Split = "report", longest: int = 64
) -> NeutralTexts:
    """Reads the beginnings of `count` documents of a split, each cut at random within its first tokens.

    Raises:
        UserError: the split has fewer documents of two tokens or more.
    """
    found = beginnings(corpus, split, count, longest=longest, seed=seed)
    return neutral_prompts(subject, [one.tokens for one in found], [one.following for one in found])


def neutral_prompts(
    subject: Subject, prompts: Sequence[Sequence[int]], following: Sequence[int] | None = None
) -> NeutralTexts:
    """Makes neutral texts of your own prompts; `following` defaults to the subject's likeliest tokens."""
    normed = normed_at_end(subject, prompts)
    after = likeliest_tokens(subject, normed) if following is None else torch.tensor(following)
    return NeutralTexts(tuple(prompts), after, normed)


def side_effects(
    subject: Subject, neutral: NeutralTexts, edits: Sequence[Intervention], **names: str | float | int
) -> pd.DataFrame:
    """Makes a row for each text: how the interventions change the prediction after it, in nats.

    `kl` is KL(unchanged || changed) of the next token, `extra` the rise of the cross-entropy.
    """
    with subject.intervene(*edits):
        changed = normed_at_end(subject, neutral.prompts)
    kl, extra = prediction_costs(subject, neutral.normed, changed, neutral.following)
    return pd.DataFrame({**names, "text": np.arange(len(kl)), "kl": kl.numpy(), "extra": extra.numpy()})


def prediction_costs(
    subject: Subject,
    clean: Float[Tensor, "*batch d_model"],
    changed: Float[Tensor, "*batch d_model"],
    following: Int[Tensor, "*batch"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """KL(clean || changed) and the rise of the cross-entropy of `following`, from final norms' outputs."""
    losses, divergences = compared_losses(subject, clean, [changed], following)
    return divergences[0].cpu(), (losses[1] - losses[0]).cpu()
