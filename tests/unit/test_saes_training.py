"""Training an SAE: seeds hold, a killed run continues to the same bits, any thread will do."""

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from interp.errors import UserError
from saes.config import SaeTraining
from saes.fit import Trained, fit
from saes.stream import Place, ShuffledBatches

ARCHITECTURES = [
    {"kind": "topk", "k": 4},
    {"kind": "batchtopk", "k": 4},
    {"kind": "standard", "l1_coefficient": 0.5, "l1_warm_up_steps": 8},
    {"kind": "gated", "l1_coefficient": 0.5},
    {"kind": "jumprelu", "l0_coefficient": 0.1},
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
        fit(settings(learning_rate=1e30), Planted(), checkpoint=tmp_path / "c.safetensors")
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


def test_stream_uses_each_activation_at_most_once_and_resumes_anywhere() -> None:
    stream = ShuffledBatches(Planted(), 64, seed=0)
    taken, places = [], [stream.place]
    for _ in range(20):
        taken.append(next(stream))
        places.append(stream.place)
    first_buffer = torch.cat(taken[: 500 // 64])
    assert len(first_buffer.unique(dim=0)) == len(first_buffer)
    given = {tuple(row) for row in Planted().buffer(0)[0].tolist()}
    assert all(tuple(row) in given for row in first_buffer.tolist())
    for start in range(20):
        again = ShuffledBatches(Planted(), 64, seed=0, place=places[start])
        assert torch.equal(next(again), taken[start])


def test_stream_order_depends_on_the_seed_and_is_not_the_sources() -> None:
    first, second = next(ShuffledBatches(Planted(), 64, seed=0)), next(ShuffledBatches(Planted(), 64, seed=1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, Planted().buffer(0)[0][:64])


def test_batch_larger_than_the_buffer_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold a batch"):
        settings(batch_tokens=501)


def test_buffer_without_a_whole_batch_is_a_clear_error() -> None:
    with pytest.raises(UserError, match="holds no batch"):
        next(ShuffledBatches(Planted(), 4096, seed=0, place=Place()))


@pytest.mark.parametrize(
    ("key", "value"),
    [("k", 64), ("batch_tokens", 0), ("training_tokens", 63), ("latents", 3), ("learning_rate", -1.0)],
)
def test_impossible_settings_are_refused(key: str, value: float) -> None:
    changes = {"architecture": {"kind": "topk", "k": value}} if key == "k" else {key: value}
    with pytest.raises(ValueError, match=key if key != "k" else "must not exceed"):
        settings(**changes)
