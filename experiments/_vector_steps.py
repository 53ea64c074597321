"""What the experiments on vectors share: a subject, neutral text, saved vectors and a page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from experiments._vector_config import VectorConfig
from interp.causal.side_effects import neutral_beginnings
from interp.corpus.source import open_corpus
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.page import Figure, Page, Section, render_page
from interp.subject import Subject, load
from interp.track.files import publish, write_text
from interp.track.run import Run
from interp.track.step import Step


class VectorPage(Protocol):
    """A page, and its figures as files of their own."""

    def page(self) -> Page:
        """The whole page."""
        ...

    def files(self) -> dict[str, str]:
        """The figures, by name."""
        ...


class VectorExperiment:
    """The subject of a run, and neutral text to choose by (select split) and to report on (report split)."""

    def __init__(self, config: VectorConfig, run: Run) -> None:
        self.steps = run
        self.subject: Subject = load(**config.subject.model_dump())
        corpus = open_corpus(config.neutral, self.subject)
        self.to_choose_by, self.neutral = (
            neutral_beginnings(self.subject, corpus, config.neutral_texts, seed=config.seed, split=split)
            for split in ("select", "report")
        )

    def publish_vectors(self, folder: Path) -> None:
        """Puts the vectors that a step has saved, and their cards, into the run's folder."""
        for file in sorted(folder.iterdir()):
            publish(file, self.steps.folder / "vectors" / file.name)

    def report(self, made: Callable[[], VectorPage]) -> None:
        """The last step: the page and its figures."""

        def write(step: Step) -> None:
            page = made()
            for name, svg in page.files().items():
                step.figure(name, svg)
            write_text(step.folder / "report.html", render_page(page.page()))

        written = self.steps.step("report", write) / "report.html"
        self.steps.write_report(written.read_text())


def framed(
    run: Run,
    subject: Subject,
    question: str,
    opening: Sequence[str],
    headline: Figure,
    sections: Sequence[Section],
    words: Sequence[tuple[str, str]],
    limits: Sequence[str],
) -> Page:
    """A page with what every page says of its subject and its run."""
    facts = subject_facts(subject), run_facts(run), step_seconds(run)
    return Page(question, opening, headline, sections, words, limits, *facts)
