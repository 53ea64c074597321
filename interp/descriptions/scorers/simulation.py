"""The simulation score: how well activations simulated from a description correlate with the true ones.

After Bills et al. 2023 (OpenAI, "Language models can explain neurons in language models"): one correlation
over the tokens of all windows. It is raw: a description that predicts the opposite scores below zero.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp.descriptions.candidate import Candidate, Simulated, Simulator
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.score import Measured, Score, Statistics, auroc, correlations, statistics


@dataclass(frozen=True)
class SimulationScore:
    """The scores of a description on its feature's windows.

    `top` is the correlation on the feature's strongest windows, `random` on windows drawn without regard to
    it, `both` on equally many of both. `detection` is the probability that the largest
    prediction is larger on a top window than on a random one (AUROC). `measured` are the statistics of
    the correlations; `failures` of `windows` windows were left out, as answers could not be parsed.
    """

    top: Score
    random: Score
    both: Score
    detection: float
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
    shown = [*top, *random]
    simulated = await asyncio.gather(*(simulator.simulate(one, shown) for one in (candidate, *nulls)))
    own, *foreign = [_measured(one, top, random) for one in simulated]
    found = correlations(own, foreign, seed)
    peaks = [None if one is None else float(one.max(initial=-np.inf)) for one in simulated[0].values]
    strong, weak = (
        [peak for peak in part if peak is not None] for part in (peaks[: len(top)], peaks[len(top) :])
    )
    return SimulationScore(
        found.top, found.random, found.both, auroc(strong, weak), own, len(shown), simulated[0].failures
    )


def _measured(simulated: Simulated, top: Sequence[Excerpt], random: Sequence[Excerpt]) -> Measured:
    def of(excerpts: Sequence[Excerpt], values: Sequence[np.ndarray | None]) -> Statistics:
        read = [(e.window, v) for e, v in zip(excerpts, values, strict=True) if v is not None]
        return statistics([window for window, _ in read], [value for _, value in read])

    return Measured(of(top, simulated.values[: len(top)]), of(random, simulated.values[len(top) :]))
