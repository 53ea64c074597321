"""Toy models of superposition: closed forms, gradients, arrangements, and more features than dimensions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp.errors import UserError
from interp.toys import geometry
from interp.toys.superposition import (
    ToyModels,
    ToyTraining,
    held_out_loss,
    linear_optimum,
    sparse_features,
    train_toys,
)

QUICK = ToyTraining(steps=1500, batch=256, learning_rate=5e-3, decay="cosine")


def polygon(n: int) -> Tensor:
    angles = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n
    return torch.stack([angles.cos(), angles.sin()], 1)


TETRAHEDRON = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double() / 3**0.5
ANTIPRISM = torch.cat(
    [
        torch.cat([2**0.5 * polygon(4), torch.ones(4, 1)], 1),
        torch.cat(
            [2**0.5 * polygon(8)[1::2], -torch.ones(4, 1)], 1
        ),  # the other square is turned by 45 degrees
    ]
) / 3**0.5  # fmt: skip


@pytest.mark.parametrize(
    ("corners", "name"),
    [
        (torch.eye(3).double(), "a dimension each"),
        (torch.tensor([[1.0], [-1.0]]).double(), "digon"),
        (polygon(3), "triangle"),
        (polygon(5), "pentagon"),
        (TETRAHEDRON, "tetrahedron"),
        (ANTIPRISM, "square antiprism"),
    ],
)
def test_corners_of_regular_arrangements_share_their_dimensions(corners: Tensor, name: str) -> None:
    expected = geometry.GEOMETRIES[name]
    assert expected == corners.shape[1] / len(corners)
    assert torch.allclose(geometry.lengths(corners), torch.ones(len(corners)).double())
    assert torch.allclose(geometry.dimensionality(corners), torch.full((len(corners),), expected).double())
    assert float(geometry.dimensions_per_feature(corners)) == pytest.approx(expected)
    # a solid in dimensions of its own beside others keeps its shares
    both = torch.block_diag(corners, polygon(3))
    assert torch.allclose(geometry.dimensionality(both)[: len(corners)], torch.tensor(expected).double())
    assert torch.allclose(geometry.superposition(corners), 1 / geometry.dimensionality(corners) - 1)


def test_a_feature_of_no_length_has_no_dimensionality_and_nothing_on_it() -> None:
    W = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert geometry.dimensionality(W).isnan().tolist() == [False, True]
    assert geometry.superposition(W).tolist() == [0, 0]
    assert geometry.represented(W).tolist() == [True, False]


def test_angles_of_a_pentagon_are_even() -> None:
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.allclose(geometry.angle_gaps(polygon(5)[order].float()), torch.full((5,), 72.0), atol=1e-3)


@given(density=st.floats(0.01, 1), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_features_have_the_stated_density_and_are_uniform_when_present(density: float, seed: int) -> None:
    x = sparse_features(20_000, 3, torch.tensor([density]), torch.Generator().manual_seed(seed))
    present = x[x > 0]
    share = len(present) / x.numel()
    assert abs(share - density) < 5 * (density * (1 - density) / x.numel()) ** 0.5 + 1e-6
    assert float(x.max()) <= 1
    assert abs(float(present.mean()) - 0.5) < 5 * (1 / 12 / len(present)) ** 0.5


@pytest.mark.parametrize("linear", [False, True])
def test_gradients_worked_out_by_hand_are_those_of_autograd(linear: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = sparse_features(50, 7, torch.tensor([1.0, 0.2]), generator)
    importance = 0.8 ** torch.arange(7.0)
    W = torch.randn(2, 7, 3, generator=generator, requires_grad=True)
    b = torch.randn(2, 7, generator=generator, requires_grad=True)
    models = ToyModels(W, b, linear)
    expected = torch.autograd.grad(models.loss(x, importance).sum(), (W, b))
    with torch.no_grad():
        ours = models.gradients(x, importance, torch.empty(2, *x.shape))
    for left, right in zip(ours, expected, strict=True):
        assert torch.allclose(left, right, atol=1e-6)


def test_the_loss_is_that_of_the_paper() -> None:
    models = ToyModels(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[0.0, 0.5]]))
    x = torch.tensor([[[1.0], [0.25]]])  # h = 0.75, out = 0.75 and ReLU(-0.25) = 0
    assert float(models.loss(x, torch.tensor([1.0, 4.0]))) == pytest.approx(0.25**2 + 4 * 0.25**2)


def test_linear_model_reaches_the_closed_form_at_every_sparsity() -> None:
    density, importance = torch.tensor([1.0, 0.3, 0.05]), 0.5 ** torch.arange(6.0)
    models = train_toys(
        QUICK.model_copy(update={"weight_decay": 0.0}), 2, density, importance, seed=0, linear=True
    )
    projection = torch.diag(torch.tensor([1.0, 1, 0, 0, 0, 0]))
    assert (geometry.gram(models.W) - projection).abs().max() < 0.1
    loss = held_out_loss(models, density, importance, seed=1, batches=60)
    best = linear_optimum(density, importance, 2)
    assert torch.allclose(loss, best, rtol=0.015)
    # without the dimensions of the features left out, none would be lost
    assert torch.equal(linear_optimum(density, importance, 6), torch.zeros(3))


def test_dense_features_get_a_dimension_each_and_sparse_ones_share() -> None:
    density, importance = torch.tensor([1.0, 0.02]), 0.8 ** torch.arange(10.0)
    models = train_toys(QUICK, 3, density, importance, seed=0)
    dense, sparse = geometry.represented(models.W)
    assert dense.tolist() == [True] * 3 + [False] * 7
    assert int(sparse.sum()) >= 6
    loss = held_out_loss(models, density, importance, seed=1)
    optimum = linear_optimum(density, importance, 3)
    assert float(loss[1] / optimum[1]) < 0.7  # superposition beats every linear model
    assert float(loss[0] / optimum[0]) > 0.95


def test_five_sparse_features_in_a_plane_make_a_pentagon() -> None:
    density = torch.full((4,), 0.05)
    models = train_toys(QUICK, 2, density, torch.ones(5), seed=1)
    best = int(held_out_loss(models, density, torch.ones(5), seed=2).argmin())
    W = models.W[best]
    gaps = geometry.angle_gaps(W)
    assert len(gaps) == 5 and float((gaps - 72).abs().max()) < 8
    assert torch.allclose(geometry.dimensionality(W), torch.tensor(0.4), atol=0.05)


def test_same_seed_same_bits_and_the_callers_random_state_is_left_alone() -> None:
    training = ToyTraining(steps=20, batch=16)
    density, importance = torch.tensor([0.5, 0.1]), torch.ones(4)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = train_toys(training, 2, density, importance, seed=5)
    assert torch.equal(torch.rand(1), expected)
    second = train_toys(training, 2, density, importance, seed=5)
    assert torch.equal(first.W, second.W) and torch.equal(first.b, second.b)
    assert not torch.equal(first.W, train_toys(training, 2, density, importance, seed=6).W)


def test_training_logs_the_loss_and_the_rate_falls_as_asked() -> None:
    logged: list[tuple[float, int]] = []
    training = ToyTraining(steps=40, batch=64, log_every=15, decay="linear")
    train_toys(
        training, 2, torch.tensor([0.5]), torch.ones(4), seed=0,
        log=lambda values, step: logged.append((values["toy/loss"], step)),
    )  # fmt: skip
    assert [step for _, step in logged] == [15, 30, 40]
    assert training.rate(0) == 1e-3 and training.rate(20) == 5e-4
    assert ToyTraining(steps=40, decay="cosine").rate(20) == pytest.approx(1e-3 * math.cos(math.pi / 4))
    assert ToyTraining(steps=40).rate(39) == 1e-3


def test_impossible_densities_are_refused() -> None:
    for density in (0.0, 1.5):
        with pytest.raises(UserError, match="density"):
            train_toys(QUICK, 2, torch.tensor([density]), torch.ones(4), seed=0)
