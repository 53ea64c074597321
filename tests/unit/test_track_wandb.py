"""The offline W&B file is read back and the numbers are in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from interp.config import ExperimentConfig, WandbOptions
from interp.errors import UserError
from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.heat import Heat, heat_chart
from interp.render.charts.scatter import scatter_chart
from interp.render.figure import Figure
from interp.statistics.estimate import Estimate
from interp.track.progress import silent
from interp.track.run import Run, open_run
from interp.track.step import Step
from interp.track.wandb_log import choose_mode
from tests.wandb_file import read_back


def work(run: Run, dies: bool = False) -> None:
    def train(step: Step) -> None:
        for at in range(0, 30, 10):
            step.log({"sae/l0": 12.5 - at, "sae/loss": 1 / (at + 1)}, at=at)
        step.metric("sae/l0_end", -7.5, headline=True)
        for name, chart in CHARTS.items():
            step.figure(Figure(name, f"the {name}", "", chart))
        step.table("latents", pd.DataFrame({"description": ["fires on *bridge*"], "tokens": [["a", "b"]]}))

    def score(step: Step) -> None:
        step.log({"score/mean": 0.25}, at=1)
        if dies:
            raise KeyboardInterrupt
        step.metric("score/mean_end", 0.25)

    run.step("train", train)
    run.step("score", score)
    run.write_report("<!doctype html><p>the report</p>")


WHISKERS = Estimate(0.5, 0.4, 0.6)
CHARTS = {
    "layers": curve_chart(
        [Curve("own", "a", [(0, WHISKERS), (1, Estimate())])], x_name="layer", y_name="share"
    ),
    "constant": curve_chart(  # without a name to write at its end: its layers share their data
        [Curve("", "a", [(0, Estimate(32.0)), (1, Estimate(32.0))])], x_name="step", y_name="L0"
    ),
    "shares": estimate_chart(
        [EstimateRow("all", [Entry("b", WHISKERS)])], x_name="share", names={"b": "own"}
    ),
    "pairs": scatter_chart([(1.0, 2.0)], role="a", x_name="exact", y_name="estimate"),
    "heat": heat_chart(Heat(["r"], ["c"], [[1.0]]), x_name="column", y_name="row", value_name="share"),
}
CONFIG = ExperimentConfig(experiment="x", seed=3, wandb=WandbOptions(mode="offline"))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_ERROR_REPORTING", "WANDB_SILENT", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that they are put back afterwards
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_offline_run_holds_config_history_metrics_tables_and_report(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], interrupted: bool
) -> None:
    """Also after an interruption: what the finished steps had logged is there, once, and in one W&B run."""
    if interrupted:
        with pytest.raises(KeyboardInterrupt), open_run(CONFIG, "x", tmp_path, progress=silent()) as run:
            work(run, dies=True)
    with open_run(CONFIG, "x", tmp_path, progress=silent()) as run:
        work(run)
    found = read_back(tmp_path / "x")
    assert found["config"]["seed"] == 3 and found["config"]["experiment"] == "x"
    points = [row for row in found["history"] if "train/at" in row]
    assert [(row["train/at"], row["sae/l0"], row["sae/loss"]) for row in points] == [
        (at, 12.5 - at, 1 / (at + 1)) for at in range(0, 30, 10)
    ]
    assert [(row["score/at"], row["score/mean"]) for row in found["history"] if "score/at" in row] == [
        (1, 0.25)
    ]
    assert found["summary"]["sae/l0_end"] == -7.5 and found["summary"]["score/mean_end"] == 0.25
    assert found["summary"]["tables/latents/nrows"] == 1
    assert found["exit"] == 0
    (table,) = (tmp_path / "x" / "wandb").glob("offline-run-*/files/media/table/tables/latents*.json")
    assert json.loads(table.read_text())["data"] == [["fires on *bridge*", '["a", "b"]']]
    constant = [[0, "", 32.0], [1, "", 32.0]]
    drawn = {
        "layers": [[0, "own", 0.5]],
        "constant": constant,
        "shares": [["all: own", 0.5, 0.4, 0.6]],
        "pairs": [[1.0, 2.0]],
    }
    kept = tmp_path / "x" / "wandb"
    for name, rows in drawn.items():  # as charts of W&B's own, which point at their tables
        (table,) = kept.glob(f"offline-run-*/files/media/table/charts/{name}_table*.json")
        assert json.loads(table.read_text())["data"] == rows
        shown = found["config"][f"_wandb/visualize/charts/{name}"]["panel_config"]
        assert shown["panelDefId"].startswith("wandb/") and shown["stringSettings"]["title"] == f"the {name}"
    for name in CHARTS:  # as pictures, and as Vega-Lite
        (picture,) = kept.glob(f"offline-run-*/files/media/html/figures/{name}*.html")
        assert "<svg" in picture.read_text()
        (spec,) = kept.glob(f"offline-run-*/files/figures/{name}.json")
        assert json.loads(spec.read_text())["usermeta"]["title"] == f"the {name}"
    (report,) = (tmp_path / "x" / "wandb").glob("offline-run-*/files/media/html/report*.html")
    assert "<p>the report</p>" in report.read_text()
    out, err = capfd.readouterr()
    assert out == "" and err == "", "wandb made noise"


def test_nothing_about_the_machine_the_code_or_the_user_is_kept(tmp_path: Path) -> None:
    with open_run(CONFIG, "x", tmp_path, progress=silent()) as run:
        work(run)
    assert read_back(tmp_path / "x")["host"] == "hidden"
    kept = {path.name for path in (tmp_path / "x" / "wandb").rglob("*") if path.is_file()}
    assert not kept & {"wandb-metadata.json", "requirements.txt", "conda-environment.yaml", "diff.patch"}
    assert not (tmp_path / "home").exists() or not any((tmp_path / "home").rglob("*wandb*"))


def test_disabled_means_no_wandb_at_all(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from interp.config import ExperimentConfig, WandbOptions
from interp.track.run import open_run
config = ExperimentConfig(experiment="x", wandb=WandbOptions(mode="disabled"))
with open_run(config, "x", Path({str(tmp_path)!r})) as run:
    run.step("a", lambda step: step.log({{"x": 1.0}}, at=0))
assert "wandb" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert not (tmp_path / "x" / "wandb").exists()


def test_auto_is_online_only_with_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert choose_mode("auto") == "offline"
    with pytest.raises(UserError, match="not logged in"):
        choose_mode("online")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert choose_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert choose_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode("auto") == "disabled"
    assert choose_mode("offline") == "offline"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {'x' * 40}\n")
    (home / ".netrc").chmod(0o600)
    assert choose_mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert choose_mode("auto") == "offline"


def test_a_key_in_the_environment_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    with open_run(CONFIG, "x", tmp_path, progress=silent()) as run:
        work(run)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if key.encode() in path.read_bytes()]


def test_a_key_that_no_server_accepts_falls_back_to_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is a closed port of this machine: "auto" goes on offline, without a prompt."""
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    config = ExperimentConfig(experiment="x", wandb=WandbOptions(mode="auto"))
    with open_run(config, "x", tmp_path, progress=silent()) as run:
        work(run)
    assert read_back(tmp_path / "x")["summary"]["sae/l0_end"] == -7.5
