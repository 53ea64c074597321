"""What the experiments on vectors share: neutral text, beside a model."""

from typing import TypeVar

from experiments.common.job import SubjectJob
from experiments.common.vectors.config import VectorConfig
from interp.causal.side_effects import neutral_beginnings
from interp.track.run import Run

VectorConfigured = TypeVar("VectorConfigured", bound=VectorConfig)


class VectorJob(SubjectJob[VectorConfigured]):
    """Has neutral text to choose by (select split) and to report on (report split)."""

    def __init__(self, config: VectorConfigured, run: Run) -> None:
        super().__init__(config, run)
        corpus = self.open_corpus(config.neutral, self.subject)
        self.to_choose_by, self.neutral = (
            neutral_beginnings(self.subject, corpus, config.neutral_texts, seed=config.seed, split=split)
            for split in ("select", "report")
        )
