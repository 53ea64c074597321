"""Estimates against a run: disk, tokens and calls, to a factor of 1.5; `interp bench estimate` does time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interp.cli.loading import load_config
from interp.llm.ledger import FILE, call_costs
from interp.plan.estimate import estimate
from interp.track.run import open_run
from tests.endpoint_server import Script, serving

BOUND = 1.5
OPTIONS = (
    "corpus.documents=1500", "neurons=[3]", "sae=null", "sample=6", "samples=2", "wandb.mode=disabled",
    "mining.sampled_tokens=2048", "scoring.random_windows=10", "scoring.texts=10", "scoring.nulls=2",
    "scoring.prompts=0", "features_at_once=6", "explainers=[{kind: prompted}]", "summarise_by=main",
    "simulator={kind: structured}", "judges=[{kind: endpoint}]",
)  # fmt: skip


def describes(body: dict[str, Any]) -> str:
    """An answer of the right form; descriptions are of a usual length, and other for each question."""
    system, question = body["messages"][0]["content"], body["messages"][-1]["content"]
    if "[DESCRIPTION]" in system:
        number = sum(question.encode()) % 10**6
        return f"[DESCRIPTION]: words that come after the name of a thing, number {number}"
    if '"activations"' in system:
        texts = [json.loads(text) for text in re.findall(r"tokens\): (\[.*\])", question)]
        return json.dumps({"activations": [[5 * ("e" in piece) for piece in text] for text in texts]})
    if '"summaries"' in system:
        return json.dumps({"summaries": ["words after the name of a thing"] * len(question.splitlines())})
    texts = re.findall(r"^Text \d+: (.*)$", question, re.MULTILINE)
    return json.dumps({"ratings": [10 * ("e" in text) for text in texts]})


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """The folder of a run of `describe` by an endpoint, and its config."""
    folder = tmp_path_factory.mktemp("runs")
    with serving(Script(answer=describes)) as script:
        endpoint = f"{{model: scripted, base_url: '{script.url}', usd_per_million_prompt_tokens: 2, "
        endpoint += "usd_per_million_completion_tokens: 8}"
        experiment, config = load_config("describe", [*OPTIONS, f"endpoints={{main: {endpoint}}}"])
        with open_run(config, "run", folder) as run:
            experiment.run(config, run)
    yield folder / "run", config


def near(said: float, was: float) -> bool:
    return 1 / BOUND <= said / was <= BOUND


def test_calls_and_tokens_are_what_the_ledger_says(described: tuple[Path, Any]) -> None:
    folder, config = described
    table = call_costs(folder / FILE).set_index("purpose")
    for said in estimate(config).asked:
        was = table.loc[said.purpose]
        assert near(said.calls, was["calls"]), (said, was)
        if said.purpose != "simulate":  # the server counts four characters of a list as a token
            assert near(said.prompt_tokens, was["prompt_tokens"]), (said, was)
        usd = config.endpoints["main"].usd(round(said.prompt_tokens), round(said.completion_tokens))
        assert said.usd == pytest.approx(usd)
    assert {one.purpose for one in estimate(config).asked} == set(table.index)


def test_files_are_as_large_as_was_said(described: tuple[Path, Any]) -> None:
    folder, config = described
    parts: dict[str, int] = {}
    for part in (part for stage in estimate(config).stages for part in stage.disk):
        parts[part.what] = parts.get(part.what, 0) + part.bytes

    def written(pattern: str, without: str = "\n") -> int:
        return sum(file.stat().st_size for file in folder.glob(pattern) if without not in file.name)

    exemplars = "steps/mine/exemplars/*.safetensors"
    assert parts["exemplars"] == pytest.approx(written(exemplars, ".tokens."), rel=0.02)
    assert near(parts["token samples"], written(exemplars) - written(exemplars, ".tokens."))
    assert near(parts["store"], written("store.sqlite"))
    kept = parts["descriptions in the run"] + parts["scores in the run"]
    assert near(kept, sum(written(f"steps/{step}/**/*.json*") for step in ("explain", "choose", "score")))
