"""The tuned lens (Belrose et al. 2023, arXiv 2303.08112): a logit lens after an affine map at each layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.corpus.batches import Batch, Row, collate
from interp.document import Corpus, Split
from interp.lenses.affine import fit_affine
from interp.lenses.distribution import LogProbabilities
from interp.lenses.residual_stream import stream_sites
from interp.lenses.trained_lens import TrainedLens, rows_by_document
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks

CLIP = 1.0  # norm of each layer's gradient in a step


class TunedLens(TrainedLens):
    """The map of a layer is x + x A_l + b_l.

    `translation` [layer, d_model, d_model] and `bias` [layer, d_model] begin with the embedding's.
    """

    name = "tuned lens"
    format = "interp tuned lens 1"

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        shape = (subject.n_layers, subject.d_model)
        self.translation = torch.nn.Parameter(torch.zeros(*shape, subject.d_model, device=subject.device))
        self.bias = torch.nn.Parameter(torch.zeros(shape, device=subject.device))

    @classmethod
    def for_file(cls, subject: Subject, known: Mapping[str, str], place: str) -> "TunedLens":
        """Makes the lens of a subject, whatever else the file says."""
        return cls(subject)

    def mapped(
        self, activation: Float[Tensor, "*batch d_model"], row: int
    ) -> Float[Tensor, "*batch d_model"]:
        """Adds x A_l + b_l, in single precision."""
        activation = activation.to(self.bias)
        return activation + activation @ self.translation[row] + self.bias[row]


def train_tuned_lens(
    subject: Subject,
    corpus: Corpus,
    *,
    steps: int = 250,
    tokens_per_step: int = 2048,
    learning_rate: float = 3e-3,
    context_size: int | None = None,
    fitted_tokens: int = 0,
    seed: int = 0,
    progress: Callable[[int, Float[np.ndarray, " layer"]], None] | None = None,
) -> TunedLens:
    """Trains all layers at once on the explain split, by KL(output || lens) in nats per token, with Adam.

    The rate falls linearly to 0. `progress` is called with each step and the KL of every layer. The corpus
    repeats if it is too small. With `fitted_tokens` training begins from the least-squares maps to the last
    layer's activations of so many tokens, else from the logit lens: where the stream grows a hundredfold,
    that is far from the output. Raises UserError if there is no text.
    """
    lens = TunedLens(subject)
    if fitted_tokens:
        _fit(lens, corpus, fitted_tokens, context_size, seed)
    optimiser = torch.optim.Adam(lens.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    sites = list(stream_sites(subject).values())
    stream_of = _batches(subject, corpus, "explain", tokens_per_step, context_size, seed)
    for step, batch in enumerate(islice(stream_of, steps)):
        read = subject.read(torch.from_numpy(batch.tokens), sites, torch.from_numpy(batch.mask))
        counts = torch.from_numpy(batch.counts).to(subject.device)
        kept = [read[site][counts].clone() for site in sites]
        kl = in_blocks(partial(_descend, lens, sites, int(counts.sum())), subject.d_vocab, *kept)
        _clip(lens)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if progress is not None:
            progress(step, torch.stack(kl).mean(1).cpu().double().numpy())
    return lens.requires_grad_(False)


def _descend(lens: TunedLens, sites: Sequence[Site], n_tokens: int, *rows: Tensor) -> tuple[Tensor, ...]:
    """KL(output || lens) of some of a step's tokens at every site but the last; adds their gradients."""
    with torch.no_grad():
        output = LogProbabilities.of(lens.logits(rows[-1], sites[-1]))
    found = []
    for site, activation in zip(
        sites[:-1], rows, strict=False
    ):  # one at a time: logits are what takes memory
        kl = output.kl(LogProbabilities.of(lens.logits(activation, site)))
        torch.autograd.backward(kl.sum() / n_tokens)
        found.append(kl.detach())
    return tuple(found)


@torch.no_grad()
def _fit(lens: TunedLens, corpus: Corpus, tokens: int, context_size: int | None, seed: int) -> None:
    """Sets the maps to the least-squares ones."""
    subject, sites = lens.subject, list(stream_sites(lens.subject).values())
    kept: list[dict[Site, Tensor]] = []
    for batch in _batches(subject, corpus, "explain", min(tokens, 2048), context_size, seed):
        read = subject.read(torch.from_numpy(batch.tokens), sites, torch.from_numpy(batch.mask))
        counts = torch.from_numpy(batch.counts).to(subject.device)
        kept.append({site: activation[counts].float().cpu() for site, activation in read.items()})
        tokens -= batch.n_counted
        if tokens <= 0:
            break
    last = torch.cat([read[sites[-1]] for read in kept])
    for row, site in enumerate(sites[:-1]):
        found = fit_affine(torch.cat([read[site] for read in kept]), last)
        lens.translation[row] = found.weight - torch.eye(subject.d_model, dtype=found.weight.dtype)
        lens.bias[row] = found.bias


def _clip(lens: TunedLens) -> None:
    """Clips every layer's gradient to norm `CLIP`: the early layers' are much larger."""
    gradients = [parameter.grad for parameter in lens.parameters() if parameter.grad is not None]
    norm = torch.cat([gradient.flatten(1) for gradient in gradients], 1).norm(dim=1)
    factor = (CLIP / norm.clamp(min=CLIP)).to(norm)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))


def _batches(
    subject: Subject, corpus: Corpus, split: Split, tokens: int, context_size: int | None, seed: int
) -> Iterator[Batch]:
    """Batches of the documents of a split in a random order, over and over.

    Rows of all lengths share a batch, padded on the right: batches of one length would be of one kind of
    text.
    """
    rows: list[Row] = []
    waiting = 0
    size = context_size or min(subject.n_ctx, 128)
    for row in chain.from_iterable(rows_by_document(subject, corpus, split, size, seed)):
        rows.append(row)
        waiting += row.length
        if waiting >= tokens:
            yield collate(rows, subject.row_layout, split)
            rows, waiting = [], 0
