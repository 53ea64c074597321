"""Affine maps between layers of the residual stream, in one model or across two with one vocabulary."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.subject import Subject

RIDGE = 1e-3  # of the variance of each input


@dataclass(frozen=True, eq=False)
class Affine:
    """y = x W + b."""

    weight: Float[Tensor, "source target"]
    bias: Float[Tensor, " target"]

    def __call__(self, vectors: Float[Tensor, "*batch source"]) -> Float[Tensor, "*batch target"]:
        """Maps the vectors; the result is in single precision on the CPU."""
        return (vectors.double().cpu() @ self.weight + self.bias).float()

    def explained(self, source: Float[Tensor, "n source"], target: Float[Tensor, "n target"]) -> float:
        """The share of the target's variance that the map explains (R squared); 1 is a perfect fit."""
        target = target.double().cpu()
        error = (self(source).double() - target).square().sum()
        return float(1 - error / (target - target.mean(0)).square().sum())


def fit_affine(
    source: Float[Tensor, "n source"], target: Float[Tensor, "n_targets target"], ridge: float = RIDGE
) -> Affine:
    """Fits the least-squares map with a bias, in double precision.

    Ridge regression on standardised inputs, whose penalty is `ridge` times the number of pairs: no one large
    input decides how much the others are shrunk. Inputs that never change are left out.

    Raises:
        UserError: the numbers of sources and targets differ, or there are none.
    """
    if len(source) != len(target) or not len(source):
        raise UserError(
            f"{len(source)} activations cannot be mapped to {len(target)}", "affine map", "give pairs"
        )
    x, y = source.double().cpu(), target.double().cpu()
    x_mean, y_mean = x.mean(0), y.mean(0)
    deviation = x.std(0, correction=0)
    scale = torch.where(deviation > 1e-12 * (x_mean.abs() + deviation), deviation, 1.0)
    x, y = (x - x_mean) / scale, y - y_mean
    penalty = ridge * len(x) * torch.eye(x.shape[1], dtype=torch.double)
    weight = torch.linalg.solve(x.T @ x + penalty, x.T @ y) / scale[:, None]
    return Affine(weight, y_mean - x_mean @ weight)


def check_same_vocabulary(source: Subject, target: Subject) -> None:
    """Raises UserError if the vocabularies of two models differ (names tokens that do)."""
    one, other = source.tokenizer.get_vocab(), target.tokenizer.get_vocab()
    if one == other:
        return
    differing = sorted(word for word in one.keys() | other.keys() if one.get(word) != other.get(word))
    shown = ", ".join(repr(word) for word in differing[:3])
    raise UserError(
        f"{source.name} and {target.name} differ in {len(differing)} of their tokens, such as {shown}",
        "cross-model patchscope",
        "use two models with one tokenizer",
    )
