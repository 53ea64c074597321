"""neuron_cause, knowledge_neurons and attribution_quality on small budgets, as a person runs them."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import saes
from interp.cli.loading import load_config
from interp.errors import UserError
from saes.fit import fit
from saes.train import save
from tests.command_line import process
from tests.corpora import Noise

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["corpus.documents=150", "mining.sampled_tokens=512", "wandb.mode=disabled"]


def run(runs: Path, config: str, *overrides: str) -> CompletedProcess[str]:
    return process("run", str(CONFIGS / f"{config}.yaml"), "--runs-dir", str(runs), *SMALL, *overrides)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def results(folder: Path) -> tuple[dict[str, float], str]:
    page = (folder / "report.html").read_text()
    assert "<script src" not in page and len(page) < 5_000_000
    return json.loads((folder / "metrics.json").read_text()), page


def test_neuron_cause_finds_neurons_that_matter_where_random_ones_do_not(runs: Path) -> None:
    done = run(
        runs, "neuron_cause", "questions.most=24", "pick.count=20", "doses=3", "controls=3", "separately=1"
    )
    assert done.returncode == 0, done.stderr
    metrics, page = results(runs / "neuron_cause")
    assert metrics["clean/refusal/harmful/rate"] == 1 and metrics["clean/refusal/harmless/rate"] == 0
    assert metrics["ablate/refusal/harmful/mean/probability"] < -0.1
    assert abs(metrics["ablate/refusal/harmful/mean/probability_control"]) < 0.05
    name = "sweep/refusal/harmful/rate_at"
    assert metrics[f"{name}_lowest_dose"] < metrics[f"{name}_lowest_dose_control"]
    sweep = pd.read_parquet(runs / "neuron_cause" / "tables" / "sweep.parquet")
    assert len(sweep) == (1 + 1 + 3) * 3 * 24  # sets, doses, the half of two groups of 24
    assert sorted(sweep["share"].unique()) == [0, 0.5, 1]
    picked = json.loads((runs / "neuron_cause" / "steps" / "pick" / "picked.json").read_text())
    assert len(picked) == 20 and all(key in page for key in picked)
    assert list(picked.values()) == sorted(picked.values(), reverse=True)


def test_neuron_cause_takes_latents_and_directions_by_name(runs: Path, tmp_path: Path) -> None:
    config = saes.SaeTraining(n_latents=64, training_tokens=256, batch_tokens=128, buffer_tokens=300)
    metadata = {"hook_name": "blocks.4.hook_resid_post", "model_name": "world"}
    save(fit(config, Noise(), metadata=metadata), tmp_path / "sae")
    save_file({"vectors": torch.randn(30, 128)}, tmp_path / "mine.safetensors")
    capitals = {"france": "paris", "italy": "rome", "spain": "madrid", "japan": "tokyo"}
    questions = [
        {"prompt": f"the capital of {c} is", "answer": a, "foil": "london"} for c, a in capitals.items()
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    directions = f"[{{path: {tmp_path / 'mine.safetensors'}, site: resid_pre.3}}]"
    done = run(
        runs,
        "neuron_cause",
        "name=named",
        f"spaces={{saes: [{tmp_path / 'sae'}], directions: {directions}}}",
        "pick={by: id, features: [mlp.3/17-, sae.resid_post.4/5, directions.mine/7-]}",
        f"questions={{kind: file, path: {tmp_path / 'questions.jsonl'}}}",
        "positions=last",
        "doses=2",
        "controls=2",
    )
    assert done.returncode == 0, done.stderr
    _, page = results(runs / "named")
    assert all(key in page for key in ("mlp.3/17-", "sae.resid_post.4/5+", "directions.mine/7-"))


def test_neuron_cause_picks_by_concept(runs: Path) -> None:
    done = run(
        runs,
        "neuron_cause",
        "name=concept",
        "pick={by: concept, concept: plural, count: 2}",
        "questions={kind: world, behaviours: [determiner_noun/plural], most: 8}",
        "answers=[planets, stars, teams]",
        "doses=2",
        "controls=1",
        "corpus.documents=400",
    )
    assert done.returncode == 0, done.stderr
    picked = json.loads((runs / "concept" / "steps" / "pick" / "picked.json").read_text())
    assert len(picked) == 2 and min(picked.values()) > 0.8


def test_knowledge_neurons_shift_probabilities_and_flip_nothing(runs: Path) -> None:
    done = run(runs, "knowledge_neurons", "questions.most=24", "controls=3", "steps=6")
    assert done.returncode == 0, done.stderr
    metrics, page = results(runs / "knowledge_neurons")
    for number in ("singular", "plural"):
        group = f"determiner_noun/{number}"
        assert metrics[f"search/{group}/found"] > 0
        erased, random = (f"erase/{group}/{which}/on/{group}" for which in ("together", "random"))
        shift, chance = (metrics[f"{e}/foil_nats"] - metrics[f"{e}/answer_nats"] for e in (erased, random))
        assert shift > 0.3 > chance
        assert metrics[f"{erased}/flips"] < 0.5  # shifted, and yet mostly the same answer
    assert "multiplies the foil" in page


def test_attribution_quality_ranks_approximations_above_random_order(runs: Path) -> None:
    done = run(
        runs, "attribution_quality", "questions.most=4", "effects=24", "steps=8", "top=4",
        "questions.behaviours=[facts/plain, agreement/near]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics, _ = results(runs / "attribution_quality")
    for name in ("ablation_strongest/gradient", "ablation_strongest/integrated_each"):
        assert metrics[f"{name}/spearman"] > 0.8 and metrics[f"{name}/sign"] > 0.9
        assert abs(metrics[f"{name}/spearman_random"]) < 0.4
    for kind in ("residual", "heads", "features"):
        assert metrics[f"patching_{kind}/attribution_patching/spearman"] > 0.5


@pytest.mark.parametrize(
    ("config", "override", "says"),
    [
        ("neuron_cause", "pick={by: id, features: [mlp.3/320]}", "0 to 319"),
        ("neuron_cause", "pick={by: id, features: [mlp.8/3]}", "mlp.8"),
        ("neuron_cause", "pick={by: concept, concept: plurals}", "plural"),
        ("neuron_cause", "questions.behaviours=[refusal/harmfull]", "refusal/harmful"),
        ("neuron_cause", "spaces={neurons: [9]}", "0 to 7"),
        ("neuron_cause", "spaces={neurons: false}", "no feature space"),
        ("knowledge_neurons", "questions={kind: file, path: nowhere.jsonl}", "nowhere.jsonl"),
        ("attribution_quality", "baseline=median", "baseline"),
        ("attribution_quality", "spaces={saes: [nowhere]}", "nowhere"),
    ],
)
def test_bad_input_is_found_before_anything_is_written(config: str, override: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        experiment, settings = load_config(CONFIGS / f"{config}.yaml", [override])
        experiment.check(settings)


def test_bad_input_is_one_message_on_the_command_line(tmp_path: Path) -> None:
    done = run(tmp_path / "runs", "neuron_cause", "pick={by: id, features: [mlp.3/320]}")
    assert done.returncode == 2 and "0 to 319" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/neuron_cause/**/*"))


def test_a_position_past_the_prompts_is_refused_before_anything_is_changed(runs: Path) -> None:
    done = run(
        runs,
        "neuron_cause",
        "name=past",
        "positions=[40]",
        "questions.most=8",
        "pick={by: id, features: [mlp.3/1]}",
    )
    assert done.returncode == 2 and "past the prompt" in done.stderr and "Traceback" not in done.stderr
