"""Base classes of jobs: a config, a run, a model, its text, and the step that writes the page."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from interp.config import ExperimentConfig
from interp.corpus.activations import KeptActivations
from interp.corpus.source import CorpusSource
from interp.corpus.text import TextCorpus
from interp.document import Corpus
from interp.engine.config import EngineConfig
from interp.engine.engine import Engine
from interp.engine.opening import opened
from interp.render.figure import Figure
from interp.subject import Site, Subject, load
from interp.subject.load import SubjectConfig
from interp.track.files import publish, write_text
from interp.track.run import Run
from interp.track.step import Step

from .config import CorpusJobConfig, KeepingJobConfig, SharedJobConfig, SubjectJobConfig


class Drawable(Protocol):
    """What can be written as a page: figures and HTML."""

    def figures(self) -> Sequence[Figure]:
        """Returns all figures; their names are unique."""
        ...

    def html(self) -> str:
        """The whole page."""
        ...


AnyConfig = TypeVar("AnyConfig", bound=ExperimentConfig)
SubjectConfigured = TypeVar("SubjectConfigured", bound=SubjectJobConfig)
CorpusConfigured = TypeVar("CorpusConfigured", bound=CorpusJobConfig)


class ExperimentJob(ABC, Generic[AnyConfig]):
    """The steps of an experiment, in order; those that have finished are skipped."""

    def __init__(self, config: AnyConfig, run: Run) -> None:
        self.config, self.run = config, run
        self.opened = ExitStack()
        """What the steps opened, to be closed when they end."""

    @abstractmethod
    def steps(self) -> None:
        """Runs all steps."""

    def open_subject(self, config: SubjectConfig) -> Subject:
        """Loads a model; the manifest records its backend and the largest difference from `transformers`.

        Raises:
            UserError: as `interp.load`.
        """
        subject = load(**config.model_dump())
        assert subject.gap is not None
        self.run.note(
            "subjects",
            {
                "name": subject.name,
                "architecture": subject.info.architecture,
                "backend": subject.backend,
                "device": str(subject.device),
                "dtype": str(subject.dtype).removeprefix("torch."),
                "processing": subject.processing,
                "quantize": subject.quantize,
                "gap": asdict(subject.gap),
            },
        )
        return subject

    def open_corpus(self, source: CorpusSource, subject: Subject) -> Corpus:
        """Opens text for a model, its tokens in the run's folder; each step counts what is unusual in it.

        Raises:
            UserError: as the source's `open`.
        """
        corpus = source.open(subject, folder=self.run.folder, progress=self.run.progress)
        if isinstance(corpus, TextCorpus):
            self.run.watch("unusual_text", corpus.unusual.counts)
        return corpus

    def publish(self, folder: Path, name: str) -> None:
        """Copies the files that a finished step wrote into the folder NAME of the run."""
        for file in sorted(folder.iterdir()):
            publish(file, self.run.folder / name / file.name)

    def write_page(self, made: Callable[[], Drawable]) -> None:
        """Runs the last step, `report`, which writes the page, and its figures as separate files."""

        def write(step: Step) -> None:
            page = made()
            for figure in page.figures():
                step.figure(figure)
            write_text(step.folder / "report.html", page.html())

        self.run.publish_report(self.run.step("report", write) / "report.html")


class SubjectJob(ExperimentJob[SubjectConfigured]):
    """A job on one model."""

    def __init__(self, config: SubjectConfigured, run: Run) -> None:
        super().__init__(config, run)
        self.subject = self.open_subject(config.subject)

    @cached_property
    def engine(self) -> Engine:
        """Where long parts of the work are computed: opened when it is first asked for, until the job ends.

        Raises:
            UserError: as `interp.engine.opening.opened`.
        """
        options = self.config.engine if isinstance(self.config, SharedJobConfig) else EngineConfig()
        return self.opened.enter_context(opened(options, self.run.progress, str(self.subject.device)))


class CorpusJob(SubjectJob[CorpusConfigured]):
    """A job on one model and its text."""

    def __init__(self, config: CorpusConfigured, run: Run) -> None:
        super().__init__(config, run)
        self.corpus = self.open_corpus(config.corpus, self.subject)

    def keep_activations(self, sites: Sequence[Site]) -> KeptActivations | None:
        """Opens the folder `activations` of the run for these sites; None if the config keeps none.

        Raises:
            UserError: what is there is damaged.
        """
        if not isinstance(self.config, KeepingJobConfig) or self.config.activations is None:
            return None
        folder, options = self.run.folder / "activations", self.config.activations
        return KeptActivations(folder, self.subject, self.corpus, sites, options, self.run.tell)
