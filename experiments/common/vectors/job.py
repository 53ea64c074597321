"""Job bases of the experiments on vectors: neutral text, and questions about other things."""

from collections.abc import Sequence
from typing import TypeVar

import pandas as pd

from interp.causal.side_effects import neutral_beginnings, side_effects
from interp.subject.forward import Intervention
from interp.track.run import Run
from interp.vectors.control import Control
from interp.vectors.sweep import answered

from ..job import SubjectJob
from .config import BehaviourConfig, VectorConfig

VectorConfigured = TypeVar("VectorConfigured", bound=VectorConfig)
BehaviourConfigured = TypeVar("BehaviourConfigured", bound=BehaviourConfig)


class VectorJob(SubjectJob[VectorConfigured]):
    """A job with neutral text: the select split to choose by, the report split to report on."""

    def __init__(self, config: VectorConfigured, run: Run) -> None:
        super().__init__(config, run)
        corpus = self.open_corpus(config.neutral, self.subject)
        self.to_choose_by, self.neutral = (
            neutral_beginnings(self.subject, corpus, config.neutral_texts, seed=config.seed, split=split)
            for split in ("select", "report")
        )
        texts = self.to_choose_by.prompts
        self.control = Control.of(self.subject, config.random, texts, config.seed, config.draws)
        if config.random == "activations":
            run.tell(
                "Random vectors vary as activations at the ends of neutral texts do; vectors "
                "of the same length that point in all directions alike would do more harm."
            )


class BehaviourJob(VectorJob[BehaviourConfigured]):
    """A job that also has questions about other things, which steering should not change."""

    def __init__(self, config: BehaviourConfigured, run: Run) -> None:
        super().__init__(config, run)
        asked = config.others
        self.others = [] if asked is None else asked.open(self.subject, config.seed)

    def costs(self, edits: Sequence[Intervention], **names: str | float | int) -> pd.DataFrame:
        """Measures side effects on neutral text; `others` is the share of other questions answered right."""
        found = side_effects(self.subject, self.neutral, edits, **names)
        if self.others:
            found["others"] = float(answered(self.subject, self.others, edits)["right"].mean())
        return found
