"""How far a lens is from what the model says in the end, on held-out text."""

from collections.abc import Sequence
from itertools import islice, product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interp.corpus.batches import batches
from interp.corpus.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.lenses.distribution import LogProbabilities
from interp.lenses.logit_lens import Lens
from interp.lenses.stream import stream
from interp.subject.unembedding import in_blocks


@torch.no_grad()
def divergence(
    lenses: Sequence[Lens],
    corpus: Corpus,
    documents: int,
    split: Split = "report",
    tokens_per_batch: int = 2048,
) -> pd.DataFrame:
    """KL(output || lens) in nats a token, of the first documents of a split: lens, layer, document, kl.

    All lenses read the same pass; each document counts with the mean over its tokens.

    Raises:
        UserError: the split has no text.
    """
    subject = lenses[0].subject
    of_split = (n for n in range(len(corpus)) if split_of(corpus[n].hash) == split)
    chosen = list(islice(of_split, documents))
    if not chosen:
        raise UserError(f"the {split} split has no text", corpus.name, "give more documents")
    sites, frames = stream(subject), []
    last = sites[subject.n_layers - 1]

    def measure(*rows: Tensor) -> tuple[Tensor, ...]:
        at = dict(zip(sites.values(), rows, strict=True))
        output = LogProbabilities.of(lenses[0].logits(at[last], last))
        return tuple(
            output.kl(LogProbabilities.of(lens.logits(at[site], site))) for lens, site in product(lenses, at)
        )

    context = min(subject.n_ctx, 128)
    for batch in batches(corpus, chosen, subject.frame, context, tokens_per_batch):
        counts = torch.from_numpy(batch.counts)
        read = subject.read(
            torch.from_numpy(batch.tokens), list(sites.values()), torch.from_numpy(batch.mask)
        )
        of_document = np.repeat(batch.document[:, None], counts.shape[1], 1)[batch.counts]
        kept = [activation[counts.to(activation.device)] for activation in read.values()]
        measured = in_blocks(measure, subject.d_vocab, *kept)
        for (lens, layer), kl in zip(product(lenses, sites), measured, strict=True):
            row = {"lens": lens.name, "layer": layer, "document": of_document}
            frames.append(pd.DataFrame({**row, "kl": kl.cpu().double().numpy()}))
    return pd.concat(frames).groupby(["lens", "layer", "document"], sort=False)["kl"].mean().reset_index()
