"""Principal directions of a subject's activations: the baseline that needs no training."""

import torch
from jaxtyping import Float
from torch import Tensor

from interp.corpus.activations import KeptActivations, visit_batch
from interp.corpus.batches import batches
from interp.document import Corpus, Split
from interp.errors import UserError
from interp.features.directions import Directions
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent


def principal_directions(
    subject: Subject,
    site: Site,
    corpus: Corpus,
    n_directions: int | None = None,
    *,
    split: Split = "explain",
    context_size: int = 128,
    tokens_per_batch: int = 8192,
    progress: Progress | None = None,
    kept: KeptActivations | None = None,
) -> Directions:
    """Finds the directions along which the site's activations vary most, largest variance first.

    One pass over the counted tokens of `split` sums outer products in float64, so memory does not grow with
    the corpus. `n_directions` defaults to the width of the site, which is also the most there are. The sign
    of a direction is free: its entry of the largest size is made positive. Activations that `kept` has are
    read from there. Pearson 1901; Hotelling 1933.

    Raises:
        UserError: the site is not in the residual stream's space, more directions than its width are asked
            for, or fewer than two tokens of the split count.
    """
    width = subject.site_width(site)
    wanted = width if n_directions is None else n_directions
    if not 1 <= wanted <= width:
        raise UserError(
            f"{site} has no {wanted} principal directions", "principal directions", f"ask for 1 to {width}"
        )
    moments = _Moments(width)
    task = f"principal directions of {site}"
    with (progress or silent()).task(task, total=len(corpus), unit="documents") as advance:
        for batch in batches(corpus, range(len(corpus)), subject.row_layout, context_size, tokens_per_batch):
            advance(int(batch.first.sum()))
            if batch.split != split:
                continue
            keep = torch.from_numpy(batch.counts)

            def take(activation: Tensor, keep: Tensor = keep) -> None:
                moments.add(activation[keep.to(activation.device)])

            visit_batch(subject, batch, {site: take}, kept)
    if moments.n < 2:
        raise UserError(
            f"{moments.n} tokens of the split {split!r} count", corpus.name, "give more documents"
        )
    return Directions(subject, f"pca.{site}", site, moments.directions(wanted))


class _Moments:
    """The sum and the outer products of activations so far, about the first batch's mean."""

    def __init__(self, width: int) -> None:
        self.n = 0
        self._origin: Tensor | None = None
        self._sum = torch.zeros(width, dtype=torch.float64)
        self._product = torch.zeros(width, width, dtype=torch.float64)

    def add(self, activations: Float[Tensor, "token d_model"]) -> None:
        x = activations.double().cpu()
        if len(x) == 0:
            return
        if self._origin is None:
            self._origin = x.mean(0)
        x = x - self._origin
        self.n += len(x)
        self._sum += x.sum(0)
        self._product += x.T @ x

    def directions(self, n: int) -> Float[Tensor, "direction d_model"]:
        covariance = (self._product - torch.outer(self._sum, self._sum) / self.n) / (self.n - 1)
        vectors: Tensor = torch.linalg.eigh(covariance).eigenvectors.flip(1).T[:n]
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        return (vectors * largest.sign()).float()
