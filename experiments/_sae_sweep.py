"""The steps of `sae_sweep`: those of `train_saes`, with the frontier as its page."""

from typing import Any

from experiments._sae_sweep_page import SweepPage
from experiments._train_saes import TrainSaes
from experiments.sae_sweep import Config


class SaeSweep(TrainSaes):
    """Dictionaries of every sparsity and width."""

    config: Config

    def rows(self) -> list[dict[str, Any]]:
        """With the sparsity of each."""
        return [{"dictionary": plan.name, "sparsity": sparsity} for plan, _, sparsity in self.config.grid()]

    def evidence(self) -> SweepPage:
        """The frontier."""
        return SweepPage(self.steps, self.subject, self.corpus, self.config)
