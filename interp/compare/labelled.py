"""Reads every feature's activations on labelled tokens, and on whole labelled documents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from interp.document import Corpus, Split
from interp.errors import UserError
from interp.features.space import ReadableFeatures
from interp.mining.samples import compact
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent
from saes.evaluation import held_out_batches


@dataclass(frozen=True)
class Labelled:
    """Examples (tokens, or documents) with their labels and every feature's activation.

    `positive` [example, feature] by space is each feature's positive polarity, `negative` the other one for
    signed spaces: for tokens the activation and its negative, for documents the largest of either over all
    counted tokens of the document. Half precision. `document` is the document of each example.
    """

    positive: dict[str, Float[Tensor, "example _"]]
    negative: dict[str, Float[Tensor, "example _"]]
    labels: Bool[Tensor, "example label"]
    document: Int[Tensor, " example"]

    def side(self, space: str, polarity: int) -> Float[Tensor, "example feature"]:
        """Returns the activations of a space's features in one polarity."""
        return self.positive[space] if polarity > 0 else self.negative[space]


@dataclass(frozen=True)
class SplitActivations:
    """Whole documents of one split.

    `activations` are those of every counted token at one site, `labels` and `document` its labels and its
    document. `tokens` is a uniform sample of these tokens at indices `sample`, `documents` all documents.
    """

    activations: Float[Tensor, "token d_site"]
    labels: Bool[Tensor, "token label"]
    document: Int[Tensor, " token"]
    sample: Int[Tensor, " example"]
    tokens: Labelled
    documents: Labelled

    def with_scores(self, name: str, scores: Float[Tensor, "token feature"]) -> "SplitActivations":
        """Adds an unsigned space by its values on every token, such as the scores of probes."""
        return replace(
            self,
            tokens=replace(self.tokens, positive=self.tokens.positive | {name: scores[self.sample]}),
            documents=replace(
                self.documents, positive=self.documents.positive | {name: pooled(scores, self.document)}
            ),
        )


def pooled(
    values: Float[Tensor, "token feature"], document: Int[Tensor, " token"]
) -> Float[Tensor, "document feature"]:
    """Returns the largest value of each document, documents in ascending order."""
    documents, place = torch.unique(document, return_inverse=True)
    empty = torch.full((len(documents), values.shape[1]), -torch.inf)
    index = place[:, None].expand(-1, values.shape[1])
    return empty.scatter_reduce_(0, index, values.float(), "amax").to(values.dtype)


def read_labelled(
    subject: Subject,
    corpus: Corpus,
    split: Split,
    site: Site,
    spaces: Sequence[ReadableFeatures],
    max_tokens: int,
    sampled_tokens: int,
    context_size: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> SplitActivations:
    """Reads whole documents of a split, drawn by the seed, until `max_tokens` tokens are reached.

    Of their counted tokens `sampled_tokens` are drawn for `Reading.tokens`.

    Raises:
        UserError: the corpus has no labels, or no token of the split counts.
    """
    if not corpus.label_names:
        raise UserError("the corpus has no concept labels", corpus.name, "use a labelled one, such as world")
    order = np.random.default_rng(seed).permutation(len(corpus)).tolist()
    held_out = held_out_batches(subject, corpus, split, max_tokens, context_size, order)
    activations: list[Tensor] = []
    values: dict[str, list[Tensor]] = {space.name: [] for space in spaces}
    at: dict[Site, list[ReadableFeatures]] = {site: []}
    for space in spaces:
        at.setdefault(space.site, []).append(space)
    masks: list[NDArray[np.uint64]] = []
    documents: list[NDArray[np.int64]] = []
    task = f"reading the {split} split"
    with (progress or silent()).task(task, total=len(held_out), unit="batches") as advance:
        for batch in held_out:
            keep = torch.from_numpy(batch.counts)

            def visitor(here: Site, keep: Tensor = keep) -> Callable[[Tensor], None]:
                def visit(activation: Tensor) -> None:
                    chosen = activation[keep.to(activation.device)]
                    if here == site:
                        activations.append(chosen.flatten(1).float().cpu())
                    for space in at[here]:
                        values[space.name].append(compact(space.encode(chosen)).cpu())

                return visit

            subject.visit(
                torch.from_numpy(batch.tokens),
                {here: visitor(here) for here in at},
                torch.from_numpy(batch.mask),
            )
            assert batch.labels is not None
            masks.append(batch.labels[batch.counts])
            documents.append(np.repeat(batch.document, batch.counts.sum(1)))
            advance(1)
    bits = np.arange(len(corpus.label_names), dtype=np.uint64)
    labels = (np.concatenate(masks)[:, None] >> bits[None, :] & np.uint64(1)).astype(bool)
    document = torch.from_numpy(np.concatenate(documents))
    drawn = torch.randperm(len(document), generator=torch.Generator().manual_seed(seed))[:sampled_tokens]
    sample = drawn.sort().values
    sampled, largest, smallest = {}, {}, {}
    for space in spaces:
        joined = torch.cat(values.pop(space.name))
        sampled[space.name] = joined[sample]
        largest[space.name] = pooled(joined, document)
        if space.signed:
            smallest[space.name] = pooled(-joined, document)
    marked = torch.from_numpy(labels)
    negative = {name: -sampled[name] for name in smallest}
    return SplitActivations(
        torch.cat(activations),
        marked,
        document,
        sample,
        Labelled(sampled, negative, marked[sample], document[sample]),
        Labelled(
            largest,
            smallest,
            pooled(marked.float(), document) > 0,
            torch.from_numpy(np.unique(document.numpy())),
        ),
    )
