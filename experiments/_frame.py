"""How an experiment ends: a page in the frame that all pages share, and its figures as files."""

from collections.abc import Callable, Sequence
from typing import Protocol

from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.page import Figure, Page, Section, render_page
from interp.subject import Subject
from interp.track.files import write_text
from interp.track.run import Run
from interp.track.step import Step


class ReportPage(Protocol):
    """A page, and its figures as files of their own."""

    def page(self) -> Page:
        """The whole page."""
        ...

    def files(self) -> dict[str, str]:
        """The figures, by name."""
        ...


def write_report(run: Run, made: Callable[[], ReportPage]) -> None:
    """The last step: the page and its figures."""

    def write(step: Step) -> None:
        page = made()
        for name, svg in page.files().items():
            step.figure(name, svg)
        write_text(step.folder / "report.html", render_page(page.page()))

    written = run.step("report", write) / "report.html"
    run.publish_report(written)


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
