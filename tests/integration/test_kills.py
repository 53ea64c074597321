"""Whatever ends a process, the same command goes on from there and ends as if nothing had happened.

`INTERP_KILLS` says how often the experiments are killed; `tests.integration.kill_everywhere` prints a table.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.describer import answer
from tests.endpoint_server import Script, serving
from tests.integration.kill_cases import CASES
from tests.integration.kill_everywhere import Kills
from tests.integration.kill_forge import Forge, Job, forge
from tests.integration.toy_runs import TOYS, write_config
from tests.run_folders import differences, rows

KILLS = int(os.environ.get("INTERP_KILLS", "6"))
STORES = ("interp.store.parquet", "interp.store.neuronpedia")


@pytest.fixture(scope="module")
def forges() -> Iterator[list[Forge]]:
    modules = {module for case in CASES.values() for module in case.modules}
    with forge(*modules, hash_seed=1) as first, forge(*modules, hash_seed=2) as second:
        yield [first, second]


@pytest.mark.parametrize("name", ["quickstart", "describe"])
def test_a_killed_experiment_ends_as_one_that_was_not_and_asks_nothing_twice(
    name: str, forges: list[Forge], tmp_path: Path
) -> None:
    with serving(Script(answer=answer, delay=0.01)) as server:
        found = Kills(CASES[name], tmp_path, server, forges).kill(KILLS)
    assert found.held == found.runs and not found.wrong, found.table()
    assert sum(found.kills.values()) >= KILLS
    assert found.kept_again == 0
    assert (found.calls > 0) == (name == "describe")


@pytest.fixture(scope="module")
def toys() -> Iterator[list[Forge]]:
    modules = ("experiments.toy", "interp.device", "pandas", "pyarrow.parquet", *STORES)
    with (
        forge(*modules, hash_seed=1, INTERP_EXPERIMENTS_PATH=str(TOYS)) as first,
        forge(*modules, hash_seed=2, INTERP_EXPERIMENTS_PATH=str(TOYS)) as second,
    ):
        yield [first, second]


class Toy:
    """The toy, run by forges; `whole` was never killed."""

    def __init__(self, forges: list[Forge], folder: Path) -> None:
        self.forges, self.folder = forges, folder
        self.config = str(write_config(folder))
        self.whole = folder / "whole"
        job = self.job(self.whole)
        assert forges[0].do(job) == 0, job.output.read_text()
        self.writes = job.writes()

    def job(self, folder: Path, *more: str, dies_at: int | None = None, full_at: int | None = None) -> Job:
        arguments = ["run", self.config, "--runs-dir", str(folder), *more]
        return Job(arguments, folder, dies_at=dies_at, full_at=full_at, at_once=True)

    def goes_on(self, folder: Path, *more: str) -> None:
        """The same command ends as the run that was left alone."""
        job = self.job(folder, *more)
        assert self.forges[1].do(job) == 0, job.output.read_text()
        assert differences(self.whole / "toy", folder / "toy") == []
        assert [file.name for file in (folder / ".locks").iterdir()] == ["toy.lock"]
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def toy(toys: list[Forge], tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return Toy(toys, tmp_path_factory.mktemp("toy"))


def _some(moments: Sequence[int], number: int) -> Sequence[int]:
    """So many of them, drawn at random; all where the experiments, too, are killed often."""
    return moments if KILLS >= 200 else sorted(random.Random(0).sample(moments, min(number, len(moments))))


def test_killed_before_and_after_everything_that_gets_its_name_a_run_goes_on(toy: Toy) -> None:
    named = [place for place, (_, what, _) in enumerate(toy.writes) if what == "os.rename"]
    moments = sorted({place + after for place in named for after in (0, 1)})
    assert len(moments) > 40
    for moment in moments:
        folder = toy.folder / f"killed{moment}"
        code = toy.forges[0].do(toy.job(folder, dies_at=moment))
        assert code == -signal.SIGKILL or (code == 0 and moment == len(toy.writes))
        toy.goes_on(folder)


def test_a_disk_that_fills_at_any_write_is_said_and_the_run_goes_on_when_there_is_room(toy: Toy) -> None:
    filling = [
        place for place, (_, what, _) in enumerate(toy.writes) if what in ("open", "fsync", "os.mkdir")
    ]
    for moment in _some(filling, 16):
        folder = toy.folder / f"full{moment}"
        job = toy.job(folder, full_at=moment)
        code, said = toy.forges[0].do(job), job.output.read_text()
        assert code == 2 and "no room to write: no space left on device" in said, (moment, said)
        assert "Traceback" not in said and "free some space" in said
        toy.goes_on(folder)


def test_killed_while_an_old_run_is_moved_aside_nothing_of_it_is_lost(toy: Toy) -> None:
    for moment in _some(range(14), 8):
        folder = toy.folder / f"fresh{moment}"
        shutil.copytree(toy.whole, folder)
        assert toy.forges[0].do(toy.job(folder, "--fresh", dies_at=moment)) == -signal.SIGKILL
        there = [folder / "toy", *(folder / ".old").glob("toy-*")]
        assert [] in [differences(toy.whole / "toy", one) for one in there if one.exists()]
        toy.goes_on(folder, "--fresh")


def test_of_two_processes_that_start_together_one_does_the_run(toy: Toy) -> None:
    for attempt in range(4):
        folder = toy.folder / f"two{attempt}"
        jobs = [replace(toy.job(folder), name=name) for name in ("first.", "second.")]
        for one, job in zip(toy.forges, jobs, strict=True):
            one.start(job)
        codes = [one.end() for one in toy.forges]
        assert 0 in codes and set(codes) <= {0, 2}
        for code, job in zip(codes, jobs, strict=True):
            assert code == 0 or "is being written by another process" in job.output.read_text()
        toy.goes_on(folder)


@pytest.mark.parametrize("ways", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_stopped_twice_in_a_row_it_says_no_traceback_and_goes_on(toy: Toy, ways: tuple[int, int]) -> None:
    chance = random.Random(ways[0])
    for attempt in range(8):
        folder = toy.folder / f"stopped{ways[0]}-{attempt}"
        job = toy.job(folder)
        pid = toy.forges[0].start(job)
        while not (folder / "toy" / "manifest.json").exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, toy.writes[-1][0]))
        for way in ways:
            with suppress(ProcessLookupError):
                os.kill(pid, way)
            time.sleep(chance.choice([0, 0.001, 0.01]))
        code, said = toy.forges[0].end(), job.output.read_text()
        assert code in (0, 130, -ways[0]), (code, said)
        assert "Traceback" not in said
        toy.goes_on(folder)


def test_an_export_that_is_killed_leaves_no_part_of_a_file_when_it_is_done_again(
    toys: list[Forge], tmp_path: Path
) -> None:
    from interp.store.store import Store
    from tests.stores import filled

    source = tmp_path / "source.sqlite"
    filled(Store(source)).close()

    def job(folder: Path, way: str, dies_at: int | None = None) -> Job:
        arguments = ["store", "export", str(source), str(folder), "--format", way]
        return Job(arguments, folder, dies_at, at_once=True)

    for way in ("parquet", "neuronpedia"):
        whole = job(tmp_path / way, way)
        assert toys[0].do(whole) == 0, whole.output.read_text()
        for moment in _some(range(len(whole.writes())), 12):
            folder = tmp_path / f"{way}{moment}"
            assert toys[0].do(job(folder, way, moment)) == -signal.SIGKILL
            assert toys[1].do(job(folder, way)) == 0
            assert differences(tmp_path / way, folder) == []


def test_an_import_that_is_killed_leaves_nothing_or_everything_and_can_be_done_again(
    toys: list[Forge], tmp_path: Path
) -> None:
    from interp.store.store import Store
    from tests.stores import filled

    filled(Store(tmp_path / "source.sqlite")).close()
    exported = tmp_path / "exported"
    assert toys[0].do(Job(["store", "export", str(tmp_path / "source.sqlite"), str(exported)], exported)) == 0

    def job(folder: Path, dies_at: int | None = None) -> Job:
        folder.mkdir(exist_ok=True)
        arguments = ["store", "import", str(folder / "store.sqlite"), str(exported)]
        return Job(arguments, folder, dies_at, at_once=True)

    whole = job(tmp_path / "whole")
    assert toys[0].do(whole) == 0, whole.output.read_text()
    expected = rows(tmp_path / "whole" / "store.sqlite")
    for moment in _some(range(len(whole.writes())), 6):
        folder = tmp_path / str(moment)
        assert toys[0].do(job(folder, moment)) == -signal.SIGKILL
        file = folder / "store.sqlite"
        found = rows(file) if file.exists() else []
        assert found == expected or not any("INSERT" in row and '"meta"' not in row for row in found)
        assert toys[1].do(job(folder)) == 0
        assert rows(file) == expected
