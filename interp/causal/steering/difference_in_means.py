"""Difference in means: the direction from activations without a concept to those with it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.causal.selection import concept_number
from interp.corpus.batches import batches
from interp.document import Corpus, Split
from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent


def difference_in_means(
    subject: Subject,
    site: Site,
    corpus: Corpus,
    concepts: Sequence[str],
    *,
    split: Split = "explain",
    context_size: int = 128,
    tokens_per_batch: int = 8192,
    progress: Progress | None = None,
) -> Float[Tensor, "concept width"]:
    """Computes the mean activation of tokens labelled with each concept, less that of all others.

    Over the counting tokens of one split (no template, no beginning of sequence), in one pass for all
    concepts. Sums are in double precision. The same vector as CAA's (Rimsky et al. 2023, arXiv 2312.06681)
    and AxBench's DiffMean, over labelled tokens in place of answer pairs.

    Raises:
        UserError: the corpus has no such label, or all or none of the split's tokens carry it.
    """
    bits = np.array([concept_number(corpus, concept) for concept in concepts], dtype=np.uint64)
    total = torch.zeros(len(concepts), subject.site_width(site), dtype=torch.float64)
    everything = torch.zeros(subject.site_width(site), dtype=torch.float64)
    count, n_tokens = torch.zeros(len(concepts), dtype=torch.float64), 0
    told = (progress or silent()).task("difference in means", total=len(corpus), unit="documents")
    with told as advance:
        for batch in batches(corpus, range(len(corpus)), subject.row_layout, context_size, tokens_per_batch):
            advance(len(set(batch.document.tolist())))
            if batch.split != split or batch.labels is None:
                continue
            tokens, mask = torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask)
            read = subject.read(tokens, [site], mask)[site].cpu().double()
            kept = read[torch.from_numpy(batch.counts)]
            labels = batch.labels[batch.counts][:, None] >> bits & np.uint64(1)
            has = torch.from_numpy(labels.astype(np.float64))
            total += has.T @ kept
            everything += kept.sum(0)
            count += has.sum(0)
            n_tokens += len(kept)
    for concept, n in zip(concepts, count.tolist(), strict=True):
        if not 0 < n < n_tokens:
            raise UserError(
                f"{int(n)} of {n_tokens} tokens carry {concept!r}", corpus.name, "give more or other text"
            )
    with_it = total / count[:, None]
    without = (everything - total) / (n_tokens - count)[:, None]
    return (with_it - without).float()
