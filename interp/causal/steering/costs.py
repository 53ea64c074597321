"""Costs of steering: how much it alters predictions on documents without its concept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.causal.selection import concept_number
from interp.causal.side_effects import prediction_costs
from interp.corpus.batches import collate, rows_of
from interp.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.intervene.by_rows import ByRows
from interp.subject.forward import Intervention
from interp.subject.site import Site
from interp.subject.subject import Subject

COSTS = ("kl", "extra", "norm", "relative")
"""Columns of `steering_costs`."""


@dataclass(frozen=True, eq=False)
class NeutralDocuments:
    """Documents without a concept, the same number for each; rows are ordered by concept.

    `counts` [row, pos] says which tokens are predicted and counted; `resid` (at the site) and `normed` (the
    final norm's output) are of the unsteered subject.
    """

    concepts: tuple[str, ...]
    tokens: Int[Tensor, "row pos"]
    counts: Bool[Tensor, "row pos"]
    resid: Float[Tensor, "row pos width"]
    normed: Float[Tensor, "row pos d_model"]
    rows_per_concept: int


def neutral_documents(
    subject: Subject,
    corpus: Corpus,
    site: Site,
    concepts: Sequence[str],
    count: int,
    *,
    split: Split = "report",
    context_size: int = 64,
) -> NeutralDocuments:
    """Reads the first `count` documents of a split without each concept, cut to one context.

    Raises:
        UserError: the split has fewer.
    """
    chosen = []
    for concept in concepts:
        mask = np.uint64(1 << concept_number(corpus, concept))
        rows = []
        for index in range(len(corpus)):
            document = corpus[index]
            without = document.labels is not None and not (document.labels & mask).any()
            if without and split_of(document.hash) == split:
                rows.append(next(rows_of(index, document, context_size, subject.row_layout)))
            if len(rows) == count:
                break
        if len(rows) < count:
            raise UserError(
                f"only {len(rows)} documents of the {split} split are without {concept}",
                corpus.name,
                "ask for fewer neutral documents, or give more text",
            )
        chosen += rows
    batch = collate(chosen, subject.row_layout)
    tokens, counts = torch.from_numpy(batch.tokens), torch.from_numpy(batch.counts)
    resid, normed = _read(subject, tokens, site)
    return NeutralDocuments(tuple(concepts), tokens, counts, resid, normed, count)


def steering_costs(
    subject: Subject,
    neutral: NeutralDocuments,
    site: Site,
    edits: Mapping[str, Sequence[Intervention]],
    **names: str | float | int,
) -> pd.DataFrame:
    """Steers every position of each concept's documents; a row for each concept and document.

    `kl` is KL(unsteered || steered) of the next token, `extra` the rise of the document's cross-entropy, both
    in nats, means over its tokens; `norm` is the mean norm of the change of the activation at `site`, and
    `relative` that over the mean norm of the activation itself.
    """
    with subject.intervene(ByRows([(neutral.rows_per_concept, edits[name]) for name in neutral.concepts])):
        resid, normed = _read(subject, neutral.tokens, site)
    clean, counts = neutral.normed[:, :-1], neutral.counts[:, 1:]
    kl, extra = prediction_costs(subject, clean, normed[:, :-1], neutral.tokens[:, 1:])
    size, own = (resid - neutral.resid).norm(dim=-1), neutral.resid.norm(dim=-1)
    norm, usual = _mean(size, neutral.counts), _mean(own, neutral.counts)
    return pd.DataFrame(
        {
            **names,
            "concept": np.repeat(neutral.concepts, neutral.rows_per_concept),
            "document": np.tile(np.arange(neutral.rows_per_concept), len(neutral.concepts)),
            "kl": _mean(kl, counts).numpy(),
            "extra": _mean(extra, counts).numpy(),
            "norm": norm.numpy(),
            "relative": (norm / usual).numpy(),
        }
    )


def _mean(values: Float[Tensor, "row pos"], counts: Bool[Tensor, "row pos"]) -> Float[Tensor, " row"]:
    total: Tensor = (values.double() * counts).sum(1)
    return total / counts.sum(1).clamp(min=1)


@torch.no_grad()
def _read(subject: Subject, tokens: Tensor, site: Site) -> tuple[Tensor, Tensor]:
    """Reads the activation at a site and the final norm's output, in one pass."""
    found: list[Tensor] = []

    def keep(activation: Tensor) -> Tensor:
        found.append(activation.detach().float().cpu())
        return activation

    with subject.edited({site: keep}):
        normed = subject.normed(tokens, torch.ones_like(tokens))
    return found[0], normed
