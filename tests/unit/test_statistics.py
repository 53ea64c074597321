"""Intervals of shares over items that were asked several times, against scipy's on the items' means."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, bootstrap

from interp.statistics.estimate import by_item, share_of_items
from interp.vectors.sweep import rates

ITEMS, DRAWS = 32, 5


def asked() -> tuple[np.ndarray, np.ndarray]:
    """Five draws that nearly agree on each of 32 questions [draw x question], and the questions."""
    rng = np.random.default_rng(0)
    hard = rng.random(ITEMS) < 0.2
    right = np.stack([hard ^ (rng.random(ITEMS) < 0.03) for _ in range(DRAWS)])
    return right.ravel(), np.tile(np.arange(ITEMS), DRAWS)


def test_draws_of_a_question_count_once() -> None:
    right, item = asked()
    means = right.reshape(DRAWS, ITEMS).mean(0)
    np.testing.assert_allclose(by_item(right, item), means)
    share, low, high = share_of_items(right, item, 0)
    expected = bootstrap(
        (means,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert share == pytest.approx(right.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.02)
    pooled = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    assert high - low > 1.6 * (pooled.high - pooled.low)


@pytest.mark.parametrize("draws", [1, 3])
def test_questions_that_always_or_never_come_out_keep_wilsons_interval(draws: int) -> None:
    item = np.tile(np.arange(20), draws)
    found = share_of_items(item < 6, item, 0)
    wilson = binomtest(6, 20).proportion_ci(method="wilson")
    assert found == pytest.approx((0.3, wilson.low, wilson.high))


def test_rates_of_a_random_control_are_over_questions_of_each_fold() -> None:
    right, item = asked()
    frame = pd.DataFrame(
        {"condition": "random", "question": item, "right": right, "preference": 1.0 * right, "finite": True}
    )
    both = pd.concat([frame.assign(fold=0), frame.assign(fold=1, right=False)], ignore_index=True)
    (row,) = rates(frame, ["condition"], 0).to_dict("records")
    assert (row["right"], row["right_low"], row["right_high"]) == share_of_items(right, item, 0)
    assert row["questions"] == ITEMS
    assert row["preference_high"] - row["preference_low"] == pytest.approx(
        row["right_high"] - row["right_low"], abs=0.02
    )
    (row,) = rates(both, ["condition"], 0).to_dict("records")
    assert row["questions"] == 2 * ITEMS and row["right"] == pytest.approx(right.mean() / 2)
