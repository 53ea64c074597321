"""`interp bench sae`: our SAE training loop against SAELens' own, on the same activations in one process.

Compared: `saes.fit.fit` and SAELens' `SAETrainer.fit`, both with SAELens' weights, losses, Adam, gradient
clipping and learning-rate schedule, the same settings, seed and cached activations of the bundled model
(resid_post of layer 4), no logging, no checkpoints. Each shuffles the activations in its own way: ours by
buffer, SAELens' by its mixing buffer. SAELens gets its input scale for nothing. Each round runs both,
alternating which goes first; the figure is the median over rounds of the ratio of steps per second. For TopK
our step differs (`saes.sparse`); for the others both use SAELens' step, so the ratio compares the loops.

The time of a step is also set against its floor: five matrix products of batch x width x latents.

`interp bench sae_stream` has the loop from text to weights.
"""

import io
import statistics
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

import torch
from sae_lens.training.mixing_buffer import mixing_buffer
from torch import Tensor

import interp.subject
from interp.bundled.world.corpus import WorldCorpus
from interp.subject import Site
from saes import sparse
from saes.config import SaeTraining
from saes.fit import fit
from saes.fitting import build_trainer
from saes.stream import SubjectActivations

SITE = Site("resid_post", 4)
ROUNDS = 5
STEPS = 16
CASES: dict[str, dict[str, Any]] = {
    "topk 128 -> 1024, k 16": {"architecture": {"kind": "topk", "k": 16}, "n_latents": 1024},
    "topk 128 -> 4096, k 32": {"architecture": {"kind": "topk", "k": 32}, "n_latents": 4096},
    "standard 128 -> 1024": {"architecture": {"kind": "standard"}, "n_latents": 1024},
    "gated 128 -> 1024": {"architecture": {"kind": "gated"}, "n_latents": 1024},
    "jumprelu 128 -> 1024": {"architecture": {"kind": "jumprelu"}, "n_latents": 1024},
    "batchtopk 128 -> 1024, k 16": {"architecture": {"kind": "batchtopk"}, "n_latents": 1024},
    "matryoshka 128 -> 1024, k 16": {"architecture": {"kind": "matryoshka"}, "n_latents": 1024},
    "matching pursuit 128 -> 1024, 8": {
        "architecture": {"kind": "matching_pursuit", "max_latents": 8},
        "n_latents": 1024,
    },
}


class Cached:
    """A source that gives one buffer of activations again and again."""

    def __init__(self, activations: Tensor) -> None:
        self.width = activations.shape[1]
        self._activations = activations

    def buffer(self, cursor: int) -> tuple[Tensor, int]:
        """The buffer, whatever the cursor."""
        return self._activations, cursor + 1


def ours(config: SaeTraining, activations: Tensor) -> float:
    """Steps per second of `saes.fit.fit`."""
    start = time.perf_counter()
    fit(config, Cached(activations))
    return config.n_steps / (time.perf_counter() - start)


def theirs(config: SaeTraining, activations: Tensor) -> float:
    """Steps per second of SAELens' `SAETrainer.fit` with SAELens' own SAE class."""
    available = sparse.available
    sparse.available = lambda device, dtype: False
    try:
        start = time.perf_counter()
        trainer = build_trainer(config, activations.shape[1])
    finally:
        sparse.available = available
    trainer.activation_scaler.scaling_factor = activations.shape[1] ** 0.5 / float(
        activations.norm(dim=-1).mean()
    )
    pieces = _cycle(torch.split(activations, config.batch_tokens))
    trainer.data_provider = mixing_buffer(config.buffer_tokens, config.batch_tokens, pieces)
    with redirect_stderr(io.StringIO()):
        trainer.fit()
    return config.n_steps / (time.perf_counter() - start)


def floor(config: SaeTraining, width: int) -> float:
    """Seconds of the five matrix products that a dense step cannot do without."""
    x, weights = torch.randn(config.batch_tokens, width), torch.randn(width, config.n_latents)
    latents = x @ weights
    start = time.perf_counter()
    for _ in range(config.n_steps):
        _ = x @ weights, latents @ weights.T, x.T @ latents, latents.T @ x, x @ weights
    return (time.perf_counter() - start) / config.n_steps


def _cycle(batches: tuple[Tensor, ...]) -> Iterator[Tensor]:
    while True:
        yield from batches


def main() -> dict[str, float]:
    """Prints and returns the ratio of steps per second, ours over SAELens', for each case."""
    subject = interp.subject.load("world")
    source = SubjectActivations(subject, [SITE], WorldCorpus(1, 20_000), seed=0, buffer_tokens=16_384)
    activations = source.buffers(0)[0][SITE][:16_384].clone()
    print(f"{STEPS} steps of 2,048 activations a round, {ROUNDS} rounds, {torch.get_num_threads()} threads")
    ratios: dict[str, float] = {}
    for name, case in CASES.items():
        config = SaeTraining(training_tokens=STEPS * 2048, batch_tokens=2048, buffer_tokens=16_384, **case)
        pairs = []
        for round_number in range(ROUNDS + 1):
            if round_number % 2:
                speed, reference = ours(config, activations), theirs(config, activations)
            else:
                reference, speed = theirs(config, activations), ours(config, activations)
            if round_number:  # the first round warms up
                pairs.append((speed, reference))
        ratios[name] = statistics.median(speed / reference for speed, reference in pairs)
        speed, reference = (statistics.median(side) for side in zip(*pairs, strict=True))
        least = min(floor(config, activations.shape[1]) for _ in range(ROUNDS))
        print(
            f"{name:32s} {speed:6.1f} steps/s, SAELens {reference:6.1f}: ratio {ratios[name]:.2f}; "
            f"of the floor {1 / speed / least:.1f}, SAELens {1 / reference / least:.1f}"
        )
    return ratios


if __name__ == "__main__":
    main()
