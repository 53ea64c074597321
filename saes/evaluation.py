"""How good a dictionary is: sparsity, reconstruction, and what the subject loses when it is spliced in."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.corpus.activations import KeptActivations, visit_batch
from interp.corpus.batches import Batch, batches
from interp.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent
from saes.measures import RunningFigures, n_dense, rate_histogram, recovered
from saes.splice import Documents, Splice, document_losses, spliced_losses
from saes.stream import activation_width

LOSS_LOGITS = 1 << 30
"""Logits of a pass over the documents on which losses are measured; four passes make them."""


@runtime_checkable
class Dictionary(Protocol):
    """An SAE, which reconstructs what it reads, or a transcoder, which predicts a later site from it."""

    @property
    def name(self) -> str:
        """Unique within a run."""
        ...

    @property
    def site(self) -> Site:
        """Where activations are read."""
        ...

    @property
    def target(self) -> Site:
        """Site of the activation that is reconstructed; for an SAE, `site` itself."""
        ...

    @property
    def n_features(self) -> int:
        """Number of latents."""
        ...

    def encode(self, activation: Float[Tensor, "... d_site"]) -> Float[Tensor, "... n_features"]:
        """Every latent's activation."""
        ...

    def reconstruct(self, activation: Float[Tensor, "*any d_site"]) -> Float[Tensor, "*any d_target"]:
        """The reconstruction of the activation at `target`, from the one at `site`."""
        ...


Ablation = Literal["zero", "mean"]
Replace = Callable[[Float[Tensor, "token d_in"]], Float[Tensor, "token d_out"]]


@dataclass(frozen=True, repr=False)
class SaeEvaluation:
    """Figures of one dictionary on documents it was not trained on, over counted positions only.

    x is the activation that is reconstructed; for a transcoder, the one that it predicts. What is in nats is
    measured on `n_loss_documents` of them.
    """

    split: str
    """The documents' split."""
    n_documents: int
    n_tokens: int
    n_loss_documents: int
    """Documents on which cross-entropy and KL are measured: all, or a random sample."""
    n_loss_tokens: int
    l0: float
    """Mean number of active latents per token."""
    explained_variance: float
    """1 - sum |x - x_hat|^2 / sum |x - mean(x)|^2, both sums over all tokens."""
    mean_squared_error: float
    """Mean over tokens of |x - x_hat|^2."""
    cross_entropy_clean: float
    """Nats per token, of the unchanged subject."""
    cross_entropy_spliced: float
    """Nats per token, with activations replaced by their reconstructions."""
    cross_entropy_with_error: float
    """The same with the reconstruction error added back: equal to the clean one up to rounding."""
    cross_entropy_ablated: float
    """Nats per token, with activations replaced by zero or their mean."""
    kl_spliced: float
    """KL(clean || spliced) of the next token's distribution, nats per token."""
    kl_with_error: float
    """The same with the error added back: 0 up to rounding."""
    kl_ablated: float
    """KL(clean || ablated), nats per token."""
    ablation: Ablation
    cross_entropy_recovered: float
    """(ablated - spliced) / (ablated - clean): 1 is perfect, 0 no better than ablation."""
    cross_entropy_recovered_interval: tuple[float, float]
    """95% percentile bootstrap over documents."""
    n_dead: int
    """Latents that were never active in `n_tokens` tokens."""
    n_dense: int
    """Latents that were active on more than a tenth of the tokens."""
    firing_rates: list[float] = field(repr=False)
    """Share of tokens on which each latent is active."""
    rate_histogram: dict[str, int] = field(default_factory=dict)
    """Latents per decade of the firing rate; the key is the decade's lower edge."""

    def __repr__(self) -> str:
        return (
            f"SaeEvaluation({self.split}, {self.n_tokens:,} tokens: L0 {self.l0:.1f}, explained variance "
            f"{self.explained_variance:.3f}, cross entropy recovered {self.cross_entropy_recovered:.3f})"
        )

    def metrics(self, prefix: str = "sae") -> dict[str, float]:
        """The scalar figures under the names they are logged by."""
        plain = {key: float(value) for key, value in asdict(self).items() if isinstance(value, int | float)}
        low, high = self.cross_entropy_recovered_interval
        plain |= {"cross_entropy_recovered_low": low, "cross_entropy_recovered_high": high}
        return {f"{prefix}/{key}": value for key, value in plain.items()}


def evaluate(
    subject: Subject,
    latents: Dictionary,
    corpus: Corpus,
    *,
    split: Split = "report",
    max_tokens: int = 20_000,
    loss_tokens: int | None = None,
    context_size: int = 128,
    ablation: Ablation = "zero",
    indices: Iterable[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    kept: KeptActivations | None = None,
) -> SaeEvaluation:
    """Measures a dictionary on documents of a split that it was not trained on.

    Reads documents (`indices`, in order; all by default) until `max_tokens` tokens of the split are
    reached. Reconstructions are spliced in at counted positions only: BOS and template tokens keep their
    activation, as no SAE is trained on them. The cross-entropy is of the counted tokens, predicted from all;
    the KL is of the predictions made at counted tokens. Both take the logits of four passes, so they are
    measured on a random sample of these documents with about `loss_tokens` tokens (default:
    `loss_tokens_at_most`). Activations that `kept` has are read from there.

    Raises:
        UserError: no token of the split counts.
    """
    held_out = held_out_batches(subject, corpus, split, max_tokens, context_size, indices)
    most = loss_tokens_at_most(subject) if loss_tokens is None else loss_tokens
    sample = held_out
    if sum(batch.n_counted for batch in held_out) > most:
        read = np.unique(np.concatenate([batch.document for batch in held_out]))
        drawn = np.random.default_rng(seed).permutation(read).tolist()
        sample = held_out_batches(subject, corpus, split, most, context_size, drawn)
    return evaluate_batches(
        subject, latents, held_out, split, sample, ablation=ablation, seed=seed, progress=progress, kept=kept
    )


def loss_tokens_at_most(subject: Subject) -> int:
    """Tokens on which losses are measured unless it is said: 2^30 logits a pass, 4,096 of 262,144 words."""
    return max(1, LOSS_LOGITS // subject.d_vocab)


def evaluate_batches(
    subject: Subject,
    latents: Dictionary,
    held_out: list[Batch],
    split: str,
    loss_sample: list[Batch] | None = None,
    *,
    ablation: Ablation = "zero",
    seed: int = 0,
    progress: Progress | None = None,
    kept: KeptActivations | None = None,
) -> SaeEvaluation:
    """Measures a dictionary as `evaluate` does, on given batches; `split` only labels the result.

    Losses are measured on all of them, or on those of `loss_sample`.
    """
    figures = RunningFigures(activation_width(subject, latents.target), latents.n_features)
    documents = Documents(held_out if loss_sample is None else loss_sample)
    with (progress or silent()).task(
        "evaluating the dictionary", total=len(held_out) + 4 * len(documents.batches), unit="batches"
    ) as advance:
        for batch in held_out:
            _measure(subject, latents, batch, figures, kept)
            advance(1)
        level = figures.mean.float() if ablation == "mean" else torch.zeros(len(figures.mean))
        clean, under = document_losses(
            subject,
            documents,
            {
                "ablated": _splice(latents, lambda x, y: level.to(y.device).expand_as(y)),
                "spliced": _splice(latents, lambda x, y: latents.reconstruct(x)),
                "with error": _splice(latents, lambda x, y: _with_error(latents.reconstruct(x), y)),
            },
            advance,
        )
    share = recovered(clean, under["spliced"].cross_entropy, under["ablated"].cross_entropy, seed)
    rates = figures.firing_rates
    n_predicted, n_counted = documents.n_predicted.sum(), documents.n_counted.sum()
    cross_entropy = {name: float(each.cross_entropy.sum() / n_predicted) for name, each in under.items()}
    kl = {name: float(each.kl.sum() / n_counted) for name, each in under.items()}
    return SaeEvaluation(
        split=split,
        n_documents=len(Documents(held_out).n_counted),
        n_tokens=figures.n_tokens,
        n_loss_documents=len(clean),
        n_loss_tokens=int(n_counted),
        l0=float(rates.sum()),
        explained_variance=figures.explained_variance,
        mean_squared_error=figures.mean_squared_error,
        cross_entropy_clean=float(clean.sum() / n_predicted),
        cross_entropy_spliced=cross_entropy["spliced"],
        cross_entropy_with_error=cross_entropy["with error"],
        cross_entropy_ablated=cross_entropy["ablated"],
        kl_spliced=kl["spliced"],
        kl_with_error=kl["with error"],
        kl_ablated=kl["ablated"],
        ablation=ablation,
        cross_entropy_recovered=share.value,
        cross_entropy_recovered_interval=(share.low, share.high),
        n_dead=int((rates == 0).sum()),
        n_dense=n_dense(rates),
        firing_rates=rates.tolist(),
        rate_histogram=rate_histogram(rates),
    )


def training_probe(
    subject: Subject,
    site: Site,
    corpus: Corpus,
    *,
    target: Site | None = None,
    split: Split = "select",
    max_tokens: int = 4096,
    context_size: int = 128,
) -> Callable[[Replace], dict[str, float]]:
    """Makes an `evaluate` for `train`, which gives the cross-entropy recovered so far (over zero ablation).

    Measured on a few documents of a split that is neither trained nor reported on (a quarter of
    `loss_tokens_at_most`, if that is fewer tokens); the unchanged and the ablated model's losses are computed
    once, on the first call. `target` is the site a transcoder predicts.

    Raises:
        UserError: no token of the split counts.
    """
    most = min(max_tokens, max(1, loss_tokens_at_most(subject) // 4))
    documents = Documents(held_out_batches(subject, corpus, split, most, context_size))

    def splice(replace: Callable[[Tensor, Tensor], Tensor]) -> Splice:
        return Splice(site, target or site, replace)

    @cache
    def ends() -> tuple[float, float]:
        clean, under = document_losses(subject, documents, {"": splice(lambda x, y: torch.zeros_like(y))})
        return float(clean.sum()), float(under[""].cross_entropy.sum())

    def probe(reconstruct: Replace) -> dict[str, float]:
        clean, ablated = ends()
        spliced = float(spliced_losses(subject, documents, splice(lambda x, y: reconstruct(x))).sum())
        return {"sae/cross_entropy_recovered": (ablated - spliced) / (ablated - clean)}

    return probe


def held_out_batches(
    subject: Subject,
    corpus: Corpus,
    split: Split,
    max_tokens: int,
    context_size: int,
    indices: Iterable[int] | None = None,
    tokens_per_batch: int = 4096,
) -> list[Batch]:
    """Makes batches of the first documents of a split, until `max_tokens` tokens are reached.

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
    held_out = list(batches(corpus, chosen, subject.row_layout, context_size, tokens_per_batch))
    if not any(batch.n_counted for batch in held_out):
        raise UserError(
            f"no token of the split {split!r} counts",
            corpus.name,
            "give documents with text outside templates",
        )
    return held_out


def _splice(latents: Dictionary, replace: Callable[[Tensor, Tensor], Tensor]) -> Splice:
    return Splice(latents.site, latents.target, replace)


def _with_error(reconstruction: Tensor, y: Tensor) -> Tensor:
    return reconstruction + (y - reconstruction)


def _measure(
    subject: Subject,
    latents: Dictionary,
    batch: Batch,
    figures: RunningFigures,
    kept: KeptActivations | None,
) -> None:
    keep = torch.from_numpy(batch.counts)
    read: list[Tensor] = []

    def look(activation: Tensor) -> None:
        read.append(activation[keep.to(activation.device)].flatten(1))

    def take(activation: Tensor) -> None:
        y = activation[keep.to(activation.device)].flatten(1)
        x = read.pop() if read else y
        figures.add(y, latents.reconstruct(x), latents.encode(x))

    same = latents.site == latents.target
    visitors = {latents.target: take} if same else {latents.site: look, latents.target: take}
    visit_batch(subject, batch, visitors, kept)
