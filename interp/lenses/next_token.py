"""Next-token prediction from an activation: patchscopes, the logit lens, the tuned lens and affine maps.

Precision@1 is the share of positions where a method's likeliest token is the model's own; surprisal is -
log p, in nats, of the model's token under the method (Ghandeharioun et al. 2024, arXiv 2401.06102, section
4.1).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.corpus.beginnings import beginnings
from interp.document import Corpus, Split
from interp.lenses.affine import Affine
from interp.lenses.logit_lens import Lens
from interp.lenses.patch import Patch
from interp.lenses.prompt import Prompt
from interp.lenses.prompt_batches import next_normed
from interp.lenses.residual_stream import EMBEDDING, Vectors, read_stream, stream_site
from interp.subject.losses import likeliest_tokens
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks


@dataclass(frozen=True, eq=False)
class Beginnings:
    """Beginnings of documents, with the subject's prediction and residual stream at the end of each."""

    prompts: tuple[Prompt, ...]
    predicted: Int[Tensor, " item"]
    vectors: Vectors


def read_beginnings(
    subject: Subject, corpus: Corpus, split: Split, count: int, *, longest: int = 64, seed: int = 0
) -> Beginnings:
    """Reads `count` beginnings, each of another document of a split.

    Raises:
        UserError: the split has fewer documents of two tokens or more.
    """
    cut = beginnings(corpus, split, count, longest=longest, seed=seed)
    prompts = [Prompt(one.tokens) for one in cut]
    predicted = likeliest_tokens(subject, next_normed(subject, prompts))
    return Beginnings(tuple(prompts), predicted, read_stream(subject, prompts))


def by_lens(lens: Lens, read: Beginnings) -> pd.DataFrame:
    """What a lens predicts from each activation: layer, item, right, surprisal."""
    with torch.no_grad():
        return pd.concat(
            [
                _by_lens(lens, vectors, stream_site(layer), read, layer)
                for layer, vectors in read.vectors.items()
            ],
            ignore_index=True,
        )


def by_patchscope(
    subject: Subject,
    target: Prompt,
    read: Beginnings,
    layers: Mapping[int, int] | None = None,
    maps: Mapping[int, Affine] | None = None,
    vectors: Vectors | None = None,
) -> pd.DataFrame:
    """What is predicted after a target prompt that holds each activation; columns as `by_lens`.

    A source layer's activations are put into the target after `layers[source]` (the same layer by
    default), mapped first if `maps` has their layer. `vectors` replace the activations (a
    control).
    """
    frames = []
    for source, own in (vectors or read.vectors).items():
        layer = source if layers is None else layers[source]
        put_in = maps[source](own) if maps and source in maps else own
        patch = Patch(stream_site(layer), put_in, rescaled=False)
        normed = next_normed(subject, [target] * len(put_in), patch)
        frames.append(_scored(subject, subject.unembed, normed, read, source))
    return pd.concat(frames, ignore_index=True)


def by_maps(lens: Lens, maps: Mapping[int, Affine], read: Beginnings) -> pd.DataFrame:
    """What a lens predicts from activations mapped to the last layer; columns as `by_lens`."""
    last = stream_site(lens.subject.n_layers - 1)
    with torch.no_grad():
        return pd.concat(
            [
                _by_lens(lens, maps[layer](own), last, read, layer)
                for layer, own in read.vectors.items()
                if layer in maps
            ],
            ignore_index=True,
        )


def _by_lens(lens: Lens, vectors: Tensor, site: Site, read: Beginnings, layer: int) -> pd.DataFrame:
    return _scored(lens.subject, partial(lens.logits, site=site), vectors, read, layer)


def _scored(
    subject: Subject,
    logits_of: Callable[[Tensor], Tensor],
    vectors: Float[Tensor, "item d_model"],
    read: Beginnings,
    layer: int,
) -> pd.DataFrame:
    def measure(rows: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits_of(rows).float()
        surprisal = torch.nn.functional.cross_entropy(logits, predicted, reduction="none")
        return logits.argmax(-1) == predicted, surprisal

    predicted = read.predicted.to(subject.device)
    right, surprisal = in_blocks(measure, subject.d_vocab, vectors, predicted)
    return pd.DataFrame(
        {
            "layer": layer,
            "item": range(len(right)),
            "right": right.cpu().numpy(),
            "surprisal": surprisal.cpu().double().numpy(),
        }
    )


def source_layers(subject: Subject) -> Sequence[int]:
    """The embedding and all layers but the last, whose activations are already the output."""
    return range(EMBEDDING, subject.n_layers - 1)
