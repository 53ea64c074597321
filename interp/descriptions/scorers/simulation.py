"""The simulation score: how well activations simulated from a description correlate with the true ones.

After Bills et al. 2023 (OpenAI, "Language models can explain neurons in language models"): one correlation
over the tokens of all windows. It is raw: a description that predicts the opposite scores below zero.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp.descriptions.candidate import Candidate, Simulator
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.score import Correlations, Measured, Statistics, correlations, statistics


@dataclass(frozen=True)
class SimulationScore:
    """A description's correlations, and how many of `windows` windows were left out as unreadable answers."""

    correlations: Correlations
    measured: Measured
    windows: int
    failures: int


async def simulation(
    simulator: Simulator,
    candidate: Candidate,
    top: Sequence[Excerpt],
    random: Sequence[Excerpt],
    nulls: Sequence[Candidate] = (),
    seed: int = 0,
) -> SimulationScore:
    """Scores one description on a feature's strongest windows and on random ones.

    `nulls` are descriptions of other features, simulated on the same windows. All calls are made together.
    """
    measured = await asyncio.gather(*(_measure(simulator, one, top, random) for one in (candidate, *nulls)))
    own, failures = measured[0]
    foreign = [one for one, _ in measured[1:]]
    return SimulationScore(correlations(own, foreign, seed), own, len(top) + len(random), failures)


async def _measure(
    simulator: Simulator, candidate: Candidate, top: Sequence[Excerpt], random: Sequence[Excerpt]
) -> tuple[Measured, int]:
    simulated = await simulator.simulate(candidate, [*top, *random])
    parts = simulated.values[: len(top)], simulated.values[len(top) :]

    def of(excerpts: Sequence[Excerpt], values: Sequence[np.ndarray | None]) -> Statistics:
        read = [(e.window, v) for e, v in zip(excerpts, values, strict=True) if v is not None]
        return statistics([window for window, _ in read], [value for _, value in read])

    return Measured(of(top, parts[0]), of(random, parts[1])), simulated.failures
