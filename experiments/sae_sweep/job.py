"""The steps of `sae_sweep`."""

from typing import Any

from saes.train import Plan

from ..common.dictionaries.training import TrainingJob
from .config import Config
from .page import SweepPage


class Job(TrainingJob[Config]):
    """Trains and measures dictionaries of every sparsity and width."""

    def steps(self) -> None:
        """Trains, measures, and writes the page."""
        self.train_and_measure()
        self.write_page(lambda: SweepPage(self.run, self.config, self.subject, self.corpus))

    def described(self, plan: Plan) -> dict[str, Any]:
        """Adds the sparsity setting of the config."""
        architecture = plan.training.architecture
        sparsity = float(getattr(architecture, architecture.sparsity_key))
        return {"dictionary": plan.name, "sparsity": sparsity} | super().described(plan)
