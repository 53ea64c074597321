"""A judge made of a simulator: its predictions for a text rate whether the description fits."""

from collections.abc import Sequence

from interp.descriptions.candidate import SCALE, Candidate, Shown, Simulator


class SimulatorJudge:
    """The `Judge` that needs no language model of its own.

    A text is rated by the largest predicted activation on a token that counts, marked tokens by their mean,
    as a share of `SCALE`.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    @property
    def name(self) -> str:
        """The simulator."""
        return self._simulator.name

    async def rate(self, candidate: Candidate, shown: Sequence[Shown]) -> list[float | None]:
        """Rates each text by the predicted activations."""
        simulated = await self._simulator.simulate(candidate, [one.excerpt for one in shown])
        ratings: list[float | None] = []
        for values, one in zip(simulated.values, shown, strict=True):
            if values is None:
                ratings.append(None)
            elif one.marked is None:
                ratings.append(float(values[one.excerpt.counts].max(initial=0.0)) / SCALE)
            else:
                ratings.append(float(values[one.marked].mean()) / SCALE if one.marked.any() else 0.0)
        return ratings
