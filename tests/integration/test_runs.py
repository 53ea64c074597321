"""Runs are killed, stopped, started twice and denied disk space, in real processes."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from interp.config import ExperimentConfig, WandbOptions
from interp.errors import UserError
from interp.track.progress import silent
from interp.track.run import open_run
from tests.command_line import largest_file
from tests.integration.toy_runs import files, interp, result, start, write_config


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_config(folder)
    done = interp(folder, "run", "toy.yaml")
    assert done.returncode == 0, done.stderr
    return result(folder / "runs" / "toy")


def test_killed_at_random_times_the_result_is_the_same(tmp_path: Path, uninterrupted: dict) -> None:
    """With W&B offline: its process, too, dies or lets go."""
    write_config(tmp_path, "experiment: toy\nwandb: {mode: offline}\n")
    chance = random.Random(0)
    kills = 0
    for _ in range(5):
        process = start(tmp_path, "run", "toy.yaml", "pause_seconds=0.1")
        begun = time.monotonic()
        while not (tmp_path / "runs/toy/manifest.json").exists() and time.monotonic() - begun < 30:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 1.0))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
    assert kills
    done = interp(tmp_path, "run", "toy.yaml", "pause_seconds=0.1")
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / "runs" / "toy") == uninterrupted


def test_a_checkpoint_in_the_scratch_folder_survives_a_kill(tmp_path: Path) -> None:
    write_config(tmp_path)
    process = start(tmp_path, "run", "toy.yaml", "training.rounds=40", "pause_seconds=0.1")
    checkpoint = tmp_path / "runs/toy/steps/.train.scratch/checkpoint.json"
    wait_for(checkpoint)
    process.kill()
    process.communicate()
    reached = json.loads(checkpoint.read_text())["round"]
    assert reached >= 2
    process = start(tmp_path, "run", "toy.yaml", "training.rounds=40", "pause_seconds=0.1")
    second = checkpoint.with_name("history.00001.jsonl")
    wait_for(second, lambda: second.read_text().count("\n") > 0)
    process.kill()
    process.communicate()
    assert json.loads(second.read_text().split("\n")[0])["at"] == reached


def test_two_processes_never_write_one_folder(tmp_path: Path) -> None:
    write_config(tmp_path)
    first = start(tmp_path, "run", "toy.yaml", "pause_seconds=30")
    wait_for(tmp_path / "runs/toy/steps/.draw.partial")
    before = files(tmp_path)
    second = interp(tmp_path, "run", "toy.yaml", "pause_seconds=30")
    assert second.returncode == 2
    assert f"pid {first.pid}, since 20" in second.stderr
    assert files(tmp_path) == before
    assert "running" in interp(tmp_path, "runs").stdout
    first.kill()
    first.communicate()
    assert "interrupted" in interp(tmp_path, "runs").stdout
    third = interp(tmp_path, "run", "toy.yaml", "--fresh")
    assert third.returncode == 0, third.stderr


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_stopping_politely_says_where_it_will_continue(tmp_path: Path, uninterrupted: dict, way: int) -> None:
    write_config(tmp_path, "experiment: toy\npause_seconds: 0.2\nwandb: {mode: offline}\n")
    process = start(tmp_path, "run", "toy.yaml")
    wait_for(tmp_path / "runs/toy/steps/.train.scratch/checkpoint.json")
    os.killpg(process.pid, way)  # a terminal's Ctrl-C reaches every process of the group, W&B's too
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; run the same command again to continue from step train"
    assert "Traceback" not in out + err
    assert "interrupted" in interp(tmp_path, "runs").stdout
    again = interp(tmp_path, "run", "toy.yaml")
    assert again.returncode == 0, again.stderr
    assert "step draw: finished before" in again.stderr
    assert result(tmp_path / "runs" / "toy") == uninterrupted


def test_a_finished_run_prints_its_result_and_writes_nothing(tmp_path: Path) -> None:
    write_config(tmp_path)
    first = interp(tmp_path, "run", "toy.yaml")
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "toy").rglob("*") if path.is_file()
    }
    again = interp(tmp_path, "run", "toy.yaml", "wandb.mode=offline", "purpose=another line")
    assert again.returncode == 0, again.stderr
    assert "had finished on" in again.stdout
    after = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "toy").rglob("*") if path.is_file()
    }
    assert after == before
    for line in first.stdout.splitlines()[1:]:
        assert line in again.stdout


def test_another_config_for_the_same_folder_is_refused_until_fresh(tmp_path: Path) -> None:
    write_config(tmp_path)
    assert interp(tmp_path, "run", "toy.yaml").returncode == 0
    before = files(tmp_path)
    other = interp(tmp_path, "run", "toy.yaml", "training.rounds=3", "seed=1")
    assert other.returncode == 2
    for expected in ("training.rounds: 6 then, 3 now", "seed: 0 then, 1 now", "name=...", "--fresh"):
        assert expected in other.stderr
    assert files(tmp_path) == before
    fresh = interp(tmp_path, "run", "toy.yaml", "training.rounds=3", "seed=1", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    old = list((tmp_path / "runs" / ".old").glob("toy-*"))
    assert len(old) == 1 and (old[0] / "metrics.json").exists()
    named = interp(tmp_path, "run", "toy.yaml", "name=second")
    assert named.returncode == 0 and (tmp_path / "runs" / "second" / "metrics.json").exists()


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "runs" / "toy").mkdir(parents=True)
    (tmp_path / "runs" / "toy" / "thesis.tex").write_text("mine")
    done = interp(tmp_path, "run", "toy.yaml")
    assert done.returncode == 2 and "not the folder of a run" in done.stderr
    assert (tmp_path / "runs" / "toy" / "thesis.tex").read_text() == "mine"


def test_a_bug_leaves_a_log_and_the_finished_steps(tmp_path: Path) -> None:
    write_config(tmp_path)
    done = interp(tmp_path, "run", "toy.yaml", "fail=train")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "runs/toy/error.log" in done.stderr
    log = (tmp_path / "runs/toy/error.log").read_text()
    assert "ZeroDivisionError: the toy was told to fail" in log and "toy.py" in log
    assert "failed" in interp(tmp_path, "runs").stdout
    assert files(tmp_path / "runs/toy/steps") >= {"draw/step.json"}


def test_continuing_with_other_code_is_said_and_kept_in_the_manifest(tmp_path: Path) -> None:
    write_config(tmp_path)
    interp(tmp_path, "run", "toy.yaml", "fail=train")
    path = tmp_path / "runs/toy/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sessions"][0]["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(manifest))
    again = interp(tmp_path, "run", "toy.yaml", "fail=train")
    assert "continuing with other code than before: torch 1.0 -> " in again.stderr
    sessions = json.loads(path.read_text())["sessions"]
    assert len(sessions) == 2 and {"versions", "git", "hardware", "python", "pid"} <= set(sessions[1])


@pytest.mark.parametrize("file", ["manifest.json", "config.yaml", "steps/draw/step.json"])
def test_a_damaged_run_folder_is_named_and_left_alone(tmp_path: Path, file: str) -> None:
    config = ExperimentConfig(experiment="toy", wandb=WandbOptions(mode="disabled"))

    def run_it(**options: bool) -> None:
        with open_run(config, "toy", tmp_path / "runs", progress=silent(), **options) as run:
            run.step("draw", lambda step: step.metric("a", 1))
            if not options:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_it()
    (tmp_path / "runs/toy" / file).write_text("{damaged: [")
    with pytest.raises(UserError) as caught:
        run_it()
    assert f"runs/toy/{file}" in caught.value.place and "--fresh" in caught.value.fix
    run_it(fresh=True)


def test_a_runs_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "runs").write_text("a file")
    done = interp(tmp_path, "run", "toy.yaml")
    assert done.returncode == 2 and "the system refuses: " in done.stderr
    assert "--runs-dir" in done.stderr and (tmp_path / "runs").read_text() == "a file"


def test_a_full_disk_is_explained_and_the_run_continues_later(tmp_path: Path, uninterrupted: dict) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "x", disk]).returncode:
        pytest.skip("mounting a small disk needs root")
    write_config(tmp_path)
    try:
        (disk / "ballast").write_bytes(bytes(40_000))
        done = interp(tmp_path, "run", "toy.yaml", f"--runs-dir={disk}")
        assert done.returncode == 2
        assert "no room to write: no space left on device" in done.stderr and str(disk) in done.stderr
        assert "MiB free" in done.stderr and "Traceback" not in done.stderr
        for file in disk.rglob("*.json"):
            json.loads(file.read_text())
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        again = interp(tmp_path, "run", "toy.yaml", f"--runs-dir={disk}")
        assert again.returncode == 0, again.stderr
        assert result(disk / "toy") == uninterrupted
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_size_limit_is_explained_too(tmp_path: Path) -> None:
    write_config(tmp_path)
    with largest_file(1000):  # which a process has from the one that starts it
        process = start(tmp_path, "run", "toy.yaml", PYTHONDONTWRITEBYTECODE="1")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "no room to write: file too large" in said
    assert not [name for name in files(tmp_path) if name.endswith(".tmp")]


def wait_for(path: Path, true=lambda: True, seconds: float = 30.0) -> None:
    begun = time.monotonic()
    while not (path.exists() and true()):
        assert time.monotonic() - begun < seconds, f"{path} did not come"
        time.sleep(0.01)


def test_a_run_folder_can_be_copied_and_still_read(tmp_path: Path) -> None:
    write_config(tmp_path)
    assert interp(tmp_path, "run", "toy.yaml").returncode == 0
    shutil.copytree(tmp_path / "runs", tmp_path / "elsewhere")
    shown = interp(tmp_path, "show", "toy", "--runs-dir=elsewhere")
    assert shown.returncode == 0
    for expected in (
        "status     finished",
        "experiment toy",
        "draw, train, judge",
        "rounds: 6",
        "judge/spread",
    ):
        assert expected in shown.stdout
    assert (
        "elsewhere/toy/report.html" in shown.stdout and "elsewhere/toy/tables/numbers.parquet" in shown.stdout
    )
