"""Steers with the directions by which lenses read words: how much likelier does each make its word?"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.intervene import AddVector
from interp.intervene.by_rows import ByRows
from interp.lenses.distribution import LogProbabilities
from interp.lenses.jacobian_lens import JacobianLens
from interp.lenses.prompt import Prompt
from interp.lenses.prompt_batches import Change, PromptBatch, next_normed
from interp.lenses.residual_stream import stream_site
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks


@dataclass(frozen=True, eq=False, repr=False)
class Addition:
    """Vectors [prompt, d_model] that are added at a site, at every position of their prompts and after."""

    site: Site
    vectors: Float[Tensor, "prompt d_model"]

    def __repr__(self) -> str:
        return f"Addition({len(self.vectors)} vectors at {self.site})"

    def on(self, subject: Subject, rows: PromptBatch) -> AbstractContextManager[None]:
        """Within the block these prompts run with their vectors added."""
        vectors = self.vectors[rows.places]
        return subject.intervene(ByRows([(1, [AddVector(subject, self.site, one)]) for one in vectors]))


@torch.no_grad()
def steered_words(
    lenses: Sequence[JacobianLens],
    words: Sequence[int],
    prompts: Sequence[Prompt],
    layer: int,
    strengths: Sequence[float],
) -> pd.DataFrame:
    """Adds each lens's vector of each word (`word_vector`) after a layer, and reads the next token.

    All vectors have one norm: a strength times the stream's mean norm at the prompts' ends.
    Returns lens, layer, strength, word, prompt (their places), `probability` of the word as the next token,
    and `gain`, what its log-probability rose by, in nats.
    """
    subject = lenses[0].subject
    asked = [prompt for _ in words for prompt in prompts]
    tokens = [word for word in words for _ in prompts]
    before = _log_probability(subject, asked, tokens)
    places = {
        "word": [number for number in range(len(words)) for _ in prompts],
        "prompt": [*range(len(prompts))] * len(words),
    }
    site = stream_site(layer)
    norm = _mean_norm(subject, prompts, site)
    frames = []
    for lens in lenses:
        vectors = torch.stack([lens.word_vector(word, layer).scaled_to(norm).values for word in words])
        each = vectors.repeat_interleave(len(prompts), 0)
        for strength in strengths:
            after = _log_probability(subject, asked, tokens, Addition(site, strength * each))
            row = {"lens": lens.name, "layer": layer, "strength": strength, **places}
            frames.append(pd.DataFrame({**row, "probability": after.exp(), "gain": after - before}))
    return pd.concat(frames, ignore_index=True)


def _mean_norm(subject: Subject, prompts: Sequence[Prompt], site: Site) -> float:
    tokens, mask = subject.pad([prompt.tokens for prompt in prompts])
    return float(subject.read(tokens, [site], mask)[site][:, -1].float().norm(dim=-1).mean())


def _log_probability(
    subject: Subject, prompts: Sequence[Prompt], tokens: Sequence[int], change: Change | None = None
) -> Float[Tensor, " prompt"]:
    def measure(normed: Tensor, wanted: Tensor) -> tuple[Tensor]:
        seen = LogProbabilities.of(subject.unembed(normed).float())
        return (seen.logits.gather(-1, wanted[:, None])[:, 0] - seen.normaliser,)

    normed = next_normed(subject, prompts, change)
    (found,) = in_blocks(measure, subject.d_vocab, normed, torch.tensor(tokens, device=subject.device))
    return found.double().cpu()
