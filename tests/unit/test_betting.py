"""Bounds by betting: right as often as they say, for any distribution and at any time, and how tight."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from interp.errors import UserError
from interp.statistics.betting import STAKES, lower_bound, upper_bound

SAMPLES = 300
Draw = Callable[[np.random.Generator], np.ndarray]


def bernoulli(rate: float) -> Draw:
    return lambda rng: (rng.random(max(300, round(5 / rate))) < rate).astype(float)


def weighted(rate: float, spread: float, shown: float = 0.5) -> Draw:
    """Lognormal weights of draws of which a share shows the behaviour; the mean is `rate`."""
    return lambda rng: (
        rate / shown * np.exp(rng.normal(-(spread**2) / 2, spread, 1000)) * (rng.random(1000) < shown)
    )


def two_points(rate: float) -> Draw:
    """Most of the mean is carried by one draw in a hundred: weights that look small until it comes."""
    return lambda rng: np.where(rng.random(500) < 0.01, 90.1 * rate, rate / 10)


CASES: list[tuple[float, Draw]] = [
    *[(rate, bernoulli(rate)) for rate in (1e-1, 1e-2, 1e-3)],
    *[(rate, weighted(rate, spread)) for rate in (1e-1, 1e-3, 1e-5) for spread in (0.5, 1.5)],
    *[(rate, two_points(rate)) for rate in (1e-2, 1e-5)],
]


@pytest.mark.parametrize(("rate", "draw"), CASES)
def test_the_bound_is_below_the_mean_as_often_as_it_says(rate: float, draw: Draw) -> None:
    rng = np.random.default_rng(0)
    samples = [draw(rng) for _ in range(SAMPLES)]
    assert np.mean(np.concatenate(samples)) == pytest.approx(rate, rel=0.15)
    held = sum(lower_bound(one, 0.9) <= rate for one in samples)
    # a bound that is right with just that probability fails this once in 1000
    assert held >= 0.9 * SAMPLES - 3.1 * math.sqrt(SAMPLES * 0.09)


def test_one_may_look_after_every_draw_and_stop_at_the_best() -> None:
    rng = np.random.default_rng(1)
    best = []
    for _ in range(60):
        values = (rng.random(200) < 0.1) * rng.exponential(1.0, 200)
        best.append(max(lower_bound(values[:n], 0.9) for n in range(10, 201, 10)))
        assert lower_bound(values, 0.9) < values.mean()
    assert np.mean(np.array(best) <= 0.1) >= 0.78


@pytest.mark.parametrize("rate", [0.1, 1e-5])
@pytest.mark.parametrize(("spread", "least"), [(0.3, 0.85), (1.0, 0.75)])
def test_of_draws_that_show_it_often_the_bound_is_near_the_mean(
    rate: float, spread: float, least: float
) -> None:
    rng = np.random.default_rng(2)
    bounds = [lower_bound(weighted(rate, spread)(rng)) for _ in range(20)]
    assert np.median(bounds) > least * rate


@given(st.floats(1e-9, 1e9), st.integers(0, 1000))
def test_it_scales_with_the_values(scale: float, seed: int) -> None:
    values = np.random.default_rng(seed).exponential(1.0, 50)
    assert lower_bound(scale * values) == pytest.approx(scale * lower_bound(values), rel=1e-5)


def test_it_is_where_the_mixture_of_wealths_reaches_what_is_wanted() -> None:
    """Against the definition: the mean wealth over all stakes, value after value."""
    values = np.random.default_rng(3).exponential(1.0, 40) * (np.arange(40) % 3 > 0)
    stakes = 1 / (1 + np.exp(-STAKES))

    def wealth(mean: float) -> float:
        found = np.ones(len(stakes))
        for value in values:
            found = found * (1 - stakes + stakes * value / mean)
        return float(found.mean())

    expected = brentq(lambda mean: math.log(wealth(mean) / 20), 0.01, 2.0)
    assert lower_bound(values) == pytest.approx(expected, rel=1e-5)


def test_the_upper_bound_of_nothing_seen_is_near_the_rule_of_three() -> None:
    assert 3 / 1000 < upper_bound(np.zeros(1000), 1.0) < 6 / 1000
    assert upper_bound(np.zeros(1000), 5.0) == pytest.approx(5 * upper_bound(np.zeros(1000), 1.0))


def test_the_upper_bound_is_above_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    held = [upper_bound(2.0 * (rng.random(300) < 0.05), 2.0, 0.9) >= 0.1 for _ in range(SAMPLES)]
    assert np.mean(held) >= 0.9 - 3.1 * math.sqrt(0.09 / SAMPLES)


def test_nothing_above_zero_gives_nothing() -> None:
    assert lower_bound(np.zeros(100)) == lower_bound(np.zeros(0)) == 0
    assert upper_bound(np.zeros(0), 3.0) == 3


@pytest.mark.parametrize("values", [[-1.0], [math.nan], [math.inf]])
def test_values_that_it_is_not_for_are_refused(values: list[float]) -> None:
    with pytest.raises(UserError, match="negative or not finite"):
        lower_bound(np.array(values))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="no confidence"):
        lower_bound(np.ones(3), 1.0)
    with pytest.raises(UserError, match="above the largest"):
        upper_bound(np.ones(3), 0.5)
