"""The command line as a person meets it, in processes of its own."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.toy_runs import ROOT, TOYS, environment, files, interp, write_config


def test_help_comes_quickly_and_imports_nothing_heavy() -> None:
    """The best of several, as other work may share the machine."""
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "interp.cli", "--help"], env=environment(), capture_output=True, text=True
        )
        times.append(time.perf_counter() - begun)
    assert done.returncode == 0 and "configs" in done.stdout
    assert min(times) < 1.0
    script = "import interp.cli, interp.config, interp.track.run, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True
    ).stdout.split()
    assert not {"torch", "pandas", "wandb", "transformer_lens", "sae_lens", "transformers", "altair"} & set(
        loaded
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["toy.yaml", "training.ruonds=3"], "did you mean `rounds`?"),
        (["toy.yaml", "seed=many"], "valid integer"),
        (["toy.yaml", "layer=12"], "there is no layer 12"),
        (["tooy.yaml"], "did you mean toy.yaml?"),
        (["toy.yaml", "experiment=none_such"], "valid experiments: "),
        (["toy.yaml", "name=../up"], "cannot be the name of a run"),
        (["toy.yaml", "wandb.mode=online"], "wandb login"),
    ],
)
def test_what_a_user_can_cause_exits_with_2_one_message_and_nothing_written(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    write_config(tmp_path)
    before = files(tmp_path)
    done = interp(tmp_path, "run", *arguments, HOME=str(tmp_path))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["error", "where", "fix"]
    assert says in done.stderr and done.stdout == ""
    assert files(tmp_path) == before


def test_a_wrong_option_exits_with_2(tmp_path: Path) -> None:
    done = interp(tmp_path, "run", "--frsh", "toy.yaml")
    assert done.returncode == 2 and "--fresh" in done.stderr


def test_a_run_prints_its_headline_and_where_the_report_is(tmp_path: Path) -> None:
    write_config(tmp_path)
    done = interp(tmp_path, "run", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "draw/mean" in done.stdout and "train/weight_end" in done.stdout
    assert "judge/spread" not in done.stdout
    assert done.stdout.splitlines()[-1] == "report: runs/toy/report.html"


def test_a_config_is_found_by_its_bare_name(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    write_config(tmp_path / "configs")
    done = interp(tmp_path, "run", "toy", "name=found")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "found" / "metrics.json").exists()


def test_an_experiment_of_ones_own_may_be_a_folder(tmp_path: Path) -> None:
    """It imports what the project's experiments share by relative names, wherever it lies itself."""
    done = interp(tmp_path, "run", str(TOYS / "toy_folder.yaml"))
    assert done.returncode == 0, done.stderr
    assert "draw/mean" in done.stdout
    assert "What is drawn?" in (tmp_path / "runs" / "toy_folder" / "report.html").read_text()
    assert (tmp_path / "runs" / "toy_folder" / "figures" / "mean.svg").exists()
    refused = interp(tmp_path, "run", str(TOYS / "toy_folder.yaml"), "name=none", "draws=0")
    assert refused.returncode == 2 and "there is nothing to draw" in refused.stderr
    assert not (tmp_path / "runs" / "none").exists()


def test_configs_lists_purposes_and_survives_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    write_config(tmp_path / "configs", "experiment: toy\npurpose: a [red]toy[/red] for tests\n")
    write_config(tmp_path / "configs", "extends: nowhere.yaml\n", "broken")
    done = interp(tmp_path, "configs")
    assert done.returncode == 0, done.stderr
    assert "a [red]toy[/red] for tests" in done.stdout
    assert "cannot be read" in done.stdout


def test_runs_lists_status_and_headline(tmp_path: Path) -> None:
    assert "no runs in" in interp(tmp_path, "runs").stdout
    write_config(tmp_path)
    interp(tmp_path, "run", "toy.yaml", "name=good")
    interp(tmp_path, "run", "toy.yaml", "name=bad", "fail=train")
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "config.yaml").write_text("experiment: toy\n")
    (tmp_path / "runs" / "torn" / "manifest.json").write_text('{"status": "fin')
    lines = interp(tmp_path, "runs").stdout.splitlines()
    by_name = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    assert "finished" in by_name["good"] and "draw/mean" in by_name["good"]
    assert "failed" in by_name["bad"]
    assert "unreadable" in by_name["torn"]


def test_show_of_an_unknown_run_names_the_nearest(tmp_path: Path) -> None:
    write_config(tmp_path)
    interp(tmp_path, "run", "toy.yaml", "name=quickstart")
    done = interp(tmp_path, "show", "quikstart")
    assert done.returncode == 2 and "did you mean quickstart?" in done.stderr


def test_bench_lists_what_there_is(tmp_path: Path) -> None:
    done = interp(tmp_path, "bench", "none_such")
    assert done.returncode == 2 and "there is no benchmark 'none_such'" in done.stderr
    for file in (ROOT / "benchmarks").glob("[!_]*.py"):
        assert file.stem in done.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    write_config(tmp_path)
    interp(tmp_path, "run", "toy.yaml")
    command = f"{sys.executable} -m interp.cli show toy | head -1"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stderr == "" and done.stdout.startswith("run        toy")


def test_without_a_terminal_progress_is_plain_lines(tmp_path: Path) -> None:
    write_config(tmp_path)
    done = interp(tmp_path, "run", "toy.yaml", "pause_seconds=0.4")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"training: 6/6 rounds, done in \d+ s", done.stderr.strip()), done.stderr


def test_on_a_terminal_progress_is_a_bar(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    write_config(tmp_path)
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "interp.cli", "run", "toy.yaml", "pause_seconds=0.1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(TERM="xterm"), stdout=subprocess.DEVNULL, stderr=follower
    )
    os.close(follower)
    drawn = b""
    try:
        while piece := os.read(leader, 65536):
            drawn += piece
    except OSError:
        pass  # Linux says so when the other side is closed
    os.close(leader)
    assert process.wait() == 0
    assert "training" in drawn.decode() and "━" in drawn.decode() and "6/6 rounds" in drawn.decode()
