"""The steps of `train_saes`."""

from ..common.dictionaries.training import TrainingJob
from .config import Config
from .page import TrainingPage


class Job(TrainingJob[Config]):
    """Trains and measures dictionaries at any sites."""

    def steps(self) -> None:
        """Trains, measures, and writes the page."""
        self.train_and_measure()
        self.write_page(lambda: TrainingPage(self.run, self.config, self.subject, self.corpus))
