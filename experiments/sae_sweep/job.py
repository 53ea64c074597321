"""The steps of `sae_sweep`: those of `train_saes`, with the frontier as its page."""

from typing import Any

from experiments.sae_sweep.config import Config
from experiments.sae_sweep.page import SweepPage
from experiments.train_saes.job import Job as TrainSaes


class Job(TrainSaes):
    """Dictionaries of every sparsity and width."""

    config: Config

    def rows(self) -> list[dict[str, Any]]:
        """With the sparsity of each."""
        return [{"dictionary": plan.name, "sparsity": sparsity} for plan, _, sparsity in self.config.grid()]

    def evidence(self) -> SweepPage:
        """The frontier."""
        return SweepPage(self.run, self.subject, self.corpus, self.config)
