"""`describe` and what stands on it, on the world: offline, and with a model behind a real HTTP server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from interp.cli import app
from interp.cli.loading import load_config
from interp.errors import UserError
from interp.llm.budget import BudgetSpent
from interp.llm.ledger import FILE, read_calls
from interp.store.store import Store
from interp.track.run import open_run
from tests.describer import answer
from tests.endpoint_server import Script, serving

SMALL = (
    "corpus.documents=500", "mining.context_size=64", "neurons=[3]", "sae=null", "sample=3", "samples=2",
    "scoring.random_windows=6", "scoring.texts=6", "scoring.nulls=2", "features_at_once=2",
    "scoring.prompts=3", "scoring.new_tokens=4",
)  # fmt: skip
BY_ENDPOINT = (
    "explainers=[{kind: prompted}, {kind: contrastive}]", "simulator={kind: structured}",
    "judges=[{kind: endpoint}]", "summarise_by=main", "samples=3",
)  # fmt: skip


def _run(folder: Path, *overrides: str, config: str = "configs/describe.yaml") -> Path:
    experiment, settings = load_config(config, [*overrides])
    experiment.check(settings)
    with open_run(settings, settings.name, folder) as run:
        experiment.run(settings, run)
    return folder / settings.name


@pytest.fixture
def server() -> Iterator[Script]:
    with serving(Script(answer=answer)) as script:
        yield script


def test_offline_it_describes_scores_and_stores_and_search_finds_it(tmp_path: Path) -> None:
    folder = _run(tmp_path, *SMALL)
    store = Store(folder / "store.sqlite")
    features = list(store.features("world"))
    assert len(features) == 3
    assert all(
        len(one.descriptions) == 2 and sum(d.chosen for d in one.descriptions) == 1 for one in features
    )
    (chosen,) = (one for one in features[0].descriptions if one.chosen)
    kinds = {score.kind for score in chosen.scores}
    assert {"simulation", "detection", "fuzzing", "intervention", "agreement"} <= kinds
    assert all(score.null_mean is not None for score in chosen.scores if score.kind == "simulation")
    assert set(features[0].quantiles) >= {"0.99", "0.9999"}
    before = (folder / "metrics.json").read_text()
    assert (_run(tmp_path, *SMALL) / "metrics.json").read_text() == before
    found = CliRunner().invoke(app, ["search", str(folder), chosen.text, "-k", "1"])
    assert found.exit_code == 0, found.output
    assert features[0].key in found.output
    assert "<script" not in (folder / "report.html").read_text().split("</style>")[1].split("<script>")[0]


def test_with_an_endpoint_nothing_is_asked_twice_though_the_budget_stops_it_on_the_way(
    tmp_path: Path, server: Script
) -> None:
    endpoint = f"endpoints={{main: {{model: scripted, base_url: '{server.url}', budget_tokens: 20000}}}}"
    with pytest.raises(BudgetSpent, match="20,000 tokens"):
        _run(tmp_path, *SMALL, *BY_ENDPOINT, endpoint)
    assert server.calls > 3
    more = endpoint.replace("20000", "10000000")
    folder = _run(tmp_path, *SMALL, *BY_ENDPOINT, more)
    bodies = [json.dumps(body, sort_keys=True) for _, body in server.seen]
    assert len(set(bodies)) == len(bodies)
    table = pd.read_parquet(folder / "tables" / "descriptions.parquet")
    assert len(table) == 6
    assert (table["candidates"] == 3).all()
    calls = list(read_calls(folder / FILE))
    assert {call.purpose for call in calls} == {"explain", "simulate", "judge", "summarise"}
    assert sum(call.outcome == "answered" for call in calls) == server.calls
    store = Store(folder / "store.sqlite")
    texts = {one.text for row in store.features("world") for one in row.descriptions}
    assert "words with e <b>0</b>" in texts
    assert {d.summary for row in store.features("world") for d in row.descriptions} == {"words with e"}
    assert "words with e <b>" not in (folder / "report.html").read_text()
    costs = CliRunner().invoke(app, ["cost", "describe", "--runs-dir", str(tmp_path)])
    assert costs.exit_code == 0, costs.output
    assert f"{server.calls:,}" in costs.output
    assert "unknown" in costs.output


def test_answers_that_cannot_be_read_are_counted_and_leave_scores_undefined(tmp_path: Path) -> None:
    with serving(Script(answer=lambda body: "I cannot do that.")) as server:
        endpoint = f"endpoints={{main: {{model: scripted, base_url: '{server.url}'}}}}"
        by_words = (
            "explainers=[{kind: patterns}]",
            "simulator={kind: structured}",
            "judges=[{kind: endpoint}]",
        )
        folder = _run(tmp_path, *SMALL, *by_words, "samples=1", "scoring.prompts=0", endpoint)
    table = pd.read_parquet(folder / "tables" / "descriptions.parquet")
    assert table["simulation"].isna().all()
    assert (table["simulation failures"] >= 6).all()
    assert (table["detection failures"] >= 6).all()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["simulation/1_patterns/undefined"] == 3


def test_what_cannot_work_is_said_before_anything_is_written(tmp_path: Path) -> None:
    prompted = "explainers=[{kind: prompted}]"
    with pytest.raises(UserError, match="does not read the words"):
        _run(tmp_path, *SMALL, prompted)
    with pytest.raises(UserError, match="no endpoint 'main'"):
        _run(tmp_path, *SMALL, prompted, "simulator={kind: structured}")
    with pytest.raises(UserError, match="nothing to describe"):
        _run(tmp_path, *SMALL, "neurons=none")
    with pytest.raises(UserError, match="no classifier"):
        _run(tmp_path, *SMALL, f"interest={tmp_path}")
    with pytest.raises(UserError, match=r"no config\.json"):
        _run(tmp_path, *SMALL, f"simulator={{kind: expected_value, model: {tmp_path}}}")
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_of_interest_is_trained_and_used(tmp_path: Path) -> None:
    lines = [f"fires on token {i} of a date,1\nsomething vague number {i},0" for i in range(15)]
    (tmp_path / "labels.csv").write_text("description,interesting\n" + "\n".join(lines) + "\n")
    trained = _run(tmp_path, f"labels={tmp_path / 'labels.csv'}", config="configs/interestingness.yaml")
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["held_out/auroc"] == 1
    assert metrics["held_out/null_auroc"] < 0.8
    classifier = trained / "steps" / "train" / "classifier"
    folder = _run(tmp_path, *SMALL, f"interest={classifier}", "scoring.prompts=0")
    verdicts = [
        d for row in Store(folder / "store.sqlite").features("world") for d in row.descriptions if d.chosen
    ]
    assert all(one.interesting is not None and "classifier" in one.reason for one in verdicts)
    (tmp_path / "labels.csv").write_text("description,interesting\nx,1\n")
    with pytest.raises(UserError, match="only 1 descriptions"):
        _run(tmp_path, f"labels={tmp_path / 'labels.csv'}", "name=few", config="configs/interestingness.yaml")
