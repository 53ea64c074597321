"""How readable given words are, layer by layer: their probability and rank through a lens."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from interp.intervals import mean_interval, share_interval
from interp.lenses.distribution import LogProbabilities
from interp.lenses.logit_lens import Lens
from interp.lenses.stream import Vectors, stream_site
from interp.subject.site import Site
from interp.subject.unembedding import in_blocks

Tokens = Sequence[frozenset[int]]


@torch.no_grad()
def readout(lens: Lens, vectors: Vectors, words: Mapping[str, Tokens]) -> pd.DataFrame:
    """Reads every item's words at every layer: layer, word (its name), item, probability, rank.

    `words` gives for each name the tokens that begin each item's word; their probabilities add up, and the
    best of their ranks counts (0 is the likeliest token of all).
    """
    frames = []
    for layer, activations in vectors.items():
        site = stream_site(layer)

        def measure(rows: Tensor, *tokens: Tokens, site: Site = site) -> tuple[Tensor, ...]:
            seen = LogProbabilities.of(lens.logits(rows, site))
            return tuple(part for each in tokens for part in _read(seen, each))

        found = in_blocks(measure, lens.subject.d_vocab, activations, *words.values())
        for name, probability, rank in zip(words, found[::2], found[1::2], strict=True):
            frames.append(
                pd.DataFrame(
                    {
                        "layer": layer,
                        "word": name,
                        "item": range(len(rank)),
                        "probability": probability.cpu().double().numpy(),
                        "rank": rank.cpu().numpy(),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def summary(frame: pd.DataFrame, keys: Sequence[str], seed: int) -> pd.DataFrame:
    """For each layer, word and group of `keys`: mean probability and share at rank 0, with intervals."""
    rows = []
    for names, own in frame.groupby([*keys, "layer", "word"], sort=False):
        probability = mean_interval(own["probability"].to_numpy(), seed)
        top = share_interval(int((own["rank"] == 0).sum()), len(own))
        rows.append((*names, *probability, *top, own["rank"].median(), len(own)))
    ends = [f"{name}{end}" for name in ("probability", "top") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*keys, "layer", "word", *ends, "median_rank", "items"])


def _read(seen: LogProbabilities, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The probability of each item's tokens together, and the best of their ranks."""
    mask = torch.zeros_like(seen.logits, dtype=torch.bool)
    for item, ids in enumerate(tokens):
        mask[item, list(ids)] = True
    best = seen.logits.masked_fill(~mask, -torch.inf).amax(-1, keepdim=True)
    return (seen.probability * mask).sum(-1), (seen.logits > best).sum(-1)
