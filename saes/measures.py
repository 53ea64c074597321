"""Running sums from which an SAE's figures are computed, and statistics of these."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from interp.statistics.estimate import Estimate, central, resamples

_LOWEST_DECADE = -6
_DENSE = 0.1


class RunningFigures:
    """Running sums for explained variance, error, sparsity and firing rates, in double precision.

    Tokens come in pieces of any size; memory does not grow with their number.
    """

    def __init__(self, width: int, n_latents: int) -> None:
        self.n_tokens = 0
        self._sum = torch.zeros(width, dtype=torch.float64)
        self._squares = 0.0
        self._error = 0.0
        self._fired = torch.zeros(n_latents, dtype=torch.int64)

    def add(
        self,
        x: Float[Tensor, "token d_in"],
        x_hat: Float[Tensor, "token d_in"],
        latents: Float[Tensor, "token latent"],
    ) -> None:
        """Adds some tokens' activations, reconstructions and latents."""
        self.n_tokens += len(x)
        self._sum += x.double().sum(0).cpu()
        self._squares += float(x.double().square().sum())
        self._error += float((x.double() - x_hat.double()).square().sum())
        self._fired += (latents != 0).sum(0).cpu()

    @property
    def explained_variance(self) -> float:
        """1 - sum |x - x_hat|^2 / sum |x - mean(x)|^2 (SAELens' definition since its pull request 665)."""
        total = self._squares - float(self._sum.square().sum()) / self.n_tokens
        return 1.0 - self._error / total

    @property
    def mean_squared_error(self) -> float:
        """Mean over tokens of |x - x_hat|^2."""
        return self._error / self.n_tokens

    @property
    def firing_rates(self) -> Float[Tensor, " latent"]:
        """Share of tokens on which each latent is active."""
        return self._fired.double() / self.n_tokens

    @property
    def mean(self) -> Float[Tensor, " d_in"]:
        """Mean activation of the tokens so far."""
        return self._sum / self.n_tokens


def rate_histogram(rates: Float[Tensor, " latent"]) -> dict[str, int]:
    """Counts latents per decade of the firing rate, from `never` over `1e-06` (and below) to `1e-01`."""
    counts = {"never": int((rates == 0).sum())}
    decades = torch.floor(torch.log10(rates[rates > 0])).clamp(_LOWEST_DECADE, -1)
    return counts | {f"1e{edge:03d}": int((decades == edge).sum()) for edge in range(_LOWEST_DECADE, 0)}


def n_dense(rates: Float[Tensor, " latent"]) -> int:
    """Latents that are active on more than a tenth of the tokens."""
    return int((rates > _DENSE).sum())


def recovered(
    clean: NDArray[np.float64],
    spliced: NDArray[np.float64],
    ablated: NDArray[np.float64],
    seed: int = 0,
    draws: int = 2000,
) -> Estimate:
    """Cross-entropy recovered and its 95% percentile interval, from summed losses per document [document].

    A resample draws documents with replacement and takes the ratio of the sums, so longer documents
    weigh more, as they do in the point estimate.
    """

    def ratio(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((weights @ (ablated - spliced)) / (weights @ (ablated - clean)))

    n = len(clean)
    drawn = resamples(n, draws, np.random.default_rng(seed)).astype(np.float64)
    return Estimate(float(ratio(np.ones((1, n)))[0]), *central(ratio(drawn)))
