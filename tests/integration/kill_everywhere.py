"""Kills an experiment at random points, continues it, and compares the folder with one of a run never killed.

`python -m tests.integration.kill_everywhere quickstart --kills 200` prints a table: kills by step, what
differed, and how often a language model was asked the same thing again. Half of the kills hit before a random
write (a file opened, flushed, renamed, linked or removed, a statement of SQLite), half a random moment of a
random step. A run is killed up to ten times, in the order of its steps, before it is left to finish. The
manifest and the report name the revision of the code, so it must not be changed meanwhile.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from interp.llm.ledger import read_calls
from tests.describer import answer
from tests.endpoint_server import Script, serving
from tests.integration.kill_cases import CASES, Case
from tests.integration.kill_forge import BEGINS, Forge, Job, Write, forge
from tests.run_folders import LEDGER, answers, differences

MOST_IN_A_ROW = 10
START = "(start)"
"""What comes before the first step."""


@dataclass
class Found:
    """What became of the kills.

    `held` runs ended as one that was never killed. `kept_again` counts questions asked again although the
    answer was in the cache when the process died; `in_flight_again` those whose answer was under way,
    `most_in_flight` the most of them after one kill.
    """

    kills: Counter[str] = field(default_factory=Counter)
    by_write: int = 0
    too_late: int = 0
    runs: int = 0
    held: int = 0
    calls: int = 0
    kept_again: int = 0
    in_flight_again: int = 0
    most_in_flight: int = 0
    wrong: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)

    def table(self) -> str:
        """The figures, for people."""
        lines = [f"{step:<20} {count:>5} kills" for step, count in self.kills.items()]
        lines += [f"{step:<20}     0 kills" for step in self.unreached]
        lines.append(
            f"{sum(self.kills.values())} kills ({self.by_write} before a write, the others at a moment; "
            f"{self.too_late} more came too late); {self.runs} runs, {self.held} without any difference"
        )
        if self.calls:
            lines.append(
                f"{self.calls} calls; asked again: {self.kept_again} whose answer was kept, "
                f"{self.in_flight_again} whose answer was under way (at most {self.most_in_flight} together)"
            )
        return "\n".join(lines + self.wrong)


@dataclass(frozen=True)
class Moment:
    """A write, or a time, since a step began."""

    step: str
    write: int | None = None
    seconds: float = 0.0


class Kills:
    """The kills of one case; `folder` is where its runs go, the forges take turns at random."""

    def __init__(
        self,
        case: Case,
        folder: Path,
        server: Script,
        forges: Sequence[Forge],
        seed: int = 0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.found = Found()
        self._run, self._overrides = case.config, case.overrides(server)
        self._folder, self._server, self._forges, self._say = folder, server, forges, say
        self._chance = random.Random(seed)
        self._whole = folder / "whole"
        self._asked: set[str] = set()
        self._kept: set[str] = set()
        self._seen = 0
        self._steps: dict[str, list[Write]] = {}
        """What the run that is never killed writes in each of its steps."""

    def kill(self, kills: int, most: int = MOST_IN_A_ROW) -> Found:
        """Kill until so many kills have hit, up to `most` times in a row."""
        self._do_whole()
        left, number = kills, 0
        while left > 0:
            folder = self._folder / str(number)
            left -= self._killed(folder, min(most, left))
            self._say(f"{kills - left} of {kills} kills, {self.found.held} of {self.found.runs} runs held")
            number += 1
        self.found.unreached = [step for step in self._steps if not self.found.kills[step]]
        return self.found

    def _do_whole(self) -> None:
        job = self._job(self._whole)
        code = self._forges[0].do(job)
        assert code == 0, job.output.read_text()
        step = START
        for write in job.writes():
            step = _begun([write]) or step
            self._steps.setdefault(step, []).append(write)

    def _killed(self, folder: Path, most: int) -> int:
        """Kill one run up to `most` times, let it finish, compare it; how many kills there were."""
        kills = 0
        self._asked, self._kept, self._seen = set(), set(), len(self._server.seen)
        for moment in [*self._moments(most), None]:
            job = self._job(folder, moment)
            code = self._do(job, moment)
            self._look_at_calls(folder)
            if code == -signal.SIGKILL and moment is not None:
                kills += 1
                self.found.by_write += moment.write is not None
                self.found.kills[_begun(job.writes()) or START] += 1
            elif code != 0:
                self._wrong(f"exit code {code} {moment or ''}", job)
                break
            else:
                self.found.too_late += moment is not None
        self.found.runs += 1
        differing = differences(self._whole, folder)
        if differing:
            self._wrong("; ".join(differing[:8]), job)
        else:
            self.found.held += 1
            shutil.rmtree(folder)
        return kills

    def _moments(self, most: int) -> list[Moment]:
        """Where one run is to be killed, in the order of its steps."""
        names = list(self._steps)
        moments = []
        for place in sorted(self._chance.choices(range(len(names)), k=most)):
            writes = self._steps[names[place]]
            if self._chance.random() < 0.5:
                moments.append(Moment(names[place], self._chance.randrange(len(writes))))
            else:
                took = writes[-1][0] - writes[0][0]
                moments.append(Moment(names[place], seconds=self._chance.uniform(0, took)))
        return moments

    def _job(self, folder: Path, moment: Moment | None = None) -> Job:
        arguments = ["run", f"configs/{self._run}.yaml", "wandb.mode=disabled", *self._overrides]
        dies_in = "" if moment is None or moment.step == START else moment.step
        dies_at = None if moment is None else moment.write
        return Job([*arguments, "--runs-dir", str(folder)], folder, dies_at, dies_in)

    def _do(self, job: Job, moment: Moment | None) -> int:
        forge = self._chance.choice(self._forges)
        pid = forge.start(job)
        if moment is not None and moment.write is None:
            _kill(pid, job, moment.seconds)
        return forge.end()

    def _look_at_calls(self, folder: Path) -> None:
        """Count what the process that has ended asked although an earlier one, or itself, had asked it."""
        asked = [json.dumps(one, sort_keys=True) for one in self._server.seen[self._seen :]]
        self._seen = len(self._server.seen)
        again = [one for one in asked if one in self._asked - self._kept]
        twice = len(asked) - len(set(asked))
        self.found.calls += len(asked)
        self.found.kept_again += sum(one in self._kept for one in asked) + twice
        self.found.in_flight_again += len(again)
        self.found.most_in_flight = max(self.found.most_in_flight, len(again))
        self._asked |= set(asked)
        if kept := _kept(folder / self._run / "llm_answers.sqlite"):
            self._kept = {json.dumps(self._server.seen[number], sort_keys=True) for number in kept}
            paid = [one for one in read_calls(folder / self._run / LEDGER) if one.outcome == "answered"]
            if len(paid) < len(kept):
                self.found.wrong.append(
                    f"{folder}: {len(kept)} answers were kept, {len(paid)} are in the ledger"
                )

    def _wrong(self, what: str, job: Job) -> None:
        said = "\n  ".join(job.output.read_text().strip().splitlines()[-6:])
        self.found.wrong.append(f"{job.folder}: {what}\n  {said}")
        self._say(self.found.wrong[-1])


def _kill(pid: int, job: Job, seconds: float) -> None:
    """Kill a process some seconds after it has begun the step that it dies in."""
    begun = f"/.{job.dies_in}{BEGINS}" if job.dies_in else ""
    with suppress(ProcessLookupError):
        while not (job.record.exists() and begun in job.record.read_text()):
            os.kill(pid, 0)
            time.sleep(0.002)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)


def _begun(writes: Sequence[Write]) -> str:
    """The step that began last."""
    begun = [name for _, what, name in writes if what == "os.mkdir" and name.endswith(BEGINS)]
    return Path(begun[-1]).name.removeprefix(".").removesuffix(BEGINS) if begun else ""


def _kept(file: Path) -> list[int]:
    """The numbers of the answers in a cache, read from a copy: opening the file itself would mend it."""
    with tempfile.TemporaryDirectory() as folder:
        for part in file.parent.glob(f"{file.name}*"):
            shutil.copy(part, folder)
        copy = Path(folder) / file.name
        with suppress(sqlite3.OperationalError):  # killed before there was a table
            return [answer["id"] for answer in answers(copy).values()]
        return []


def main() -> None:
    """What the command line asks for, as a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="a new one for the runs; those that differ stay there")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    folder.mkdir(parents=True, exist_ok=given.folder is None)
    case = CASES[given.case]
    with ExitStack() as stack:
        server = stack.enter_context(serving(Script(answer=answer, delay=0.01)))
        forges = [stack.enter_context(forge(*case.modules, hash_seed=seed)) for seed in (1, 2)]
        say = partial(print, flush=True)
        found = Kills(case, folder, server, forges, given.seed, say).kill(given.kills)
    print(found.table())
    raise SystemExit(bool(found.wrong or found.kept_again))


if __name__ == "__main__":
    main()
