"""Starts the toy experiment through the real command line, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.command_line import process

ROOT = Path(__file__).parents[2]
TOYS = Path(__file__).parent / "toy_experiments"


def environment(**more: str) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("WANDB")},
        "PYTHONPATH": os.pathsep.join(paths),
        "INTERP_EXPERIMENTS_PATH": str(TOYS),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        **more,
    }


def write_config(folder: Path, text: str = "", name: str = "toy") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text or "experiment: toy\npurpose: a toy\nwandb: {mode: disabled}\n")
    return file


def start(folder: Path, *arguments: str, **environment_more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "interp.cli", *arguments],
        cwd=folder,
        env=environment(**environment_more),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # a shell's background jobs ignore Ctrl-C, and so would what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interp(folder: Path, *arguments: str, **environment_more: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, in a process that need not import everything first."""
    return process(*arguments, timeout=120, folder=folder, environment=environment(**environment_more))


def result(run_folder: Path) -> dict[str, Any]:
    """Everything a finished toy run says, without times."""
    metrics = json.loads((run_folder / "metrics.json").read_text())
    history = (run_folder / "steps" / "train" / "history.jsonl").read_text()
    table = (run_folder / "tables" / "numbers.parquet").read_bytes()
    return {
        "metrics": metrics,
        "history": history,
        "table": table,
        "report": (run_folder / "report.html").read_text(),
    }


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
