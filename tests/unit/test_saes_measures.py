"""The figures of an SAE against closed forms and planted truth."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saes.measures import RunningFigures, rate_histogram, recovered


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(1, 199), max_size=4, unique=True),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 1000),
)
def test_running_figures_equal_the_direct_formula_however_tokens_are_cut(
    cuts: list[int], offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, 6, generator=generator) + offset
    x_hat = x + 0.3 * torch.randn(200, 6, generator=generator)
    latents = torch.randn(200, 9, generator=generator).relu()
    figures = RunningFigures(6, 9)
    edges = [0, *sorted(cuts), 200]
    for start, end in pairwise(edges):
        figures.add(x[start:end], x_hat[start:end], latents[start:end])
    residual = (x.double() - x_hat.double()).square().sum()
    total = (x.double() - x.double().mean(0)).square().sum()
    assert figures.explained_variance == pytest.approx(float(1 - residual / total), abs=1e-6)
    assert figures.mean_squared_error == pytest.approx(float(residual / 200), rel=1e-9)
    assert torch.equal(figures.firing_rates, (latents > 0).double().mean(0))


def test_the_mean_as_reconstruction_explains_nothing_and_the_input_all() -> None:
    x = torch.randn(300, 5) + 4
    for x_hat, expected in ((x.mean(0).expand_as(x), 0.0), (x, 1.0)):
        figures = RunningFigures(5, 1)
        figures.add(x, x_hat, torch.zeros(300, 1))
        assert figures.explained_variance == pytest.approx(expected, abs=1e-6)


def test_rate_histogram_puts_each_latent_into_its_decade() -> None:
    rates = torch.tensor([0.0, 0.0, 1e-8, 3e-6, 2e-3, 9.9e-3, 0.05, 0.5, 1.0], dtype=torch.float64)
    assert rate_histogram(rates) == {
        "never": 2, "1e-06": 2, "1e-05": 0, "1e-04": 0, "1e-03": 2, "1e-02": 1, "1e-01": 2,
    }  # fmt: skip


def test_recovered_is_the_ratio_of_sums_and_its_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        tokens = generator.integers(5, 40, size=150).astype(float)
        clean = tokens * 1.0
        ablated = tokens * (4.0 + generator.normal(0, 0.5, 150))
        spliced = clean + 0.2 * tokens * 3.0 * generator.gamma(4, 0.25, 150)
        share, low, high = recovered(clean, spliced, ablated, seed=trial, draws=400)
        assert share == pytest.approx((ablated.sum() - spliced.sum()) / (ablated.sum() - clean.sum()))
        covered += low <= 0.8 <= high
    assert 85 <= covered <= 100


def test_recovered_is_one_for_a_perfect_and_zero_for_a_useless_reconstruction() -> None:
    clean, ablated = np.array([1.0, 2.0, 3.0]), np.array([5.0, 5.0, 9.0])
    assert recovered(clean, clean, ablated) == (1.0, 1.0, 1.0)
    assert recovered(clean, ablated, ablated) == (0.0, 0.0, 0.0)
