"""Agreement of an approximation with exact effects."""

import numpy as np
import pytest

from interp.attribution import agreement
from interp.errors import UserError


def effects(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=n) ** 3
    return exact + noise * rng.normal(size=n), exact


def test_the_measures_are_those_of_a_small_case_by_hand() -> None:
    exact = np.array([4.0, -3.0, 2.0, 1.0, 0.001])
    approximation = np.array([2.0, 3.0, 1.5, -0.5, -9.0])
    found = agreement(approximation, exact, k=2, draws=50)
    # ranks of exact 5 1 4 3 2, of the approximation 4 5 3 2 1: sum of squared differences 1+16+1+1+1
    assert found.approximation.spearman.value == pytest.approx(1 - 6 * 20 / (5 * 24))
    assert found.floor == pytest.approx(0.04)
    assert found.n_above_floor == 4  # of these, the signs of 4, 2 are right
    assert found.approximation.sign.value == pytest.approx(0.5)
    assert found.approximation.top.value == pytest.approx(0.5)  # {0, 1} and {4, 1}
    assert agreement(approximation, exact, floor=3.5, draws=50).approximation.sign.value == 1.0


def test_a_good_approximation_stands_apart_from_a_random_ranking() -> None:
    approximation, exact = effects(400, 0.1)
    found = agreement(approximation, exact, draws=300)
    for name in ("spearman", "sign", "top"):
        ours, null = getattr(found.approximation, name), getattr(found.random, name)
        assert ours.low <= ours.value <= ours.high
        assert ours.low > null.high
    assert abs(found.random.spearman.value) < 0.15
    assert found.random.sign.value == pytest.approx(0.5, abs=0.1)
    perfect = agreement(exact, exact, draws=50).approximation
    assert (perfect.spearman.low, perfect.sign.low, perfect.top.low) == pytest.approx((1, 1, 1))
    inverted = agreement(-exact, exact, draws=50).approximation
    assert (inverted.spearman.high, inverted.sign.high, inverted.top.value) == pytest.approx((-1, 0, 1))


def test_effects_of_one_cluster_are_drawn_together() -> None:
    approximation, exact = effects(40, 1.0)
    copies = 12
    cluster = np.tile(np.arange(40), copies)
    many = np.tile(approximation, copies), np.tile(exact, copies)

    def width(estimate: object) -> float:
        return estimate.high - estimate.low

    plain = width(agreement(approximation, exact, draws=200).approximation.spearman)
    clustered = width(agreement(*many, cluster=cluster, draws=200).approximation.spearman)
    naive = width(agreement(*many, draws=200).approximation.spearman)
    assert clustered == pytest.approx(plain, rel=0.25)
    assert naive < 0.6 * clustered


def test_it_is_the_same_by_the_same_seed() -> None:
    approximation, exact = effects(50, 0.5)
    one, again, other = (agreement(approximation, exact, seed=seed, draws=50) for seed in (3, 3, 4))
    assert one == again != other


def test_what_is_not_defined_is_nan() -> None:
    found = agreement(np.ones(4), np.array([1.0, 2.0, 3.0, 4.0]), draws=20)
    assert np.isnan([found.approximation.spearman.value, found.approximation.spearman.low]).all()
    assert np.isnan(agreement(np.arange(4.0), np.zeros(4), draws=20).approximation.sign.value)


def test_too_few_effects_are_refused() -> None:
    with pytest.raises(UserError, match="at least two"):
        agreement(np.ones(1), np.ones(1))
