"""Progress of a job on the model's thread: it is told to who waits, and stops where nobody does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from interp.track.progress import Advance, Progress
from interp.web.worker import Event, Job

EVERY_SECONDS = 0.25


def progressed(words: str, amount: str = "", seconds_left: float | None = None) -> Event:
    """Tells what is being done; how much of it, and the seconds left, where that is known."""
    return Event("said", {"words": words, "amount": amount, "seconds_left": seconds_left})


class JobProgress(Progress):
    """Tells each task of a job as events of it. `job` is set once it is in the line."""

    job: Job | None = None

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Opens a task."""
        yield _Told(description, total, unit, self)


class _Told(Advance):
    def __init__(self, description: str, total: int | None, unit: str, owner: JobProgress) -> None:
        super().__init__(description, total, unit)
        self._owner, self._next = owner, 0.0

    def show(self) -> None:
        """Tells the new state, a few times a second.

        Raises:
            Cancelled: nobody waits for it.
        """
        job = self._owner.job
        if job is None:
            return
        job.check()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_SECONDS
            job.tell(progressed(self.label, self.amount, self.seconds_left))
