"""Draws numbers, and tells their mean."""

import numpy as np

from interp.track.step import Step

from ..common.job import ExperimentJob
from .config import Config


class Job(ExperimentJob[Config]):
    """One step."""

    def steps(self) -> None:
        """Does it."""

        def draw(step: Step) -> None:
            step.metric("draw/mean", np.random.normal(size=self.config.draws).mean(), headline=True)

        self.run.step("draw", draw)
