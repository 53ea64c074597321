"""How an experiment ends: a page in the frame that all pages share, and its figures as files."""

from collections.abc import Sequence
from typing import Protocol

from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.page import Figure, Page, Section
from interp.subject import Subject
from interp.track.run import Run


class ReportPage(Protocol):
    """A page, and its figures as files of their own."""

    def page(self) -> Page:
        """The whole page."""
        ...

    def files(self) -> dict[str, str]:
        """The figures, by name."""
        ...


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
