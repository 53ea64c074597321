"""The toy model of superposition: sparse features, compressed into fewer dimensions and read out again."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.fields import Extent, NotNegative, Positive, Section, Steps
from interp.track.progress import Progress, silent

Log = Callable[[dict[str, float], int], None]
"""Takes named numbers and the training step they belong to."""


class ToyTraining(Section):
    """How toy models are trained; the defaults are those of Elhage et al. (2022)."""

    steps: Steps = 10_000
    """Steps of AdamW."""
    batch: Extent = 1024
    """Inputs in a step, drawn anew each time."""
    learning_rate: Positive = 1e-3
    """Step size at the start."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """How the step size falls to 0 by the end; `constant` keeps it."""
    weight_decay: NotNegative = 0.01
    """Weight decay of AdamW."""
    log_every: Steps = 200
    """Steps between two logged points."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where they are trained."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        done = step / self.steps
        shares = {"constant": 1.0, "linear": 1 - done, "cosine": math.cos(done * math.pi / 2)}
        return self.learning_rate * shares[self.decay]


@dataclass(frozen=True)
class ToyModels:
    """Toy models side by side: x' = ReLU(W W^T x + b) with a row of W for each feature, linear without ReLU.

    `W` is [model, feature, hidden] (the transpose of the paper's W) and `b` [model, feature].
    """

    W: Float[Tensor, "model feature hidden"]
    b: Float[Tensor, "model feature"]
    linear: bool = False

    def hidden(self, x: Float[Tensor, "model feature batch"]) -> Float[Tensor, "model hidden batch"]:
        """Computes the hidden activations W^T x."""
        return torch.bmm(self.W.transpose(1, 2), x)

    def readout(self, hidden: Float[Tensor, "model hidden batch"]) -> Float[Tensor, "model feature batch"]:
        """Reads the features x' out of hidden activations."""
        out = torch.baddbmm(self.b[:, :, None], self.W, hidden)
        return out if self.linear else out.relu_()

    def loss(
        self, x: Float[Tensor, "model feature batch"], importance: Float[Tensor, " feature"]
    ) -> Float[Tensor, " model"]:
        """sum_i I_i (x_i - x'_i)^2, averaged over the batch, of every model."""
        error = self.readout(self.hidden(x)) - x
        return error.square().mean(2) @ importance

    def gradients(
        self,
        x: Float[Tensor, "model feature batch"],
        importance: Float[Tensor, " feature"],
        work: Float[Tensor, "2 model feature batch"],
    ) -> tuple[Float[Tensor, "model feature hidden"], Float[Tensor, "model feature"]]:
        """Gradients of `loss` for W and b, in closed form, which is several times as fast as autograd.

        `work` is scratch memory: allocating it in every step would take longer than the sums.
        """
        hidden = self.hidden(x)
        back, positive = work
        torch.baddbmm(self.b[:, :, None], self.W, hidden, out=back)
        if self.linear:
            back.sub_(x)
        else:
            torch.sign(back.relu_(), out=positive)
            back.sub_(x).mul_(positive)
        back.mul_((importance * (2 / x.shape[2]))[:, None])
        by_hidden = torch.bmm(self.W.transpose(1, 2), back)
        by_W = torch.bmm(back, hidden.transpose(1, 2)) + torch.bmm(x, by_hidden.transpose(1, 2))
        return by_W, back.sum(2)


def sparse_features(
    batch: int,
    n_features: int,
    density: Float[Tensor, " model"],
    generator: torch.Generator,
    out: Float[Tensor, "model feature batch"] | None = None,
) -> Float[Tensor, "model feature batch"]:
    """Inputs whose features are 0 with probability 1 - density, else uniform in (0, 1], independently.

    One uniform draw u does for both: ReLU(1 - u / density). Fills `out` if that is given.
    """
    if out is None:
        out = torch.empty(len(density), n_features, batch, device=density.device)
    torch.rand(out.shape, generator=generator, out=out)
    return out.mul_(-1 / density[:, None, None]).add_(1).relu_()


def train_toys(
    training: ToyTraining,
    n_hidden: int,
    density: Float[Tensor, " model"],
    importance: Float[Tensor, " feature"],
    *,
    seed: int,
    linear: bool = False,
    log: Log | None = None,
    progress: Progress | None = None,
    description: str = "training toy models",
) -> ToyModels:
    """Trains one model for each entry of `density`, all at once; the same seed gives the same bits.

    Args:
        training: Steps, batch and step size.
        n_hidden: Dimensions of the hidden space.
        density: Probability that a feature is not 0, for each model: 1 - S of the paper.
        importance: Weight I_i of each feature's squared error, the same for all models.
        seed: Seeds weights and inputs; no other random state is used or changed.
        linear: Leaves out the ReLU, which makes it principal component analysis.
        log: Receives `toy/loss`, the mean loss of the models on a batch.
        progress: Shows the steps.
        description: What the progress says.

    Raises:
        UserError: a density is not in (0, 1], or there is no such device.
    """
    if not bool(((density > 0) & (density <= 1)).all()):
        raise UserError("a density is not in (0, 1]", "density", "give probabilities: 1 - S of the paper")
    if training.device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device", "training.device", "use device: cpu")
    device = torch.device(training.device)
    density, importance = density.to(device), importance.to(device)
    generator = torch.Generator(device).manual_seed(seed)
    n_models, n_features = len(density), len(importance)
    spread = (2 / (n_features + n_hidden)) ** 0.5  # Xavier, of each model by itself
    W = torch.randn(n_models, n_features, n_hidden, generator=generator, device=device) * spread
    models = ToyModels(W, torch.zeros(n_models, n_features, device=device), linear)
    optimiser = torch.optim.AdamW(
        [W, models.b], lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    memory = torch.empty(3, n_models, n_features, training.batch, device=device)
    x, work = memory[0], memory[1:]
    with torch.no_grad(), (progress or silent()).task(description, training.steps, "steps") as advance:
        for step in range(training.steps):
            optimiser.param_groups[0]["lr"] = training.rate(step)
            sparse_features(training.batch, n_features, density, generator, out=x)
            W.grad, models.b.grad = models.gradients(x, importance, work)
            if log and ((step + 1) % training.log_every == 0 or step + 1 == training.steps):
                log({"toy/loss": float(models.loss(x, importance).mean())}, step + 1)
            optimiser.step()
            advance(1)
    return ToyModels(W.detach().cpu(), models.b.detach().cpu(), linear)


def held_out_loss(
    models: ToyModels,
    density: Float[Tensor, " model"],
    importance: Float[Tensor, " feature"],
    *,
    seed: int,
    batches: int = 20,
    batch: int = 1024,
) -> Float[Tensor, " model"]:
    """Each model's loss on inputs it was not trained on, if `seed` is not that of the training."""
    generator = torch.Generator().manual_seed(seed)
    losses = [
        models.loss(sparse_features(batch, len(importance), density, generator), importance)
        for _ in range(batches)
    ]
    return torch.stack(losses).mean(0)


def linear_optimum(
    density: Float[Tensor, " model"], importance: Float[Tensor, " feature"], n_hidden: int
) -> Float[Tensor, " model"]:
    """The least loss of a linear model: the variance of all but the most important features, weighted.

    Features are independent, with mean p/2 and variance p/3 - p^2/4 at density p. The bias takes the means,
    and by Eckart & Young (1936) W W^T then best projects on the `n_hidden` most important features, so the
    loss is (p/3 - p^2/4) sum I_i over the others.
    """
    rest = importance.sort(descending=True).values[n_hidden:].sum()
    return (density / 3 - density.square() / 4) * rest
