"""A session that is exported and replayed as a person does it: the same text, and what steering changes."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from interp import Subject, UserError
from interp.cli.loading import load_config
from interp.corpus.source import WorldSource
from interp.monitor.bench import Sources
from interp.monitor.session import Session, Settings, State
from interp.monitor.steering import FeatureCard
from tests.command_line import process


@pytest.fixture(scope="module")
def config(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with three quarters of the neurons of a layer silenced, and a forked answer."""
    sources = Sources(neutral=WorldSource(documents=400), neutral_texts=5)
    settings = Settings(max_new_tokens=6, temperature=0.8, seed=5)
    session = Session(sources.open(subject), State(settings=settings))
    session.steer(FeatureCard(name="many", features=tuple(f"mlp.3/{i}+" for i in range(240)), strength=0))
    session.say("the capital of france is")
    list(session.write())
    list(session.fork(1, 1, subject.single_token("of")))
    file = tmp_path_factory.mktemp("session") / "said.yaml"
    file.write_text(session.export())
    return file


def test_a_replay_writes_what_the_session_wrote(config: Path, subject: Subject, tmp_path: Path) -> None:
    done = process("run", str(config), "--runs-dir", str(tmp_path), "wandb.mode=disabled")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "said" / "metrics.json").read_text())
    assert metrics["as recorded"] is True and metrics["features"] == 240
    assert metrics["side effect, steered, nats"] > 0
    tokens = pd.read_parquet(tmp_path / "said" / "tables" / "tokens.parquet")
    steered = tokens[tokens["condition"] == "steered"]["id"].tolist()
    turn = yaml.safe_load(config.read_text())["state"]["conversation"]["turns"][2]
    assert (turn["given"], turn["tokens"][2:]) == (2, steered)
    page = (tmp_path / "said" / "report.html").read_text()
    assert subject.decode(steered[:1]) in page and "<script src" not in page


def test_what_cannot_be_replayed_is_said_before_anything_runs(config: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(config.read_text())
    for change, said in (
        ({"conversation": {}}, "nothing was said"),
        ({"conversation": {"turns": [{"role": "user", "text": "the"}], "shown": 3}}, "no turn 3"),
        ({"cards": [{"kind": "features", "features": []}]}, "at least 1 item"),
    ):
        file = tmp_path / "wrong.yaml"
        file.write_text(yaml.safe_dump(values | {"state": values["state"] | change}))
        with pytest.raises(UserError, match=said):
            experiment, wrong = load_config(file)
            experiment.check(wrong)
