"""Mean max cosine similarity: how well one set of directions is found among another."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def nearest_cosines(
    of: Float[Tensor, "direction d"], among: Float[Tensor, "other d"]
) -> tuple[Float[Tensor, " direction"], Int[Tensor, " direction"]]:
    """For every direction, the cosine with the nearest of the others, and which that is.

    Cosines are signed: an opposite direction does not count. A row of zeros has cosine 0 with everything.
    Where there are no others, the cosine is NaN and the place -1.
    """
    if len(among) == 0:
        return torch.full_like(of[:, 0], torch.nan), torch.full((len(of),), -1, device=of.device)
    left, right = (torch.nn.functional.normalize(side, dim=1) for side in (of, among))
    best = (left @ right.T).max(1)
    return best.values, best.indices


def mean_max_cosine(true: Float[Tensor, "feature d"], found: Float[Tensor, "latent d"]) -> float:
    """Mean over the true directions of the cosine with the nearest found one (Sharkey et al. 2022).

    This is the recall of `true`; with the arguments exchanged it is the precision of `found`. Between two
    SAEs, give their decoder rows. More directions in fewer dimensions raise it by chance: hold it against
    the same number of random directions (`random_unit_vectors`).
    """
    return float(nearest_cosines(true, found)[0].mean())


def random_unit_vectors(n: int, d: int, seed: int) -> Float[Tensor, "direction d"]:
    """Unit vectors drawn uniformly from the sphere."""
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)
