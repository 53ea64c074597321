"""Estimates of memory and time: sizes of known models, a real run's peak, and the errors that they make."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import saes
from interp.cli import app
from interp.cli.loading import load_config
from interp.cost import Stage, TextSize, loading_stage, weight_bytes
from interp.errors import UserError
from interp.plan.estimate import estimate, stage_seconds
from interp.plan.machines import reference_machine
from interp.subject import Site
from interp.subject.shape import PUBLISHED, subject_shape
from saes import cost, memory
from saes.cost import check_training_fits, training_stage
from tests.subjects import world_subject


@pytest.mark.parametrize(
    ("name", "millions", "tied"),
    [
        ("openai-community/gpt2", 124.4, 50257 * 768),
        ("EleutherAI/pythia-70m-deduped", 70.4, 0),
        ("gemma-3-270m", 268.1, 262144 * 640),
        ("google/gemma-2-2b", 2614.3, 256000 * 2304),
        ("meta-llama/Llama-3.1-8B", 8030.3, 0),
        ("meta-llama/Llama-3.1-70B", 70553.7, 0),
    ],
)
def test_published_models_have_their_published_sizes(name: str, millions: float, tied: int) -> None:
    shape = subject_shape(name)
    assert (shape.n_parameters - tied) / 1e6 == pytest.approx(millions, abs=0.06)
    assert name in PUBLISHED


def test_a_folders_parameters_are_those_of_the_loaded_model() -> None:
    subject = world_subject()
    shape = subject_shape("world")
    held = sum(value.numel() for name, value in subject.model.named_parameters() if not name.endswith("b_U"))
    biases = sum(v.numel() for n, v in subject.model.named_parameters() if ".b_" in n and "b_U" not in n)
    assert held - biases == shape.n_parameters
    assert shape.n_block_parameters * shape.n_layers < shape.n_parameters


def test_estimates_bound_a_real_runs_peak_within_a_factor_of_two() -> None:
    """Tensors are counted, not the allocator's slack nor what lives shorter than the peak."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.peak_memory"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    for stage, (measured, estimated) in json.loads(done.stdout.splitlines()[-1]).items():
        assert 0.5 < estimated / measured < 2, (stage, measured, estimated)


def test_cost_grows_with_what_makes_it() -> None:
    shape = subject_shape("openai-community/gpt2")
    config = saes.SaeTraining(n_latents=24576, training_tokens=10**6)

    def stage(**changes: object) -> Stage:
        return training_stage(
            shape, "float32", Site("resid_post", 5), config.model_copy(update=changes), "cpu"
        )

    base = stage()
    assert {part.what: part.bytes for part in base.parts}[
        "dictionary, gradients, Adam"
    ] == 16 * 2 * 768 * 24576
    half = stage(n_latents=12288)
    assert half.bytes < base.bytes and half.amount("learn_sparse") < base.amount("learn_sparse")
    assert stage(buffer_tokens=8192).bytes < base.bytes
    assert stage(dtype="bfloat16").bytes < base.bytes
    whole = loading_stage(shape, "float32", "hooked").bytes
    assert loading_stage(shape, "bfloat16", "hooked").bytes * 2 == whole
    assert loading_stage(shape, "float32", "bridge").bytes * 2 == whole


def test_what_does_not_fit_is_said_before_training_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = world_subject()
    check_training_fits(subject, Site("resid_post", 4), saes.SaeTraining())
    with pytest.raises(UserError, match=r"to train the SAE takes about .* GB more, and cpu has") as caught:
        check_training_fits(subject, Site("resid_post", 4), saes.SaeTraining(n_latents=10**9))
    assert "sae.n_latents" in str(caught.value)
    with pytest.raises(UserError) as caught:
        check_training_fits(subject, Site("resid_post", 4), saes.SaeTraining(buffer_tokens=10**9))
    assert "lower sae.buffer_tokens" in str(caught.value)
    monkeypatch.setattr(cost, "available_bytes", lambda device: None)
    check_training_fits(subject, Site("resid_post", 4), saes.SaeTraining(n_latents=10**9))


def test_running_out_of_memory_says_what_to_lower() -> None:
    def told(error: BaseException) -> str:
        with pytest.raises(UserError) as caught, memory.explained("training the SAE"):
            raise error
        return str(caught.value)

    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")):
        assert "memory ran out while training the SAE" in told(error)
        assert "lower sae.n_latents" in told(error)
    with pytest.raises(UserError, match="memory ran out"), memory.explained("filling a buffer"):
        torch.empty(10**15)
    with pytest.raises(RuntimeError, match=r"shape|size"), memory.explained("training the SAE"):
        torch.ones(2) @ torch.ones(3)
    assert (memory.available_bytes("cpu") or 0) > 10**6


def test_a_config_is_estimated_stage_by_stage() -> None:
    _, config = load_config("quickstart", ["corpus.documents=400"])
    found = estimate(config)
    names = [stage.name.split()[0] for stage in found.stages]
    assert names == ["load", "mine", "train", "measure", "mine", "explain", "score"]
    assert 5_000 < found.text.tokens < 50_000
    machine = reference_machine()
    faster = machine.with_rates("given", "", **{name: 4 * rate.value for name, rate in machine.rates.items()})
    assert found.seconds(machine) == pytest.approx(4 * found.seconds(faster))
    assert found.bytes == max(stage.bytes for stage in found.stages)
    assert not any(machine.untimed(stage) for stage in found.stages)
    _, several = load_config("sae_sweep")
    one, together = estimate(load_config("quickstart")[1]).stages[2], estimate(several).stages[1]
    assert together.name == "train 12 dictionaries" and one.bytes < together.bytes < 3 * one.bytes
    _, training = load_config("train_world")
    with pytest.raises(UserError, match="no subject"):
        estimate(training)


def test_the_command_says_it(tmp_path: Path) -> None:
    told = CliRunner().invoke(
        app, ["configs", "--estimate", "quickstart", "--tokens", "100000", "--tflops", "1"]
    )
    assert told.exit_code == 0, told.output
    assert "for a corpus of 100,000 tokens, on a device of 1 TFLOP/s" in told.output
    assert (
        "train the SAE:" in told.output and "product: 1e+12" not in told.output
    )  # the product times nothing
    assert "forward: " in told.output and "extrapolated" in told.output
    refused = CliRunner().invoke(
        app, ["configs", "--estimate", "quickstart", "corpus={kind: text, path: nowhere.txt}"]
    )
    assert refused.exit_code == 2 and "say how many tokens it has" in refused.output


def test_quantised_weights_are_smaller_and_embeddings_are_not() -> None:
    shape = subject_shape("meta-llama/Llama-3.1-70B")
    whole = weight_bytes(shape, "bfloat16")
    assert whole == 2 * shape.n_parameters == pytest.approx(141.1e9, rel=0.01)
    sizes = {kind: weight_bytes(replace(shape, quantize=kind), "bfloat16") for kind in ("8bit", "4bit")}
    outside = 2 * (shape.n_parameters - 80 * shape.n_block_parameters)
    assert sizes["8bit"] - outside == 80 * shape.n_block_parameters
    assert sizes["4bit"] - outside == pytest.approx(0.5625 * 80 * shape.n_block_parameters)


def test_workers_divide_what_can_be_shared() -> None:
    machine = reference_machine().with_rates("given", "", completion_tokens=1.0)
    shared = Stage("mine", work=(("forward", 1e12), ("completion_tokens", 100.0)), shards=True)
    alone, once = stage_seconds(shared, machine), 1e12 / machine.rates["forward"].value
    assert alone == pytest.approx(once + 100)
    assert stage_seconds(shared, machine, workers=8) == pytest.approx(once / 8 + 100)
    assert stage_seconds(shared, machine, workers=8, efficiency=0.5) == pytest.approx(once / 4 + 100)
    assert stage_seconds(replace(shared, shards=False), machine, workers=8) == pytest.approx(alone)


def test_rows_are_those_of_the_lengths_and_strong_ones_are_longer() -> None:
    text = TextSize(1000, (10, 30))
    assert text.row_tokens(128) == 20 and text.row_tokens(128, strong=True) == 25
    assert text.row_tokens(21) == pytest.approx(40 / 3)  # 10, and 20 + 10
    assert TextSize(1000).row_tokens(64) == 63 and TextSize(1000).n_rows(101) == 10
