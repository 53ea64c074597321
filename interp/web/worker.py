"""One thread owns the model: jobs wait in line with their place, can be cancelled, and hand over events."""

import asyncio
import threading
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from torch import Tensor

from interp.errors import UserError
from interp.json_text import to_json
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.web.safety import Full, explained

Work = Callable[[], Generator[Any, None, None]]
"""What is done on the model's thread; what it yields are the job's events."""
Guarded = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Makes a block within which the given check is made as often as can be."""
Result = TypeVar("Result")
LOOK_SECONDS = 0.2
"""How often a waiting request looks whether its page is still there."""


MOST_OWNERS = 1024
"""Of how many it is known when they were served last."""


class Cancelled(Exception):
    """Ends a job that nobody waits for."""


class Place(NamedTuple):
    """How many jobs are before one that waits."""

    before: int


class Event(NamedTuple):
    """What a job tells its page; `done` is the last."""

    name: str
    content: object


class _Failed(NamedTuple):
    error: BaseException


class _Ended(NamedTuple):
    pass


class Job:
    """Work in the line of a `Worker`. What it yields is iterated over in the loop that submitted it.

    Before that come `Place`s, while others are before it; an exception of the work is raised there.
    """

    def __init__(self, work: Work, leave: Callable[["Job"], None], owner: str) -> None:
        self.work = work
        self.owner = owner
        self.told_place = 0
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._stopped = threading.Event()
        self._over = threading.Event()

    def __aiter__(self) -> "Job":
        return self

    async def __anext__(self) -> Any:
        event = await self._events.get()
        if isinstance(event, _Ended):
            self._events.put_nowait(event)
            raise StopAsyncIteration
        if isinstance(event, _Failed):
            raise event.error
        return event

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or will before any job that is submitted from now on begins."""
        return self._over.is_set() or self._stopped.is_set()

    def cancel(self) -> None:
        """Takes it out of the line, or makes it stop at its next event or pass of the model."""
        if not self.is_over:
            self._stopped.set()
            self._leave(self)

    def check(self) -> None:
        """Raises Cancelled if nobody waits for it."""
        if self._stopped.is_set():
            raise Cancelled

    def tell(self, event: object) -> None:
        """Hands over an event, from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def end(self) -> None:
        """Marks it as over."""
        self._over.set()
        self.tell(_Ended())


class Worker:
    """The thread on which everything that needs the model happens, one job after another.

    Those who ask take turns: the next job is the oldest of the one who was served longest ago.

    `most` jobs may wait. `guarded` lets a job that was cancelled stop inside of a long call.
    """

    def __init__(self, most: int = 32, guarded: Guarded | None = None) -> None:
        self.most = most
        self._guarded = guarded or (lambda check: nullcontext())
        self._line: list[Job] = []
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._running: Job | None = None
        self._closed = False
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None

    def submit(self, work: Work, owner: str = "") -> Job:
        """Puts a job of someone in the line.

        Raises:
            Full: too many wait, or the server ends.
        """
        with self._changed:
            if self._closed:
                raise Full("the server is ending", "the model", "start it again")
            if len(self._line) >= self.most:
                fix = "try again when they have ended"
                raise Full(f"{len(self._line)} requests wait for the model already", "the model", fix)
            job = Job(work, self._left, owner)
            self._line.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="interp-model", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            self._tell_places()
        return job

    def close(self) -> None:
        """Cancels all jobs, and waits a moment for the one that runs."""
        with self._changed:
            self._closed = True
            for job in (*self._line, *filter(None, [self._running])):
                job.cancel()
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(5)

    @property
    def n_jobs(self) -> int:
        """How many jobs run or wait."""
        with self._changed:
            return len(self._line) + (self._running is not None)

    def _left(self, job: Job) -> None:
        with self._changed:
            if job in self._line:
                self._line.remove(job)
                job.end()
                self._tell_places()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._closed)
                if self._closed:
                    return
                job = self._running = self._order()[0]
                self._line.remove(job)
                self._served(job.owner)
                self._tell_places()
            try:
                self._do(job)
            finally:
                with self._changed:
                    self._running = None
                    job.end()
                    self._tell_places()

    def _do(self, job: Job) -> None:
        try:
            with self._guarded(job.check), closing(job.work()) as events:
                for event in events:
                    job.tell(event)
                    job.check()
        except Cancelled:
            pass
        except BaseException as error:  # nothing that a job does may end the thread
            job.tell(_Failed(error))

    def _order(self) -> list[Job]:
        """The jobs of the line in the order in which they will be done if no other comes."""
        turns = list(self._turns)
        before: Counter[str] = Counter()
        keys = {}
        for job in self._line:
            turn = turns.index(job.owner) if job.owner in self._turns else -1
            keys[job] = (before[job.owner], turn)
            before[job.owner] += 1
        return sorted(self._line, key=keys.__getitem__)

    def _served(self, owner: str) -> None:
        self._turns[owner] = None
        self._turns.move_to_end(owner)
        while len(self._turns) > MOST_OWNERS:
            self._turns.popitem(last=False)

    def _tell_places(self) -> None:
        running = int(self._running is not None)
        for place, job in enumerate(self._order(), start=running):
            if place and place != job.told_place:
                job.told_place = place
                job.tell(Place(place))


def passes_of(subject: Subject) -> Guarded:
    """Makes a guard that checks in every pass of a model."""
    site = Site("resid_post", 0)
    try:
        subject.site_width(site)
    except UserError:
        return lambda check: nullcontext()

    @contextmanager
    def guarded(check: Callable[[], None]) -> Generator[None, None, None]:
        def look(activation: Tensor) -> Tensor:
            check()
            return activation

        with subject.edited({site: look}):
            yield

    return guarded


def asker(request: Request) -> str:
    """Who asks, for taking turns: a session, or an address without one."""
    client = request.client
    return request.path_params.get("session") or (client.host if client else "")


async def result(worker: Worker, request: Request, work: Callable[[], Result]) -> Result:
    """Does one thing on the model's thread, and waits for it as long as its page is there.

    Raises:
        Cancelled: the page was closed, or the server ends.
        Full: too many wait.
    """

    def once() -> Generator[Result, None, None]:
        yield work()

    found: Result = await first(worker.submit(once, asker(request)), request)
    return found


async def first(job: Job, request: Request) -> Any:
    """Waits for the first event of a job as long as its page is there; afterwards the job goes on if it can.

    Raises:
        Cancelled: the page was closed, or the server ends.
    """

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(LOOK_SECONDS)
        job.cancel()

    watching = asyncio.create_task(watch())
    try:
        async for event in job:
            if not isinstance(event, Place):
                return event
        raise Cancelled
    except BaseException:
        job.cancel()
        raise
    finally:
        watching.cancel()


async def server_sent(job: Job) -> AsyncIterator[str]:
    """The `Event`s of a job as server-sent events, with its place in the line before, and what went wrong."""
    try:
        async for event in job:
            yield _written(Event("queued", {"place": event.before}) if isinstance(event, Place) else event)
    except Exception as error:
        yield _written(Event("failed", {"error": explained(error)}))


def _written(event: Event) -> str:
    return f"event: {event.name}\ndata: {to_json(event.content, ensure_ascii=False)}\n\n"


class EventStream(StreamingResponse):
    """Server-sent events of a job, which is cancelled when they are no longer read."""

    def __init__(self, job: Job, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.cancel()
