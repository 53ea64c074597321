"""Training an SAE: seeds hold, a killed run continues to the same bits, any thread will do."""

import json
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from interp.errors import UserError
from interp.track.files import read_safetensors, write_safetensors
from saes.architecture import Standard
from saes.config import SaeTraining
from saes.fit import fit, learn_together
from saes.fitting import Fitting, Trained

ARCHITECTURES = [
    {"kind": "topk", "k": 4},
    {"kind": "batchtopk", "k": 4},
    {"kind": "standard", "l1_coefficient": 0.5, "l1_warm_up_steps": 8},
    {"kind": "gated", "l1_coefficient": 0.5},
    {"kind": "jumprelu", "l0_coefficient": 0.1},
    {"kind": "matryoshka", "k": 4, "shares": [0.25, 0.5]},
    {"kind": "matching_pursuit", "max_latents": 4},
]


class Planted:
    """Sparse combinations of planted directions; buffers of differing sizes."""

    width = 16

    def __init__(self) -> None:
        self.directions = torch.randn(32, self.width, generator=torch.Generator().manual_seed(7))

    def buffer(self, cursor: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(cursor)
        n = 500 + 30 * (cursor % 3)
        active = (torch.rand(n, 32, generator=generator) < 0.08).float()
        return active * torch.rand(n, 32, generator=generator) @ self.directions + torch.rand(
            n, 1, generator=generator
        ), cursor + 7


def settings(architecture: dict[str, object] = ARCHITECTURES[0], **changes: object) -> SaeTraining:
    values: dict[str, object] = {
        "architecture": architecture,
        "n_latents": 48,
        "training_tokens": 24 * 64,
        "batch_tokens": 64,
        "buffer_tokens": 500,
        "dead_after_tokens": 256,
        "warm_up_steps": 3,
        "log_every_steps": 1,
        "checkpoint_every_steps": 5,
    }
    return SaeTraining.model_validate(values | changes)


def assert_same_bits(left: Trained, right: Trained) -> None:
    ours, theirs = left.sae.state_dict(), right.sae.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert torch.equal(left.sparsity, right.sparsity)


class Killed(Exception):
    pass


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: str(a["kind"]))
def test_same_seed_same_bits_and_another_seed_differs(architecture: dict[str, object]) -> None:
    first = fit(settings(architecture), Planted())
    torch.manual_seed(99)  # a caller's random state must not matter
    assert_same_bits(first, fit(settings(architecture), Planted()))
    other = fit(settings(architecture, seed=1), Planted())
    assert not torch.equal(first.sae.W_enc, other.sae.W_enc)


@pytest.mark.parametrize("kill_at", [3, 5, 9, 15, 23])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: str(a["kind"]))
def test_killed_and_continued_ends_with_the_same_bits(
    architecture: dict[str, object], kill_at: int, tmp_path: Path
) -> None:
    config = settings(architecture)
    steps: list[int] = []

    def kill(values: dict[str, float], tokens: int) -> None:
        if tokens >= kill_at * config.batch_tokens:
            raise Killed

    with pytest.raises(Killed):
        fit(config, Planted(), checkpoint=tmp_path / "c.safetensors", log=kill)
    continued = fit(
        config,
        Planted(),
        checkpoint=tmp_path / "c.safetensors",
        log=lambda values, tokens: steps.append(tokens // config.batch_tokens),
    )
    assert_same_bits(fit(config, Planted()), continued)
    # killed while logging step `kill_at`, before that step's checkpoint
    assert steps[0] == (kill_at - 1) // 5 * 5 + 1


def test_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fit(settings(), Planted())
    assert torch.equal(torch.rand(1), expected)


def test_trains_in_another_thread() -> None:
    done: list[Trained] = []
    thread = threading.Thread(target=lambda: done.append(fit(settings(), Planted())))
    thread.start()
    thread.join()
    assert_same_bits(done[0], fit(settings(), Planted()))


def test_training_explains_planted_data_and_logs_it() -> None:
    logged: list[dict[str, float]] = []
    config = settings(training_tokens=300 * 64, learning_rate=5e-3)
    fit(config, Planted(), log=lambda values, tokens: logged.append(values))
    assert len(logged) == 300
    assert logged[0].keys() == {
        "sae/loss", "sae/mse", "sae/explained_variance", "sae/l0", "sae/dead_latents", "sae/learning_rate",
    }  # fmt: skip
    assert logged[-1]["sae/explained_variance"] > 0.8
    assert logged[-1]["sae/l0"] <= 4
    assert max(point["sae/learning_rate"] for point in logged) == pytest.approx(5e-3)
    assert logged[-1]["sae/learning_rate"] == pytest.approx(0.0, abs=1e-6)


def test_probe_is_called_with_a_working_reconstruction() -> None:
    errors: list[float] = []

    def probe(reconstruct: object) -> dict[str, float]:
        x = Planted().buffer(1)[0]
        error = (reconstruct(x) - x).square().sum() / (x - x.mean(0)).square().sum()  # type: ignore[operator]
        errors.append(float(error))
        return {"sae/probe": float(error)}

    config = settings(training_tokens=300 * 64, learning_rate=5e-3, evaluate_every_steps=100)
    logged: list[dict[str, float]] = []
    fit(config, Planted(), evaluate=probe, log=lambda values, tokens: logged.append(values))
    assert len(errors) == 3
    assert errors[-1] < 0.25
    assert sum("sae/probe" in point for point in logged) == 3


def test_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    fit(settings(), Planted(), checkpoint=path)
    with pytest.raises(UserError, match="other settings"):
        fit(settings(seed=1), Planted(), checkpoint=path)


def test_divergence_is_a_clear_error_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="diverged"):
        fit(settings(learning_rate=1e12), Planted(), checkpoint=tmp_path / "c.safetensors")
    assert not list(tmp_path.iterdir())


def test_trains_in_bfloat16() -> None:
    trained = fit(settings(dtype="bfloat16"), Planted())
    assert {parameter.dtype for parameter in trained.sae.parameters()} == {torch.bfloat16}
    assert all(bool(torch.isfinite(parameter).all()) for parameter in trained.sae.parameters())


def test_cut_off_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    fit(settings(), Planted(), checkpoint=path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read"):
        fit(settings(), Planted(), checkpoint=path)


@pytest.mark.parametrize(
    "changes",
    [{"param_groups": 3}, {"lr_scheduler": []}, {"coefficients": {}}, {"cursor": {}}, {"used": None}],
)
def test_a_checkpoint_of_another_shape_is_a_clear_error(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "c.safetensors"
    fit(settings(architecture=Standard()), Planted(), checkpoint=path)
    tensors, metadata = read_safetensors(path)
    state = json.loads(metadata["state"])
    write_safetensors(path, tensors, {"state": json.dumps(state | changes)})
    with pytest.raises(UserError, match="cannot be read"):
        fit(settings(architecture=Standard()), Planted(), checkpoint=path)


class Watched(Planted):
    """Notes which buffers are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.cursors: list[int] = []

    def buffer(self, cursor: int) -> tuple[Tensor, int]:
        self.cursors.append(cursor)
        return super().buffer(cursor)


def test_each_activation_of_a_buffer_is_used_at_most_once_in_an_order_of_the_seeds() -> None:
    buffer = Planted().buffer(0)[0]
    used: dict[int, list[Tensor]] = {0: [], 1: []}
    for seed, batches in used.items():
        fitting = Fitting(settings(seed=seed), [16])
        step = fitting.trainer.step

        def watch(batch: Tensor, step: object = step, batches: list[Tensor] = batches) -> object:
            batches.append(batch)
            return step(batch)  # type: ignore[operator]

        fitting.trainer.step = watch  # type: ignore[method-assign]
        fitting.learn([buffer], 7, lambda amount: None)
        assert fitting.place.cursor == 7
    first, second = torch.cat(used[0]), torch.cat(used[1])
    assert len(first) == 500 // 64 * 64 == len(first.unique(dim=0))
    given = {tuple(row) for row in buffer.tolist()}
    assert all(tuple(row) in given for row in first.tolist())
    assert not torch.equal(first, second)
    assert not torch.equal(first[:64], buffer[:64])


def test_several_learn_together_what_each_learns_alone_from_buffers_read_once() -> None:
    configs = [
        settings(),
        settings(ARCHITECTURES[2], n_latents=32, batch_tokens=100, training_tokens=1500),
        settings(ARCHITECTURES[5], training_tokens=6 * 64),
    ]
    source = Watched()
    fittings = [Fitting(config, [16]) for config in configs]

    def read(cursor: int) -> tuple[list[list[Tensor]], int]:
        buffer, following = source.buffer(cursor)
        return [[buffer]] * 3, following

    learn_together(fittings, read)
    assert source.cursors == sorted(set(source.cursors))
    for config, fitting in zip(configs, fittings, strict=True):
        assert_same_bits(fit(config, Planted()), fitting.result())


@pytest.mark.parametrize("kill_at", [2, 9, 14])
def test_several_continue_together_after_a_kill(kill_at: int, tmp_path: Path) -> None:
    configs = [settings(), settings(ARCHITECTURES[1], checkpoint_every_steps=3, training_tokens=10 * 64)]
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]

    def read(cursor: int) -> tuple[list[list[Tensor]], int]:
        buffer, following = Planted().buffer(cursor)
        return [[buffer]] * 2, following

    def kill(values: dict[str, float], tokens: int) -> None:
        if tokens >= kill_at * 64:
            raise Killed

    first = [
        Fitting(config, [16], checkpoint=file, log=log)
        for config, file, log in zip(configs, files, (kill, None), strict=True)
    ]
    with pytest.raises(Killed):
        learn_together(first, read)
    again = [Fitting(config, [16], checkpoint=file) for config, file in zip(configs, files, strict=True)]
    learn_together(again, read)
    for config, fitting in zip(configs, again, strict=True):
        assert_same_bits(fit(config, Planted()), fitting.result())


def test_batch_larger_than_the_buffer_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold a batch"):
        settings(batch_tokens=501)


def test_buffer_without_a_whole_batch_is_a_clear_error() -> None:
    config = settings(batch_tokens=4096, buffer_tokens=4096, training_tokens=4096)
    with pytest.raises(UserError, match="holds no batch"):
        fit(config, Planted())


@pytest.mark.parametrize(
    ("key", "value"),
    [("k", 64), ("batch_tokens", 0), ("training_tokens", 63), ("latents", 3), ("learning_rate", -1.0)],
)
def test_impossible_settings_are_refused(key: str, value: float) -> None:
    changes = {"architecture": {"kind": "topk", "k": value}} if key == "k" else {key: value}
    with pytest.raises(ValueError, match=key if key != "k" else "must not exceed"):
        settings(**changes)
