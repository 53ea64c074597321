"""The base class of pages, which read the tables that an experiment's steps wrote."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

import pandas as pd

from interp.config import ExperimentConfig
from interp.render.figure import Figure
from interp.render.page import Page, Section, StudiedModel, render_page
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from .facts import run_facts, step_seconds, subject_facts

AnyConfig = TypeVar("AnyConfig", bound=ExperimentConfig)


class ExperimentPage(ABC, Generic[AnyConfig]):
    """A page in the frame that all pages share; a subclass adds its question, words, limits and figures.

    Reads its tables (`run.table(name)`) when it is made; `subject` is None where no model was run.
    """

    words: ClassVar[Sequence[tuple[str, str]]] = ()
    """Terms and their definitions."""
    limits: ClassVar[Sequence[str]] = ()
    """Sentences on what the results do not show."""

    def __init__(self, run: Run, config: AnyConfig, subject: Subject | None = None) -> None:
        self.run, self.config, self.subject = run, config, subject

    @abstractmethod
    def question(self) -> str:
        """What was asked."""

    @abstractmethod
    def opening(self) -> Sequence[str]:
        """Returns three plain sentences; the last one is the verdict."""

    @abstractmethod
    def headline(self) -> Figure:
        """Returns the figure that shows the verdict."""

    @abstractmethod
    def sections(self) -> Sequence[Section]:
        """The evidence."""

    def caveats(self) -> Sequence[str]:
        """Returns the limits; a page adds those of this run alone."""
        return self.limits

    def studied(self) -> StudiedModel | None:
        """Returns the model's name and sizes; None if no model was run."""
        return None if self.subject is None else subject_facts(self.subject)

    @cached_property
    def page(self) -> Page:
        """The whole page."""
        return Page(
            self.question(),
            self.opening(),
            self.headline(),
            self.sections(),
            self.words,
            self.caveats(),
            self.studied(),
            run_facts(self.run),
            step_seconds(self.run),
        )

    def figures(self) -> list[Figure]:
        """Returns the headline and the figures of all sections."""
        return self.page.figures()

    def html(self) -> str:
        """Renders the whole page as HTML."""
        return render_page(self.page)


def estimate_of(frame: pd.DataFrame, measure: str, **where: object) -> Estimate:
    """Returns a measure from the first row whose columns have these values; unknown if no row has."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return Estimate() if frame.empty else Estimate.of(frame.iloc[0].to_dict(), measure)
