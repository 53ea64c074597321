"""Draws numbers, and tells their mean."""

import numpy as np
import pandas as pd

from interp.track.step import Step

from ..common.job import ExperimentJob
from .config import Config
from .page import ToyPage


class Job(ExperimentJob[Config]):
    """A step and a page."""

    def steps(self) -> None:
        """Does them."""
        self.run.step("draw", self.draw)
        self.write_page(lambda: ToyPage(self.run, self.config))

    def draw(self, step: Step) -> None:
        """Draws."""
        numbers = np.random.normal(size=self.config.draws)
        step.table("numbers", pd.DataFrame({"number": numbers}))
        step.estimate("draw/mean", numbers.mean(), numbers.min(), numbers.max(), headline=True)
