"""Evaluates lenses layer by layer: the probability of given words, and KL to the model's output."""

from collections.abc import Mapping, Sequence
from itertools import islice, product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from interp.corpus.batches import batches
from interp.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.lenses.distribution import LogProbabilities
from interp.lenses.logit_lens import Lens
from interp.lenses.residual_stream import Vectors, stream_site, stream_sites
from interp.statistics.estimate import mean_interval, share_interval
from interp.subject.site import Site
from interp.subject.unembedding import in_blocks

Tokens = Sequence[frozenset[int]]
MEASURES = ("kl", "probability", "top", "log_rank")
"""How a lens is compared with the output at each token (`divergence`)."""


@torch.no_grad()
def read_words(lens: Lens, vectors: Vectors, words: Mapping[str, Tokens]) -> pd.DataFrame:
    """Reads every item's words at every layer: layer, word (its name), item, probability, rank.

    `words` maps each name to the tokens that can begin each item's word: `probability` is their sum, `rank`
    the best of their ranks (0 is the likeliest token).
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


def words_by_layer(frame: pd.DataFrame, keys: Sequence[str], seed: int) -> pd.DataFrame:
    """For each layer, word and group of `keys`: mean probability and share of rank 0, with intervals."""
    rows = []
    for names, own in frame.groupby([*keys, "layer", "word"], sort=False):
        probability = mean_interval(own["probability"].to_numpy(), seed)
        top = share_interval(int((own["rank"] == 0).sum()), len(own))
        rows.append((*names, *probability, *top, own["rank"].median(), len(own)))
    ends = [f"{name}{end}" for name in ("probability", "top") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*keys, "layer", "word", *ends, "median_rank", "items"])


def top_layer(scores: "pd.Series[float]") -> int:
    """Returns the layer with the largest of scores that have layers as their index; the first of equals."""
    return int(scores.index[int(scores.argmax())])


def _read(seen: LogProbabilities, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The probability of each item's tokens together, and the best of their ranks."""
    widest = max(1, *map(len, tokens))
    rows = [[*ids, *[0] * (widest - len(ids))] for ids in tokens]
    index = torch.tensor(rows, device=seen.logits.device)
    known = torch.arange(widest) < torch.tensor([[len(ids)] for ids in tokens])
    known = known.to(index.device)
    best = seen.logits.gather(-1, index).masked_fill(~known, -torch.inf).amax(-1, keepdim=True)
    probability = seen.weight.gather(-1, index) / seen.total[:, None]
    return (probability * known).sum(-1), (seen.logits > best).sum(-1)


@torch.no_grad()
def divergence(
    lenses: Sequence[Lens],
    corpus: Corpus,
    documents: int,
    split: Split = "report",
    tokens_per_batch: int = 2048,
    tokens_per_row: int | None = None,
) -> pd.DataFrame:
    """Compares lenses with the output, on the first documents of a split: lens, layer, document, measures.

    All lenses read the same pass, and the measures are means over a document's tokens: `kl` is KL(output ||
    lens) in nats; of the output's likeliest token, `probability`, `top` (1 where it is the lens's likeliest,
    too) and `log_rank`, the logarithm of its rank (1 is the likeliest). `tokens_per_row` of each piece of a
    document are drawn at random; None takes all.

    Raises:
        UserError: the split has no text.
    """
    subject = lenses[0].subject
    of_split = (n for n in range(len(corpus)) if split_of(corpus[n].hash) == split)
    chosen = list(islice(of_split, documents))
    if not chosen:
        raise UserError(f"the {split} split has no text", corpus.name, "give more documents")
    sites, frames = stream_sites(subject), []
    last = sites[subject.n_layers - 1]

    def measure(*rows: Tensor) -> tuple[Tensor, ...]:
        at = dict(zip(sites.values(), rows, strict=True))
        output = LogProbabilities.of(lenses[0].logits(at[last], last))
        top = output.logits.argmax(-1, keepdim=True)
        return tuple(
            _compared(LogProbabilities.of(lens.logits(at[site], site)), output, top)
            for lens, site in product(lenses, at)
        )

    context = min(subject.n_ctx, 128)
    for batch in batches(corpus, chosen, subject.row_layout, context, tokens_per_batch):
        chosen_tokens = _drawn(batch.counts, tokens_per_row)
        counts = torch.from_numpy(chosen_tokens)
        read = subject.read(
            torch.from_numpy(batch.tokens), list(sites.values()), torch.from_numpy(batch.mask)
        )
        of_document = np.repeat(batch.document[:, None], counts.shape[1], 1)[chosen_tokens]
        kept = [activation[counts.to(activation.device)] for activation in read.values()]
        measured = in_blocks(measure, subject.d_vocab, *kept)
        for (lens, layer), found in zip(product(lenses, sites), measured, strict=True):
            row = {"lens": lens.name, "layer": layer, "document": of_document}
            own = zip(MEASURES, found.T.cpu().double().numpy(), strict=True)
            frames.append(pd.DataFrame({**row, **dict(own)}))
    return pd.concat(frames).groupby(["lens", "layer", "document"], sort=False).mean().reset_index()


def _drawn(counts: NDArray[np.bool_], most: int | None) -> NDArray[np.bool_]:
    """Keeps at most so many true entries of each row, drawn at random (the same for the same rows)."""
    if most is None or most >= counts.shape[1]:
        return counts
    order = np.where(counts, np.random.default_rng(0).random(counts.shape), 2.0)
    kept: NDArray[np.bool_] = counts & (order <= np.sort(order, 1)[:, most - 1 : most])
    return kept


def _compared(
    lens: LogProbabilities, output: LogProbabilities, top: Int[Tensor, "token 1"]
) -> Float[Tensor, "token measure"]:
    """The `MEASURES` of each token; `top` is the output's likeliest."""
    own = lens.logits.gather(-1, top)
    rank = (lens.logits > own).sum(-1, dtype=torch.int32) + 1
    probability = (own[:, 0] - lens.normaliser).exp()
    return torch.stack([output.kl(lens), probability, (rank == 1).to(probability), rank.log()], -1)
