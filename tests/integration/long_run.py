"""A day of describing with nobody there: faults every minute, kills every ten, the same command again.

`python -m tests.integration.long_run --minutes 1440` runs `describe` twice in processes of its own, against a
scripted endpoint on loopback: left alone, and through a day of faults and kills (SIGKILL, SIGTERM and SIGINT
in turn). It prints what was asked again, what differs between what the two end with, whether the ledger sums
to what the endpoint delivered, and how memory, files, threads and the time of a restart grew. A minute is as
many requests as `--rate` says. The code must not be changed meanwhile: reports name its revision.
"""

import argparse
import json
import math
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from interp.llm.ledger import damaged_lines, read_calls
from tests.endpoint_server import MODEL, Script, serving
from tests.integration.kill_cases import CASES, MINING
from tests.integration.kill_forge import Forge, Job, forge
from tests.integration.long_run_server import NO_ANSWER, TIMEOUT_SECONDS, Day
from tests.run_folders import LEDGER, answers, differences

CONCURRENCY = 16
KILL_EVERY_MINUTES = 10
WAYS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CALLS_PER_FEATURE = 52
"""About: one for the description; four for activations and up to eight for ratings, by it and four others."""
CACHE = "llm_answers.sqlite"
RUN = "describe"


class Sample(NamedTuple):
    """A process at one moment: requests that came since it began, its memory, open files and threads."""

    requests: int
    resident: int
    files: int
    threads: int


@dataclass
class Life:
    """One process: when it came to its first question, how it ended, and what it was seen to hold."""

    way: signal.Signals | None
    began_at: int
    code: int = 0
    ended_at: int = 0
    seconds: float = 0.0
    first_request_after: float | None = None
    samples: list[Sample] = field(default_factory=list)
    on_its_way: int = 0
    """Answers that the endpoint had sent and the process had not kept when it ended."""

    @property
    def as_meant(self) -> bool:
        """Whether it ended by itself, or by the signal that was meant to end it."""
        meant = {None: {0}, signal.SIGKILL: {-signal.SIGKILL}}.get(self.way, {130, 143, -15, -2})
        return self.code in meant | {0}

    def growth(self) -> tuple[float, float]:
        """Bytes of memory a thousand calls (slope over its second half), and their standard error."""
        last = self.samples[-1].requests if self.samples else 0
        late = np.array([(one.requests, one.resident) for one in self.samples if 2 * one.requests > last])
        if len(late) < 8:
            return float("nan"), float("nan")
        x = late[:, 0] - late[:, 0].mean()
        slope = x @ late[:, 1] / (x @ x)
        rest = late[:, 1] - late[:, 1].mean() - slope * x
        error = np.sqrt(rest @ rest / (len(x) - 2) / (x @ x))
        return 1000 * float(slope), 1000 * float(error)


@dataclass
class Kept:
    """The sizes of what a run keeps, after so many requests."""

    requests: int
    cache: int
    ledger: int
    journal: int


@dataclass
class Found:
    """What a day came to; `wrong` says in words what must not be."""

    lives: list[Life] = field(default_factory=list)
    alone: Life | None = None
    requests: int = 0
    delivered: int = 0
    again_though_kept: int = 0
    again_on_its_way: int = 0
    again_after_a_signal: int = 0
    met: dict[str, int] = field(default_factory=dict)
    ledger_calls: int = 0
    kept_calls: int = 0
    ledger_tokens: int = 0
    kept_tokens: int = 0
    delivered_tokens: int = 0
    lost_tokens: int = 0
    sizes: list[Kept] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def kills(self) -> list[Life]:
        """The processes that were killed."""
        return [life for life in self.lives if life.way is not None and life.code != 0]

    def table(self) -> str:
        """The figures, for people."""
        ways = {way.name: sum(life.way == way for life in self.kills) for way in WAYS}
        lines = [
            f"{self.requests:,} requests; faults: "
            + ", ".join(f"{n} {what}" for what, n in self.met.items()),
            f"{len(self.kills)} kills ({', '.join(f'{n} {way}' for way, n in ways.items())}), "
            f"the last after {max((life.ended_at for life in self.kills), default=0):,} requests; "
            f"{sum(life.seconds for life in self.lives):.0f} s",
            f"asked again though it was kept: {self.again_though_kept}; though its answer had been sent, not "
            f"kept at a kill: {self.again_on_its_way}, of these after SIGTERM or SIGINT "
            f"{self.again_after_a_signal}; most on their way at one kill: "
            f"{max((life.on_its_way for life in self.kills), default=0)}",
            f"answers: {self.delivered:,} delivered, {self.ledger_calls:,} in the ledger, "
            f"{self.kept_calls:,} kept",
            f"tokens: {self.delivered_tokens:,} delivered and {self.lost_tokens:,} in answers that could not "
            f"be read, {self.ledger_tokens:,} in the ledger, {self.kept_tokens:,} kept",
        ]
        starts = [life.first_request_after for life in self.lives[1:] if life.first_request_after]
        if starts:
            lines.append(
                f"seconds from the start to the first request: {np.mean(starts[:5]):.2f} in the first 5 "
                f"restarts, {np.mean(starts[-5:]):.2f} in the last 5"
            )
        longest = max(self.lives, key=lambda life: life.ended_at - life.began_at)
        for name, life in (("left alone", self.alone), ("longest between kills", longest)):
            if life is not None and life.samples:
                lines.append(f"memory, {name}: {_held(life)}")
        lines += [
            f"kept after {one.requests:>7,} requests: {one.cache / 1e6:.1f} MB of answers, "
            f"{one.ledger / 1e6:.1f} MB of ledger, {one.journal / 1e6:.2f} MB of journal"
            for one in self.sizes[:: max(1, len(self.sizes) // 4)]
        ]
        return "\n".join([*lines, *self.wrong])


class LongRun:
    """The run left alone and the day, both below `folder`."""

    def __init__(
        self,
        folder: Path,
        minutes: int,
        rate: int,
        forges: Sequence[Forge],
        most_seconds: float = math.inf,
    ) -> None:
        """After `most_seconds` of the day nothing is killed any more; the faults go on to its end."""
        self.found = Found()
        self._most_seconds = most_seconds
        self._folder, self._minutes, self._rate, self._forges = folder, minutes, rate, forges
        self._features = max(2, round(minutes * rate / CALLS_PER_FEATURE))
        self._lives = 0

    def do(self, say: Callable[[str], None] = lambda line: None) -> Found:
        """Do both, and look at what they left."""
        quiet, day = Day(self._rate, ()), Day(self._rate)
        with serving(Script(always=quiet.act, keeps=False)) as server:
            whole = self._live(self._job(self._folder / "whole", server.url), quiet)
            self.found.alone = whole
            self._expect(whole)
            say(f"left alone: {quiet.requests:,} requests in {whole.seconds:.0f} s; memory: {_held(whole)}")
            server.always = day.act
            self._through(day, self._job(self._folder / "day", server.url), say)
        self._compare(day)
        return self.found

    def _through(self, day: Day, job: Job, say: Callable[[str], None]) -> None:
        """Kill a run every ten minutes, and start it again, until it ends."""
        run, kept, row = job.folder / RUN, set[int](), 0
        unkept: dict[int, Life] = {}
        most, began = 2 * self._minutes // KILL_EVERY_MINUTES + 4, time.monotonic()
        while not self.found.lives or (self.found.lives[-1].code != 0 and len(self.found.lives) < most):
            late = time.monotonic() - began > self._most_seconds
            way = None if late else WAYS[len(self.found.lives) % len(WAYS)]
            until = self._rate * KILL_EVERY_MINUTES * (1 + day.requests // (self._rate * KILL_EVERY_MINUTES))
            life = self._live(job, day, way, until)
            self._expect(life)
            self.found.lives.append(life)
            new, row = _kept_since(run / CACHE, row)
            kept |= new
            for number in day.delivered.keys() - kept - unkept.keys():
                unkept[number] = life
                life.on_its_way += 1
            self.found.sizes.append(_sizes(run, day.requests))
            if len(self.found.lives) % 10 == 0:
                say(f"minute {day.minute} of about {self._minutes}: {len(self.found.kills)} kills")
        for number, question in day.delivered.items():
            if any(other > number for other in day.asked[question]):
                self.found.again_though_kept += number in kept
                self.found.again_on_its_way += number in unkept
                self.found.again_after_a_signal += (
                    number in unkept and unkept[number].way is not signal.SIGKILL
                )

    def _compare(self, day: Day) -> None:
        found, wrong = self.found, self.found.wrong
        whole, run = self._folder / "whole" / RUN, self._folder / "day" / RUN
        found.requests, found.delivered, found.met = day.requests, len(day.delivered), day.met
        found.delivered_tokens, found.lost_tokens = day.delivered_tokens, day.lost_tokens
        calls = list(read_calls(run / LEDGER))
        found.ledger_calls = sum(call.outcome == "answered" for call in calls)
        found.ledger_tokens = sum(call.prompt_tokens + call.completion_tokens for call in calls)
        own, others = (answers(one / CACHE) for one in (run, whole))
        found.kept_calls = len(own)
        found.kept_tokens = sum(sum(answer["usage"].values()) for answer in own.values())
        if damaged_lines(run / LEDGER):
            wrong.append(f"{damaged_lines(run / LEDGER)} damaged lines in the ledger")
        if not found.kept_calls <= found.ledger_calls <= found.delivered:
            wrong.append("the ledger has other calls than the endpoint answered")
        if not found.kept_tokens <= found.ledger_tokens <= found.delivered_tokens + found.lost_tokens:
            wrong.append("the ledger has other tokens than the endpoint gave")
        if found.again_though_kept or found.again_after_a_signal:
            wrong.append("something was asked twice")
        if most := [life for life in found.kills if life.on_its_way > CONCURRENCY]:
            wrong.append(f"{len(most)} kills had more answers on their way than calls at once")
        said = {key: _text(answer) for key, answer in own.items()}
        other = [key for key, answer in others.items() if said.get(key) != _text(answer)]
        if len(other) > day.met.get(NO_ANSWER, 0):
            wrong.append(f"{len(other)} questions are kept with another answer, or not at all")
        differing = [one for one in differences(whole, run) if CACHE not in one]
        wrong += [f"differs: {one}" for one in differing[:8]]

    def _expect(self, life: Life) -> None:
        if not life.as_meant:
            said = (self._folder / f"said-{self._lives}.txt").read_text()[-800:]
            self.found.wrong.append(f"a process ended by itself with code {life.code}: {said}")

    def _job(self, folder: Path, url: str) -> Job:
        endpoint = {
            "model": MODEL, "base_url": url, "concurrency": CONCURRENCY, "timeout_seconds": TIMEOUT_SECONDS,
            "longest_wait_seconds": 1.0,
        }  # fmt: skip
        overrides = [
            *MINING, "mining.top_windows={explain: 20, select: 10, report: 10}", "neurons=all", "sae=null",
            f"sample={self._features}", "samples=1", "features_at_once=16", "scoring={random_windows: 10, "
            "texts: 10, nulls: 4}", "explainers=[{kind: prompted}]", "simulator={kind: structured}",
            "judges=[{kind: endpoint}]", "store.embedder=null", "wandb.mode=disabled",
            f"endpoints={json.dumps({'main': endpoint})}",
        ]  # fmt: skip
        arguments = ["run", f"configs/{RUN}.yaml", *overrides, "--runs-dir", str(folder)]
        return Job(arguments, folder, watched=False)

    def _live(self, job: Job, day: Day, way: signal.Signals | None = None, until: int = 0) -> Life:
        """One process, from its start to its end, which `way` brings when so many requests have come."""
        life, ended = Life(way, day.requests), threading.Event()
        day.first_since, began = None, time.monotonic()
        chosen = self._forges[self._lives % len(self._forges)]
        self._lives += 1
        pid = chosen.start(job)

        def watch() -> None:
            next_look, seen = 0.0, life.began_at
            while not ended.wait(0.003):
                if way is not None and day.requests >= until:
                    with suppress(ProcessLookupError):
                        os.kill(pid, way)
                    return
                if time.monotonic() >= next_look and day.requests > seen:  # while it asks
                    next_look, seen = time.monotonic() + 0.25, day.requests
                    with suppress(OSError):
                        life.samples.append(_look(pid, seen - life.began_at))

        watcher = threading.Thread(target=watch)
        watcher.start()
        life.code = chosen.end()
        ended.set()
        watcher.join()
        life.seconds, life.ended_at = time.monotonic() - began, day.requests
        if day.first_since is not None:
            life.first_request_after = day.first_since - began
        shutil.copy(job.output, self._folder / f"said-{self._lives}.txt")
        return life


def _held(life: Life) -> str:
    """What a process held, in words."""
    samples = life.samples
    slope, error = life.growth()
    middle = samples[len(samples) // 2]
    return (
        f"{samples[-1].requests:,} calls, {middle.resident / 1e6:.0f} MB halfway, "
        f"{samples[-1].resident / 1e6:.0f} MB at the end, {slope / 1e3:+.1f} kB (standard error "
        f"{error / 1e3:.1f}) a thousand calls in the second half; files {_range(samples, 'files')}, threads "
        f"{_range(samples, 'threads')}"
    )


def _range(samples: Sequence[Sample], name: str) -> str:
    values = [getattr(one, name) for one in samples]
    return f"{min(values)} to {max(values)}, {values[-1]} at the end"


def _look(pid: int, requests: int) -> Sample:
    folder = Path(f"/proc/{pid}")
    resident = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    status = (folder / "status").read_text()
    threads = int(status.partition("Threads:")[2].split()[0])
    return Sample(requests, resident, len(os.listdir(folder / "fd")), threads)


def _kept_since(file: Path, row: int) -> tuple[set[int], int]:
    """The numbers of the answers that were kept after a row, and the last row."""
    if not file.exists():
        return set(), row
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        query = "select rowid, json_extract(answer, '$.id') from answers where rowid > ?"
        found = database.execute(query, (row,)).fetchall()
    return {number for _, number in found}, max((place for place, _ in found), default=row)


def _sizes(run: Path, requests: int) -> Kept:
    def size(*patterns: str) -> int:
        return sum(file.stat().st_size for pattern in patterns for file in run.glob(pattern))

    journals = size("steps/.*.scratch/*.jsonl")
    return Kept(requests, size(f"{CACHE}*"), size(LEDGER), journals)


def _text(answer: dict[str, object]) -> object:
    """An answer without its number."""
    return {name: part for name, part in answer.items() if name != "id"}


def main() -> None:
    """What the command line asks for, as a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=int, default=1440, help="simulated minutes")
    parser.add_argument("--rate", type=int, default=120, help="requests a simulated minute")
    parser.add_argument("--most-seconds", type=float, default=math.inf, help="of kills; then only faults")
    parser.add_argument("--folder", type=Path, help="a new one for the two runs, which stay there")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="long-run-"))
    folder.mkdir(parents=True, exist_ok=given.folder is None)
    modules = CASES["describe"].modules
    with forge(*modules, hash_seed=1) as one, forge(*modules, hash_seed=2) as other:
        run = LongRun(folder, given.minutes, given.rate, (one, other), given.most_seconds)
        found = run.do(partial(print, flush=True))
    print(found.table())
    if given.folder is None:
        shutil.rmtree(folder)
    raise SystemExit(bool(found.wrong))


if __name__ == "__main__":
    main()
