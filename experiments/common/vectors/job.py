"""What the experiments on vectors share: neutral text beside a model, and questions about other things."""

from collections.abc import Sequence
from typing import TypeVar

import pandas as pd

from interp.causal.side_effects import neutral_beginnings, side_effects
from interp.corpus.questions import open_questions
from interp.subject.forward import Intervention
from interp.track.run import Run
from interp.vectors.sweep import answered

from ..job import SubjectJob
from .config import BehaviourConfig, VectorConfig

VectorConfigured = TypeVar("VectorConfigured", bound=VectorConfig)
BehaviourConfigured = TypeVar("BehaviourConfigured", bound=BehaviourConfig)


class VectorJob(SubjectJob[VectorConfigured]):
    """Has neutral text to choose by (select split) and to report on (report split)."""

    def __init__(self, config: VectorConfigured, run: Run) -> None:
        super().__init__(config, run)
        corpus = self.open_corpus(config.neutral, self.subject)
        self.to_choose_by, self.neutral = (
            neutral_beginnings(self.subject, corpus, config.neutral_texts, seed=config.seed, split=split)
            for split in ("select", "report")
        )


class BehaviourJob(VectorJob[BehaviourConfigured]):
    """Has questions about other things, too, on which steering should change nothing."""

    def __init__(self, config: BehaviourConfigured, run: Run) -> None:
        super().__init__(config, run)
        asked = config.others
        self.others = [] if asked is None else open_questions(asked, self.subject, config.seed)

    def costs(self, edits: Sequence[Intervention], **names: str | float | int) -> pd.DataFrame:
        """Side effects on neutral text; `others` is the share of right answers to the other questions."""
        found = side_effects(self.subject, self.neutral, edits, **names)
        if self.others:
            found["others"] = float(answered(self.subject, self.others, edits)["right"].mean())
        return found
