"""Kills the toy run at every single write, each time in a new folder, and lets it finish; prints how many.

Forks from one process that has imported everything, so that a hundred runs take seconds.
"""

import os
import signal
import sys
from pathlib import Path

import pandas  # noqa: F401  (imported before the forks, so that no fork pays for it)
import pyarrow.parquet  # noqa: F401

from interp.config import load_config
from interp.track.progress import silent
from interp.track.run import open_run
from tests.integration.toy_runs import result


def run_in_a_fork(config_file: str, folder: Path, dies_at: int) -> int:
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.environ["TOY_DIES_AT"] = str(dies_at)
    experiment, config = load_config(config_file)
    if dies_at >= 0:
        import experiments.toy

        experiments.toy._die_at_nth_write()
        experiments.toy._die_at_nth_write = lambda: None
    with open_run(config, "toy", folder, progress=silent()) as run:
        experiment.run(config, run)
    os._exit(0)


def main(config_file: str, folder: Path) -> None:
    load_config(config_file)
    assert run_in_a_fork(config_file, folder / "whole", -1) == 0
    expected = result(folder / "whole" / "toy")
    for moment in range(1000):
        runs = folder / str(moment)
        if run_in_a_fork(config_file, runs, moment) == 0:
            break
        code = run_in_a_fork(config_file, runs, -1)
        assert code == 0, f"the restart after a kill at {moment} failed: {code}"
        assert result(runs / "toy") == expected, f"another result after a kill at {moment}"
        left = [p for p in (runs / "toy").rglob("*") if p.name.endswith((".tmp", ".partial", ".scratch"))]
        assert not left, f"left after a kill at {moment}: {left}"
    print(moment)


if __name__ == "__main__":
    signal.alarm(300)
    main(sys.argv[1], Path(sys.argv[2]))
