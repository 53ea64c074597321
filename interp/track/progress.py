"""Progress on anything that takes longer than two seconds: what is done, how much, and the time left."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOBase

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from interp.errors import printable

PLAIN_LINE_EVERY_SECONDS = 10.0
WORTH_A_LAST_LINE_SECONDS = 2.0


class Advance:
    """The state of one task; call it with the amount that was done since the last call."""

    def __init__(self, description: str, total: int | None, unit: str) -> None:
        """Start at zero of `total` (None: not known yet)."""
        self.description = description
        self.total = total
        self.unit = unit
        self.done: float | int = 0
        self.note = ""
        self.started = time.monotonic()

    def __call__(self, amount: float | int = 1, *, total: int | None = None, note: str | None = None) -> None:
        """Add `amount`; `total` replaces the total, `note` is shown after the description."""
        self.done += amount
        self.total = self.total if total is None else total
        self.note = self.note if note is None else note
        self.show()

    def show(self) -> None:
        """Draw the new state; the base class draws nothing."""

    @property
    def elapsed(self) -> float:
        """Seconds since the task began."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the mean speed so far; None while that is unknown."""
        if not self.total or not self.done:
            return None
        return max(0.0, self.elapsed * (self.total - self.done) / self.done)

    @property
    def label(self) -> str:
        """The description with its note."""
        return printable(f"{self.description} ({self.note})" if self.note else self.description)

    @property
    def amount(self) -> str:
        """How much is done, such as "1,200/5,000 tokens"."""
        whole = f"/{self.total:,}" if self.total is not None else ""
        return f"{self.done:,.0f}{whole} {self.unit}".rstrip()


class Progress:
    """Shows nothing; the base of the two that do, and what `silent()` returns."""

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Open a task of `total` `unit`s and give an `Advance`, to be called with each amount done."""
        yield Advance(description, total, unit)

    def say(self, line: str) -> None:
        """Print one line of news without disturbing the bars."""


class _PlainAdvance(Advance):
    def __init__(self, description: str, total: int | None, unit: str, owner: "PlainProgress") -> None:
        super().__init__(description, total, unit)
        self.owner = owner
        self.next_line = self.started + owner.every

    def show(self) -> None:
        now = time.monotonic()
        if now < self.next_line:
            return
        self.next_line = now + self.owner.every
        left = self.seconds_left
        percent = f" ({min(1.0, self.done / self.total):.0%})" if self.total else ""
        remaining = "" if left is None else f", about {clock(left)} left"
        self.owner.say(f"{self.label}: {self.amount}{percent}, {clock(self.elapsed)} so far{remaining}")


class PlainProgress(Progress):
    """A line every ten seconds, for logs and pipes."""

    def __init__(
        self, stream: TextIOBase | None = None, every: float | int = PLAIN_LINE_EVERY_SECONDS
    ) -> None:
        """Write to `stream` (standard error), at most one line each `every` seconds and task."""
        self.stream = stream
        self.every = every

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Open a task; see `Progress.task`."""
        advance = _PlainAdvance(description, total, unit, self)
        yield advance
        if advance.elapsed >= WORTH_A_LAST_LINE_SECONDS:
            self.say(f"{advance.label}: {advance.amount}, done in {clock(advance.elapsed)}")

    def say(self, line: str) -> None:
        """Print one line."""
        if (stream := self.stream or sys.stderr) is not None:
            print(printable(line), file=stream, flush=True)


class _BarAdvance(Advance):
    def __init__(self, description: str, total: int | None, unit: str, display: bars.Progress) -> None:
        super().__init__(description, total, unit)
        self.display = display
        self.task_id = display.add_task(self.short_label, total=total, amount=self.amount, owner=self)

    def show(self) -> None:
        self.display.update(
            self.task_id,
            completed=self.done,
            total=self.total,
            description=self.short_label,
            amount=self.amount,
        )

    @property
    def short_label(self) -> str:
        """The label, cut to the room that the figures leave on the terminal."""
        figures = _bar_width(self.display.console) + len("100%") + len(self.amount) + len("00:00, 00:00 left")
        room = max(12, self.display.console.width - figures - len("    "))
        return self.label if len(self.label) <= room else self.label[: room - 1] + "…"


class _Times(bars.ProgressColumn):
    """Time elapsed and time left: "0:32, 1:10 left"."""

    def render(self, task: bars.Task) -> Text:
        """Draw the times of the task."""
        owner: Advance = task.fields["owner"]
        left = "" if owner.seconds_left is None else f", {_minutes(owner.seconds_left)} left"
        return Text(_minutes(owner.elapsed) + left, no_wrap=True)


class BarProgress(Progress):
    """Bars on a terminal; tasks may be nested and share one display."""

    def __init__(self, console: Console | None = None) -> None:
        """Draw on `console` (standard error)."""
        self.console = console or Console(stderr=True)
        self._display: bars.Progress | None = None
        self._open = 0
        self._guard = threading.Lock()

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Open a task; see `Progress.task`."""
        with self._guard:
            if self._display is None:
                self._display = self._new_display()
                self._display.start()
            display = self._display
            self._open += 1
        try:
            yield _BarAdvance(description, total, unit, display)
        finally:
            with self._guard:
                self._open -= 1
                if not self._open:
                    display.stop()
                    self._display = None

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self.console.print(Text(printable(line)))

    def _new_display(self) -> bars.Progress:
        return bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=_bar_width(self.console)),
            bars.TaskProgressColumn(),
            bars.TextColumn("{task.fields[amount]}", markup=False),
            _Times(),
            console=self.console,
            refresh_per_second=4,
        )


def automatic() -> Progress:
    """Return bars when standard error is a terminal, else a plain line now and then."""
    console = Console(stderr=True)
    return BarProgress(console) if console.is_terminal else PlainProgress()


def silent() -> Progress:
    """Return a progress that shows nothing."""
    return Progress()


def _bar_width(console: Console) -> int:
    return 24 if console.width >= 110 else 10


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"


def clock(seconds: float | int) -> str:
    """Return a duration as people write it: "8 s", "2 min 05 s", "1 h 02 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
