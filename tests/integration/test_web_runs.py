"""The page Runs: what it lists and shows, that files stay inside, and stop and continue of a running run."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from starlette.testclient import TestClient

from interp import MlpNeurons, Subject
from interp.errors import UserError
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.track.control import stop
from interp.track.listing import list_runs
from interp.track.live import NotedProgress, read_history, read_live
from interp.track.lock import locked
from interp.track.progress import Progress
from interp.track.step import read_points
from interp.web.app import make_app
from interp.web.run_views import curve_views, drawing, metric_rows
from tests.integration.toy_runs import environment, result, start, write_config

Json = dict[str, Any]
SLOW = ("pause_seconds=0.2", "training.rounds=12")
SECRET = "not for everyone"


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished toy run that never was interrupted, a failed one, and a folder outside with a secret."""
    folder = tmp_path_factory.mktemp("toys")
    config = str(write_config(folder))
    whole = start(folder, "run", config, "name=whole", *SLOW)
    failed = start(folder, "run", config, "name=failed", "fail=train")
    assert (whole.wait(60), failed.wait(60)) == (0, 1)
    outside = folder / "outside"
    outside.mkdir()
    (outside / "config.yaml").write_text(SECRET)
    (outside / "secret.svg").write_text(SECRET)
    return folder / "runs"


@pytest.fixture(scope="module")
def client(subject: Subject, runs_dir: Path) -> TestClient:
    bench = Bench(subject, Knowledge("world"), [MlpNeurons(subject, 0)])
    app = make_app(bench, runs_dir=runs_dir)
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets what the server starts find the toy experiment."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


def said(answer: Any, status: int = 200) -> Json:
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def until(found: Callable[[], Any], seconds: float = 40) -> Any:
    """What it returns, once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_the_list_has_each_run_as_the_command_line_has(client: TestClient, runs_dir: Path) -> None:
    listed = {one["name"]: one for one in said(client.get("/api/runs"))["runs"]}
    known = {one.name: one for one in list_runs(runs_dir)}
    assert listed.keys() == known.keys() >= {"whole", "failed"}
    whole = listed["whole"]
    assert (whole["status"], whole["experiment"], whole["report"]) == ("finished", "toy", True)
    assert listed["failed"]["status"] == "failed"
    metrics = json.loads((runs_dir / "whole" / "metrics.json").read_text())
    assert {one["name"]: one["value"] for one in whole["headline"]} == {
        name: metrics[name] for name in ("draw/mean", "train/weight_end")
    }
    assert whole["seconds"] == known["whole"].seconds


def test_a_run_shows_its_config_its_metrics_and_what_ended_it(client: TestClient, runs_dir: Path) -> None:
    page = client.get("/runs/whole").text
    assert "pause_seconds: 0.2" in page and "judge/undefined" in page and "not defined" in page
    assert re.search(r"Python</dt><dd>3\.", page) and "/runs/whole/tables/numbers.csv" in page
    assert len(page) < 300_000
    assert "the toy was told to fail" in client.get("/runs/failed").text
    for address in ("/runs", "/static/runs.js", "/static/run.js", "/static/curves.js", "/static/runs.css"):
        assert client.get(address).status_code == 200


def test_a_run_with_a_damaged_file_says_which(client: TestClient, runs_dir: Path) -> None:
    broken = runs_dir / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text("name: [")
    page = client.get("/runs/broken")
    assert page.status_code == 200 and "config.yaml" in page.text and "--fresh" in page.text
    listed = {one["name"]: one for one in said(client.get("/api/runs"))["runs"]}
    assert listed["broken"]["status"] == "unreadable"
    said(client.post("/api/runs/broken/continue"), 400)
    (broken / "config.yaml").unlink()
    broken.rmdir()


def test_tables_are_the_runs_own_and_formulas_are_text(client: TestClient, runs_dir: Path) -> None:
    answer = client.get("/runs/whole/tables/numbers.csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    lines = answer.text.split("\r\n")
    numbers = pd.read_parquet(runs_dir / "whole" / "tables" / "numbers.parquet")["number"].tolist()
    assert lines[0] == "number" and [float(line) for line in lines[1:] if line] == numbers
    odd = runs_dir / "whole" / "tables" / "odd.parquet"
    pd.DataFrame({"text": ["=1+1", 'a "b"\nc']}).to_parquet(odd)
    assert client.get("/runs/whole/tables/odd.csv").text == 'text\r\n\'=1+1\r\n"a ""b""\nc"\r\n'
    odd.write_bytes(b"no table")
    assert "cannot be read" in said(client.get("/runs/whole/tables/odd.csv"), 400)["error"]["thing"]
    assert "not readable" in client.get("/runs/whole").text
    odd.unlink()


def test_a_report_runs_apart_from_the_app(client: TestClient, runs_dir: Path) -> None:
    answer = client.get("/runs/whole/report")
    assert answer.text == (runs_dir / "whole" / "report.html").read_text()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none'")
    assert "allow-same-origin" not in policy and "connect-src" not in policy
    assert "frame-ancestors 'self'" in policy
    assert "frame-src 'self'" in client.get("/runs/whole").headers["content-security-policy"]
    assert "frame-src" not in client.get("/runs").headers["content-security-policy"]
    figure = client.get("/runs/whole/figures/curve.svg")
    assert figure.headers["content-type"] == "image/svg+xml"
    assert figure.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    light, dark = ("#ffffff", "#141619")
    file = runs_dir / "whole" / "figures" / "curve.svg"
    assert light in drawing(file, "light") and dark not in drawing(file, "light")
    assert drawing(file, "dark").count(dark) == drawing(file, "light").count(light)
    assert client.get("/runs/whole/figures/curve.svg?theme=dark").text == drawing(file, "dark")


def test_a_file_is_a_download_that_nothing_runs(client: TestClient, runs_dir: Path) -> None:
    answer = client.get("/runs/whole/files/report.html")
    assert answer.content == (runs_dir / "whole" / "report.html").read_bytes()
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "path",
    [
        "/runs/whole/files/../../outside/config.yaml",
        "/runs/whole/files/%2e%2e/%2e%2e/outside/config.yaml",
        "/runs/whole/files/..%2f..%2foutside%2fconfig.yaml",
        "/runs/whole/files//etc/passwd",
        "/runs/whole/files/%2fetc%2fpasswd",
        "/runs/whole/files/leak/config.yaml",
        "/runs/whole/files/link.yaml",
        "/runs/whole/files/tables",
        "/runs/whole/files/a%00b",
        "/runs/whole/figures/link.svg",
        "/runs/whole/figures/..%2f..%2f..%2foutside%2fsecret.svg",
        "/runs/whole/tables/..%2f..%2f..%2foutside%2fsecret.csv",
        "/runs/elsewhere",
        "/runs/elsewhere/files/config.yaml",
        "/runs/%2e%2e",
        "/runs/%2e%2e/files/outside/config.yaml",
        "/runs/..%2foutside",
        "/runs/.locks",
        "/runs/none/report",
        "/api/runs/elsewhere/live",
        "/api/runs/%2e%2e/live",
    ],
)
def test_nothing_outside_of_a_runs_folder_is_given(client: TestClient, runs_dir: Path, path: str) -> None:
    outside = runs_dir.parent / "outside"
    links = {
        runs_dir / "whole" / "link.yaml": outside / "config.yaml",
        runs_dir / "whole" / "leak": outside,
        runs_dir / "whole" / "figures" / "link.svg": outside / "secret.svg",
        runs_dir / "elsewhere": outside,
    }
    for link, target in links.items():
        link.symlink_to(target)
    try:
        answer = client.get(path, follow_redirects=False)
        assert answer.status_code == 404 and SECRET not in answer.text and "root:" not in answer.text
    finally:
        for link in links:
            link.unlink()


def test_stop_and_continue_refuse_with_a_sentence(client: TestClient, runs_dir: Path) -> None:
    assert "is not running" in said(client.post("/api/runs/whole/stop"), 400)["error"]["thing"]
    assert "is finished" in said(client.post("/api/runs/whole/continue"), 400)["error"]["thing"]
    said(client.post("/api/runs/none/continue"), 404)
    said(client.get("/api/runs/failed/continue"), 405)
    other = {"Origin": "http://elsewhere.example"}
    said(client.post("/api/runs/failed/continue", headers=other), 403)
    said(client.post("/api/runs/failed/continue", json={"command": "rm"}), 400)
    config = runs_dir / "failed" / "config.yaml"
    kept = config.read_text()
    config.unlink()
    try:
        said(client.post("/api/runs/failed/continue"), 400)
        config.write_text(kept.replace("name: failed", "name: another"))
        assert "another" in said(client.post("/api/runs/failed/continue"), 400)["error"]["thing"]
    finally:
        config.write_text(kept)
    assert not (runs_dir / "failed" / "output.log").exists()


def test_only_the_process_that_holds_the_lock_is_interrupted(runs_dir: Path) -> None:
    """The lock's note names a process, which may be an old number that another process has now."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        try:
            with locked(runs_dir, "held"):
                with pytest.raises(UserError, match="this server itself"):
                    stop(runs_dir, "held")
                note = runs_dir / ".locks" / "held.json"
                for number, words in (
                    (bystander.pid, "not one of yours"),
                    (0, "has not said"),
                    (True, "has not"),
                ):
                    note.write_text(json.dumps({"pid": number, "since": "now"}))
                    with pytest.raises(UserError, match=words):
                        stop(runs_dir, "held")
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_run_is_watched_stopped_and_continued_to_the_same_end(
    client: TestClient, runs_dir: Path, toys: None
) -> None:
    process = start(runs_dir.parent, "run", "toy.yaml", "name=toy", *SLOW)

    def live() -> Json:
        return said(client.get("/api/runs/toy/live")) if (runs_dir / "toy" / "config.yaml").exists() else {}

    def noted() -> Json | None:
        now = live()
        return now if (now.get("doing") or {}).get("tasks") and now["curves"] else None

    seen = until(noted)
    assert (seen["status"], seen["steps"]) == ("running", ["draw"])
    assert (seen["doing"]["pid"], seen["doing"]["step"]) == (process.pid, "train")
    (task,) = seen["doing"]["tasks"]
    assert task["what"] == "training" and 0 < task["share"] < 1 and task["seconds_left"] > 0
    assert task["amount"] == f"{round(task['share'] * 12)}/12 rounds"
    assert "is running" in said(client.post("/api/runs/toy/continue"), 400)["error"]["thing"]
    assert said(client.post("/api/runs/toy/stop"))["pid"] == process.pid
    assert process.wait(20) == 130 and "run the same command again" in process.communicate()[1]
    stopped = live()
    assert stopped["status"] == "interrupted" and stopped["doing"] is None
    assert not (runs_dir / ".locks" / "toy.progress").exists()
    logged = {tuple(point) for point in stopped["curves"][0]["points"]}

    number = said(client.post("/api/runs/toy/continue"))["pid"]
    assert live()["status"] in ("starting", "running")
    assert "being continued" in said(client.post("/api/runs/failed/continue"), 400)["error"]["thing"]
    until(lambda: live()["status"] == "running")
    assert live()["doing"]["pid"] == number
    until(lambda: live()["status"] == "finished")
    assert result(runs_dir / "toy") == result(runs_dir / "whole")
    curve = live()["curves"][0]
    final = read_points(runs_dir / "toy" / "steps" / "train" / "history.jsonl")
    assert [tuple(point) for point in curve["points"]] == [(p.at, p.values["train/weight"]) for p in final]
    assert logged <= {(p.at, p.values["train/weight"]) for p in final} and len(logged) > 1
    log = (runs_dir / "toy" / "output.log").read_text()
    assert "step draw: finished before" in log and "toy finished" in log


def test_a_continuation_that_fails_shows_what_it_printed(
    client: TestClient, runs_dir: Path, toys: None
) -> None:
    said(client.post("/api/runs/failed/continue"))
    done = until(lambda: (now := said(client.get("/api/runs/failed/live")))["status"] != "starting" and now)
    until(lambda: said(client.get("/api/runs/failed/live"))["status"] == "failed")
    done = said(client.get("/api/runs/failed/live"))
    assert "the toy was told to fail" in done["printed"]


def test_a_run_in_the_background_takes_the_other_polite_signal(runs_dir: Path) -> None:
    """Background jobs of a shell ignore Ctrl-C; SIGTERM ends a run in the same way."""
    quiet = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from interp.cli import main; main()"
    command = [sys.executable, "-c", quiet, "run", "toy.yaml", "name=behind", *SLOW]
    with subprocess.Popen(
        command, cwd=runs_dir.parent, env=environment(), stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            until(lambda: (one := read_live(runs_dir, "behind")) and one.step == "train")
            assert stop(runs_dir, "behind") == process.pid
            assert process.wait(20) == 130
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
    (run,) = (one for one in list_runs(runs_dir) if one.name == "behind")
    assert run.status == "interrupted"


def test_progress_is_noted_while_tasks_are_open(tmp_path: Path) -> None:
    (tmp_path / ".locks").mkdir()
    file = tmp_path / ".locks" / "x.progress"
    seen: list[tuple[float | int, float | int]] = []

    class Shown(Progress):
        def say(self, line: str) -> None:
            seen.append((0, 0))

    progress = NotedProgress(Shown(), file, every=0)
    with progress.task("outer", total=4, unit="things") as outer:
        outer(1, note="now")
        with progress.task("inner") as inner:
            inner(2.5)
            tasks = json.loads(file.read_text())["tasks"]
            assert [(t["what"], t["done"], t["total"]) for t in tasks] == [
                ("outer (now)", 1, 4), ("inner", 2.5, None)
            ]  # fmt: skip
        assert [t["what"] for t in json.loads(file.read_text())["tasks"]] == ["outer (now)"]
    assert json.loads(file.read_text())["tasks"] == []
    progress.say("news")
    assert len(seen) == 1
    never = NotedProgress(Progress(), tmp_path / "no" / "such" / "folder", every=0)
    with never.task("goes on all the same") as advance:
        advance(1)
    assert advance.done == 1
    with NotedProgress(Progress(), tmp_path / "quick").task("soon over") as quick:
        quick(1)
    assert not (tmp_path / "quick").exists()


def test_points_that_were_logged_again_count_once(tmp_path: Path) -> None:
    scratch = tmp_path / "steps" / ".train.scratch"
    scratch.mkdir(parents=True)
    attempts = [[(0, 1.0), (1, 2.0), (2, 3.0)], [(1, 20.0), (2, 30.0), (3, 40.0)]]
    for number, points in enumerate(attempts):
        lines = "".join(json.dumps({"at": at, "loss": value}) + "\n" for at, value in points)
        (scratch / f"history.{number:05d}.jsonl").write_text(lines)
    (scratch / "history.00001.jsonl").open("a").write('{"at": 4, "lo')  # being written
    (curve,) = curve_views(read_history(tmp_path))
    assert curve["points"] == [(0, 1.0), (1, 20.0), (2, 30.0), (3, 40.0)]
    many = "".join(json.dumps({"at": at, "x": at, "word": "no number"}) + "\n" for at in range(5000))
    (scratch / "history.00002.jsonl").write_text(many)
    thinned = {one["name"]: one for one in curve_views(read_history(tmp_path))}["x"]["points"]
    assert len(thinned) == 400 and thinned[0] == (0, 0) and thinned[-1] == (4999, 4999)
    assert all(at == value for at, value in thinned)


def test_metrics_have_their_interval_and_unit() -> None:
    rows = metric_rows({
        "score/x/both": 0.4123, "score/x/both_low": 0.31, "score/x/both_high": 0.52, "n": 1200,
        "sae/cross_entropy_clean": 2.5, "lr_low": 0.25, "fast": True, "odd": None, "word": "é",
    })  # fmt: skip
    shown = {one["name"]: (one["shown"], one["unit"]) for one in rows}
    assert shown == {
        "score/x/both": ("0.4 (0.3 to 0.5)", ""), "n": ("1,200", "count"), "lr_low": ("0.250", ""),
        "sae/cross_entropy_clean": ("2.50", "nats"), "fast": ("yes", ""), "odd": ("not defined", ""),
        "word": ("é", ""),
    }  # fmt: skip


def test_without_runs_the_list_is_empty(subject: Subject, tmp_path: Path) -> None:
    app = make_app(Bench(subject, Knowledge("world"), []), runs_dir=tmp_path / "none")
    with TestClient(app, base_url="http://127.0.0.1:8787") as client:
        assert said(client.get("/api/runs")) == {"runs": []}
        assert client.get("/runs").status_code == 200
