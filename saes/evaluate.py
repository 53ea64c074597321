"""How good an SAE is: sparsity, reconstruction, and what the subject loses when it is spliced in."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from interp.corpus.batches import Batch, batches
from interp.corpus.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent
from saes.latents import SaeLatents
from saes.measures import RunningFigures, rate_histogram, recovered
from saes.stream import activation_width

Ablation = Literal["zero", "mean"]
Replace = Callable[[Float[Tensor, "token d_in"]], Float[Tensor, "token d_in"]]
Sums = NDArray[np.float64]
Advance = Callable[[int], None]


def _ignore(amount: int) -> None:
    pass


@dataclass(frozen=True)
class SaeEvaluation:
    """Figures of one SAE on documents it was not trained on. Everything is over counted positions only."""

    split: str
    """Which split the documents are of."""
    n_documents: int
    n_tokens: int
    l0: float
    """Mean number of active latents per token."""
    explained_variance: float
    """1 - sum |x - x_hat|^2 / sum |x - mean(x)|^2, both sums over all tokens."""
    mean_squared_error: float
    """Mean over tokens of |x - x_hat|^2."""
    cross_entropy_clean: float
    """Nats per token, of the subject as it is."""
    cross_entropy_spliced: float
    """Nats per token, with activations replaced by their reconstructions."""
    cross_entropy_ablated: float
    """Nats per token, with activations replaced by zero or their mean."""
    ablation: Ablation
    cross_entropy_recovered: float
    """(ablated - spliced) / (ablated - clean): 1 is perfect, 0 no better than ablation."""
    cross_entropy_recovered_interval: tuple[float, float]
    """95% percentile bootstrap over documents."""
    n_dead: int
    """Latents that were never active in `n_tokens` tokens."""
    firing_rates: list[float] = field(repr=False)
    """Share of tokens on which each latent is active."""
    rate_histogram: dict[str, int] = field(default_factory=dict)
    """Latents per decade of the firing rate; the key is the decade's lower edge."""

    def metrics(self) -> dict[str, float]:
        """The scalar figures under the names they are logged by."""
        plain = {key: float(value) for key, value in asdict(self).items() if isinstance(value, int | float)}
        low, high = self.cross_entropy_recovered_interval
        plain |= {"cross_entropy_recovered_low": low, "cross_entropy_recovered_high": high}
        return {f"sae/{key}": value for key, value in plain.items()}


def evaluate(
    subject: Subject,
    latents: SaeLatents,
    corpus: Corpus,
    *,
    split: Split = "report",
    max_tokens: int = 20_000,
    context_size: int = 128,
    ablation: Ablation = "zero",
    indices: Iterable[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SaeEvaluation:
    """Measures an SAE on documents of a split that it was not trained on.

    Reads documents (`indices`, in order; all by default) until `max_tokens` tokens of the split are
    reached. Reconstructions are spliced in at counted positions only: BOS and template tokens keep their
    activation, as an SAE never saw them. The cross-entropy is of the counted tokens, predicted from all.

    Raises:
        UserError: no token of the split counts.
    """
    laid = held_out(subject, corpus, split, max_tokens, context_size, indices)
    return evaluate_batches(subject, latents, laid, split, ablation=ablation, seed=seed, progress=progress)


def evaluate_batches(
    subject: Subject,
    latents: SaeLatents,
    laid: list[Batch],
    split: str,
    *,
    ablation: Ablation = "zero",
    seed: int = 0,
    progress: Progress | None = None,
) -> SaeEvaluation:
    """`evaluate` on rows that are laid out already; `split` only says where they come from."""
    figures = RunningFigures(activation_width(subject, latents.site), latents.n_features)
    losses = _Losses(subject, latents.site, laid)
    with (progress or silent()).task("evaluating the SAE", total=4 * len(laid), unit="batches") as advance:
        for batch in laid:
            _measure(subject, latents, batch, figures)
            advance(1)
        level = (
            figures.mean.float()
            if ablation == "mean"
            else torch.zeros(activation_width(subject, latents.site))
        )
        clean = losses.clean(advance)
        ablated = losses.replaced(lambda x: level.to(x.device).expand_as(x), advance)
        spliced = losses.replaced(latents.reconstruct, advance)
    share, interval = recovered(clean, spliced, ablated, seed)
    rates = figures.firing_rates
    n = int(losses.n_predicted.sum())
    return SaeEvaluation(
        split=split,
        n_documents=len(clean),
        n_tokens=figures.n_tokens,
        l0=float(rates.sum()),
        explained_variance=figures.explained_variance,
        mean_squared_error=figures.mean_squared_error,
        cross_entropy_clean=float(clean.sum() / n),
        cross_entropy_spliced=float(spliced.sum() / n),
        cross_entropy_ablated=float(ablated.sum() / n),
        ablation=ablation,
        cross_entropy_recovered=share,
        cross_entropy_recovered_interval=interval,
        n_dead=int((rates == 0).sum()),
        firing_rates=rates.tolist(),
        rate_histogram=rate_histogram(rates),
    )


def training_probe(
    subject: Subject,
    site: Site,
    corpus: Corpus,
    *,
    split: Split = "select",
    max_tokens: int = 4096,
    context_size: int = 128,
) -> Callable[[Replace], dict[str, float]]:
    """The cross-entropy recovered (over zero ablation) of an SAE in training, for `saes.train(evaluate=...)`.

    Measured on a few documents of a split that is neither trained nor reported on; the subject's own losses
    are computed once, on the first call.

    Raises:
        UserError: no token of the split counts.
    """
    losses = _Losses(subject, site, held_out(subject, corpus, split, max_tokens, context_size))
    bounds: list[float] = []

    def probe(reconstruct: Replace) -> dict[str, float]:
        if not bounds:
            bounds.extend([float(losses.clean().sum()), float(losses.replaced(torch.zeros_like).sum())])
        clean, ablated = bounds
        spliced = float(losses.replaced(reconstruct).sum())
        return {"sae/cross_entropy_recovered": (ablated - spliced) / (ablated - clean)}

    return probe


def held_out(
    subject: Subject,
    corpus: Corpus,
    split: Split,
    max_tokens: int,
    context_size: int,
    indices: Iterable[int] | None = None,
    tokens_per_batch: int = 4096,
) -> list[Batch]:
    """The first documents of a split, until `max_tokens` tokens are reached, laid out as batches.

    Raises:
        UserError: no token of the split counts.
    """
    chosen: list[int] = []
    seen = 0
    for index in range(len(corpus)) if indices is None else indices:
        document = corpus[index]
        if split_of(document.hash) == split:
            chosen.append(index)
            seen += len(document.tokens)
        if seen >= max_tokens:
            break
    if seen == 0:
        raise UserError(f"no document falls into the split {split!r}", corpus.name, "give more documents")
    laid = list(batches(corpus, chosen, subject.bos_id, subject.special_ids, context_size, tokens_per_batch))
    if not any(batch.n_counted for batch in laid):
        raise UserError(
            f"no token of the split {split!r} counts",
            corpus.name,
            "give documents with text outside templates",
        )
    return laid


class _Losses:
    """Cross-entropies summed per document, of the subject as it is and with a site's activations replaced."""

    def __init__(self, subject: Subject, site: Site, laid: list[Batch]) -> None:
        self._subject = subject
        self._site = site
        self._laid = laid
        documents = sorted({int(index) for batch in laid for index in batch.document})
        self._place = {document: place for place, document in enumerate(documents)}
        self.n_predicted = np.zeros(len(documents), dtype=np.int64)
        for batch in laid:
            np.add.at(self.n_predicted, self._rows(batch), batch.counts[:, 1:].sum(1))

    def _rows(self, batch: Batch) -> NDArray[np.int64]:
        return np.array([self._place[int(index)] for index in batch.document], dtype=np.int64)

    def _sums(
        self, hooks: Callable[[Batch], dict[Site, Callable[[Tensor], Tensor]]], advance: Advance
    ) -> Sums:
        sums = np.zeros(len(self._place))
        for batch in self._laid:
            tokens = torch.from_numpy(batch.tokens)
            with torch.inference_mode(), self._subject.edited(hooks(batch)):
                losses = token_losses(self._subject.logits(tokens).cpu(), tokens)
            counted = losses.double().numpy() * batch.counts[:, 1:]
            np.add.at(sums, self._rows(batch), counted.sum(1))
            advance(1)
        return sums

    def clean(self, advance: Advance = _ignore) -> Sums:
        """Of the subject as it is [document]."""
        return self._sums(lambda batch: {}, advance)

    def replaced(self, replace: Replace, advance: Advance = _ignore) -> Sums:
        """With the site's activations replaced at the positions that count [document]."""
        return self._sums(
            lambda batch: {self._site: at_counted(replace, torch.from_numpy(batch.counts))}, advance
        )


def at_counted(replace: Replace, counts: Bool[Tensor, "row pos"]) -> Callable[[Tensor], Tensor]:
    """A hook that replaces the activations of the positions that count and leaves all others."""

    def hook(activation: Tensor) -> Tensor:
        keep = counts.to(activation.device)
        chosen = activation[keep]
        new = activation.clone()
        new[keep] = replace(chosen.flatten(1)).view_as(chosen).to(activation.dtype)
        return new

    return hook


def token_losses(
    logits: Float[Tensor, "row pos d_vocab"], tokens: Int[Tensor, "row pos"]
) -> Float[Tensor, "row next"]:
    """Nats of every next token [row, pos - 1]."""
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), tokens[:, 1:], reduction="none"
    )


def _measure(subject: Subject, latents: SaeLatents, batch: Batch, figures: RunningFigures) -> None:
    keep = torch.from_numpy(batch.counts)

    def take(activation: Tensor) -> None:
        chosen = activation[keep.to(activation.device)].flatten(1)
        figures.add(chosen, latents.reconstruct(chosen), latents.encode(chosen))

    subject.visit(torch.from_numpy(batch.tokens), {latents.site: take})
