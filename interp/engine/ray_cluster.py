"""The engine of a Ray cluster: workers that each compute one part at a time, and may be lost."""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from interp.engine.answering import answering
from interp.engine.config import EngineConfig
from interp.engine.engine import Found, Work
from interp.engine.packed import packed
from interp.engine.ray_worker import Mailbox, Named, Worker
from interp.engine.same_code import code
from interp.errors import UserError
from interp.track.progress import Progress

SAID_AFTER_SECONDS, GIVEN_UP_AFTER_SECONDS = 30.0, 600.0
"""How long a run waits for a cluster that has no place for any worker: before it says so, and in all."""
CARRIED = ("INTERP_EXPERIMENTS_PATH", "HF_HUB_OFFLINE", "WANDB_MODE")
"""Environment variables that workers take over from the process that began the run."""
_LOOK_SECONDS = 1.0
_MOST_NAMED = 3
_KEPT = "what is computed is kept: the same command goes on with what is left"


@dataclass
class _Parts:
    """The parts of a piece of work: still to be begun, how often each was tried, and why some failed."""

    waiting: deque[int]
    tries: list[int]
    failed: dict[int, Exception] = field(default_factory=dict)

    def put_back(self, part: int, error: Exception, attempts: int) -> None:
        """Has a part tried again, unless that cannot help."""
        self.tries[part] += 1
        if isinstance(error, UserError) or self.tries[part] >= attempts:
            self.failed[part] = error
        else:
            self.waiting.appendleft(part)


class RayEngine:
    """Computes parts on the cluster that this process has joined; one whose worker is lost, by another."""

    def __init__(self, config: EngineConfig, progress: Progress, device: str = "cpu") -> None:
        self.config = config
        self._progress = progress
        self._threads = config.threads or 1
        self._gpus = int(device.startswith("cuda")) if config.gpus is None else config.gpus
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self._numbers = itertools.count()
        self._workers = [self._hire() for _ in range(self._size())]

    @property
    def n_workers(self) -> int:
        """How many parts are computed at the same time."""
        return len(self._workers)

    def close(self) -> None:
        """Sends the workers home."""
        for worker in self._workers:
            ray.kill(worker)
        ray.kill(self._mailbox)

    def each(self, work: Work, parts: Sequence[Any], found: Found, name: Callable[[int], str]) -> None:
        """As `Engine.each`: a part that fails is tried again, by another worker if its own was lost."""
        sent = packed(work)
        named = [Named(one.endpoint, one.purpose, one.reread) for one in sent.clients]
        buffers = [ray.put(buffer) for buffer in sent.buffers]
        opening = (code(), str(next(self._numbers)), ray.put(sent.content), ray.put(packed(named).content))

        def opened_by(worker: Any) -> tuple[Any, tuple[Any, int | None]]:
            return worker.open.remote(*opening, *buffers), (worker, None)

        todo = _Parts(deque(range(len(parts))), [0] * len(parts))
        with answering(sent.clients, self._mailbox):
            pending = dict(map(opened_by, self._workers))
            idle: list[Any] = []
            lost_in_a_row, seen = 0, time.monotonic()
            while todo.waiting or any(part is not None for _, part in pending.values()):
                done, _ = ray.wait(list(pending), num_returns=1, timeout=_LOOK_SECONDS)
                for answer in done:
                    worker, part = pending.pop(answer)
                    try:
                        result = ray.get(answer)
                    except RayTaskError as error:
                        if part is None:
                            raise _cause(error) from None
                        todo.put_back(part, _cause(error), self.config.attempts)
                        idle.append(worker)
                    except RayError as error:
                        lost_in_a_row = 0 if part is not None else lost_in_a_row + 1
                        if lost_in_a_row > self.config.attempts * len(self._workers):
                            raise _no_worker(str(error)) from None
                        if part is not None:
                            todo.put_back(part, error, self.config.attempts)
                        pending |= [opened_by(self._replace(worker))]
                    else:
                        idle.append(worker)
                        if part is not None:
                            found(part, result)
                        del result
                while idle and todo.waiting:
                    worker, part = idle.pop(), todo.waiting.popleft()
                    pending[worker.compute.remote(opening[1], parts[part])] = (worker, part)
                if done or any(part is not None for _, part in pending.values()):
                    seen = time.monotonic()
                self._wait_for_room(time.monotonic() - seen)
        if todo.failed:
            raise _failed(todo, len(parts), name)

    def _size(self) -> int:
        """How many workers the cluster has room for."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = {"CPU": self._threads, "GPU": self._gpus}
        room = sum(min(int(node.get(one, 0)) // n for one, n in needs.items() if n) for node in nodes)
        if not room:
            raise UserError(
                f"no machine of the cluster has {self._needs()}, which a worker reserves",
                "engine",
                "lower engine.threads or engine.gpus, or join a cluster of larger machines",
            )
        return min(room, self.config.workers or room)

    def _needs(self) -> str:
        gpus = f" and {self._gpus} GPUs" if self._gpus else ""
        return f"{self._threads} processor{'s' if self._threads > 1 else ''}{gpus}"

    def _hire(self) -> Any:
        carried = {name: os.environ[name] for name in CARRIED if name in os.environ}
        kind = ray.remote(Worker).options(
            num_cpus=self._threads, num_gpus=self._gpus, runtime_env={"env_vars": carried}
        )
        return kind.remote(self._mailbox, os.getcwd(), self._threads)

    def _replace(self, worker: Any) -> Any:
        self._workers.remove(worker)
        ray.kill(worker)
        self._workers.append(self._hire())
        return self._workers[-1]

    def _wait_for_room(self, seconds: float) -> None:
        if seconds > GIVEN_UP_AFTER_SECONDS:
            raise _no_worker(f"for {seconds / 60:.0f} minutes no machine had {self._needs()} to spare")
        if 0 <= seconds - SAID_AFTER_SECONDS < _LOOK_SECONDS:
            self._progress.say(f"no worker yet: waiting for a machine with {self._needs()} to spare")


def _cause(error: RayTaskError) -> Exception:
    return error.cause if isinstance(error.cause, Exception) else error


def _no_worker(said: str) -> UserError:
    return UserError(
        f"the cluster runs no worker of this work ({said.strip().splitlines()[0]})",
        "engine",
        f"look at the cluster (`ray status`); {_KEPT}",
    )


def _failed(parts: _Parts, n_parts: int, name: Callable[[int], str]) -> UserError:
    """Says once what failed: the parts, the reason of the first, and what is kept."""
    first = min(parts.failed)
    error, tries = parts.failed[first], parts.tries[first]
    which = ", ".join(map(name, sorted(parts.failed)[:_MOST_NAMED]))
    which += ", ..." if len(parts.failed) > _MOST_NAMED else ""
    if isinstance(error, UserError):
        said, place, fix = error.thing, error.place, f"{error.fix}; {_KEPT}"
    elif isinstance(error, RayError):
        said, place = f"the worker was lost {tries} times, perhaps for want of memory", "engine"
        fix = f"use more and smaller parts (engine.shards) or fewer workers (engine.workers); {_KEPT}"
    else:
        said, place = f"{type(error).__name__}: {error} ({tries} times)", "engine"
        fix = f"see whether it fails with engine: local, which shows where; {_KEPT}"
    return UserError(f"{len(parts.failed)} of {n_parts} parts failed: {which}: {said}", place, fix)
