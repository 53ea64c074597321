"""What the experiments on vectors share: a subject, neutral text and saved vectors."""

from pathlib import Path

from experiments._subject import open_subject
from experiments._text import open_text
from experiments._vector_config import VectorConfig
from interp.causal.side_effects import neutral_beginnings
from interp.subject import Subject
from interp.track.files import publish
from interp.track.run import Run


class VectorExperiment:
    """The subject of a run, and neutral text to choose by (select split) and to report on (report split)."""

    def __init__(self, config: VectorConfig, run: Run) -> None:
        self.steps = run
        self.subject: Subject = open_subject(config.subject, run)
        corpus = open_text(config.neutral, self.subject, run)
        self.to_choose_by, self.neutral = (
            neutral_beginnings(self.subject, corpus, config.neutral_texts, seed=config.seed, split=split)
            for split in ("select", "report")
        )

    def publish_vectors(self, folder: Path) -> None:
        """Puts the vectors that a step has saved, and their cards, into the run's folder."""
        for file in sorted(folder.iterdir()):
            publish(file, self.steps.folder / "vectors" / file.name)
