"""Outer quantiles of millions of tokens, and activations beyond half precision, against numpy."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from interp.corpus.batches import Batch
from interp.document import SPLITS
from interp.errors import UserError
from interp.intervene import AtQuantile
from interp.mining.config import MiningConfig
from interp.mining.exemplars import Exemplars, exemplars
from interp.mining.fold import MiningState
from interp.mining.mined import read_out
from interp.mining.quantiles import LEVELS
from interp.mining.store import load_mined, save_mined
from tests.unit.embedding_coordinates import EmbeddingCoordinates

RATE = 2e-4
ROWS, WIDTH, BATCHES = 512, 128, 40
CONFIG = MiningConfig(context_size=WIDTH, sampled_rows=8, top_windows=dict.fromkeys(SPLITS, 1))


SPACE = EmbeddingCoordinates(8, signed=True, name="given")
"""Its activations are given directly: five dense features, and three active on few tokens."""


def batch_of(number: int) -> Batch:
    """A batch of made-up documents, each one row."""
    document = np.arange(ROWS, dtype=np.int64) + ROWS * number
    shape = (ROWS, WIDTH)
    return Batch(
        np.zeros(shape, dtype=np.int64),
        np.ones(shape, dtype=np.int64),
        np.ones(shape, dtype=bool),
        None,
        document,
        np.zeros(ROWS, dtype=np.int32),
        np.random.default_rng(number).integers(0, 2**62, ROWS),
        np.ones(ROWS, dtype=bool),
        0,
        "explain",
    )


def activations_of(number: int) -> torch.Tensor:
    """[row, pos, 8]; the last feature is active in the first eighth of the corpus alone."""
    generator = torch.Generator().manual_seed(number)
    dense = torch.randn(ROWS, WIDTH, 5, generator=generator) * torch.tensor([1.0, 3.0, 1e5, 1e-3, 20.0])
    sparse = torch.empty(ROWS, WIDTH, 3).exponential_(0.3, generator=generator)
    on = torch.rand(ROWS, WIDTH, 3, generator=generator)
    sparse = torch.where(on < RATE, sparse, 0.0)
    sparse[..., 1] *= -1
    sparse[..., 2] = torch.where(on[..., 2] < 8 * RATE, 5.0 + 100 * on[..., 2], 0.0) * (number < BATCHES / 8)
    return torch.cat([dense, sparse], -1)


def mined(numbers: range) -> MiningState:
    state = MiningState.empty([SPACE], CONFIG)
    split = state.splits["explain"]
    for number in numbers:
        split.take(split.view(batch_of(number)), SPACE, activations_of(number))
    return state


@cache
def whole() -> MiningState:
    return mined(range(BATCHES))


@cache
def table() -> np.ndarray:
    """All activations, sorted [token, feature]."""
    values = torch.cat([activations_of(number).flatten(0, 1) for number in range(BATCHES)])
    return np.sort(values.numpy(), axis=0)


def found() -> Exemplars:
    return exemplars(whole(), "explain", SPACE.name)


def test_quantiles_of_millions_of_tokens_keep_their_stated_error() -> None:
    level, error = np.array(LEVELS), found().quantile_error.double().numpy()
    assert (error <= 0.42 * np.minimum(level, 1 - level)).all()
    ends = np.clip(np.concatenate([level - 1.5 * error, level + 1.5 * error]), 0, 1)
    low, high = np.split(np.quantile(table(), ends, axis=0, method="inverted_cdf").T, 2, axis=1)
    got, rounding = found().quantile_values.numpy(), 2**-10
    assert (got >= low - rounding * np.abs(low)).all()
    assert (got <= high + rounding * np.abs(high)).all()


def test_a_rare_latent_is_known_far_out_on_either_side() -> None:
    values = table()
    assert len(values) > 2.5e6
    ids, statistics = torch.tensor([5, 6]), read_out(whole(), SPACE.name).statistics()
    got = AtQuantile(1.0).values(SPACE, ids, [1, -1], statistics).numpy()
    true = [np.quantile(values[:, 5], 1 - 1e-5), np.quantile(values[:, 6], 1e-5)]
    np.testing.assert_allclose(got, true, rtol=0.1)
    with pytest.raises(UserError, match=r"(?s)no more than a share 0.001 .* feature 5\n.*smaller tail"):
        AtQuantile(1.0, 1e-3).values(SPACE, ids[:1], [1], statistics)


def test_shards_merge_to_the_same_quantiles() -> None:
    a, b, c = mined(range(3)), mined(range(3, 20)), mined(range(20, BATCHES))
    for merged in (a.merge(b).merge(c), c.merge(a.merge(b))):
        other = exemplars(merged, "explain", SPACE.name)
        assert torch.equal(other.quantile_values, found().quantile_values)


def test_a_split_without_extremes_refuses_what_its_sample_does_not_tell() -> None:
    state = MiningState.empty([SPACE], CONFIG)
    split = state.splits["report"]
    for number in range(2):
        split.take(split.view(batch_of(number)), SPACE, activations_of(number))
    statistics = read_out(state, SPACE.name).statistics("report")
    assert statistics.quantile(0.95, torch.tensor([0])) == pytest.approx(1.645, abs=0.15)
    with pytest.raises(UserError, match=r"(?s)beyond the 0.99999-quantile .* only to within .*explain split"):
        AtQuantile(1.0).values(SPACE, torch.tensor([0]), [1], statistics)


def test_activations_beyond_half_precision_stay_numbers(tmp_path: Path) -> None:
    save_mined({SPACE.name: read_out(whole(), SPACE.name)}, tmp_path)
    back = load_mined(tmp_path)[SPACE.name]
    assert table().max() > 4e5  # half precision ends at 65,504
    part, sample = back.exemplars["explain"], back.samples["explain"]
    for values in (part.quantile_values, part.top_values, part.band_value, sample.value):
        assert (values < torch.inf).all()  # -inf marks what does not count
    assert torch.isfinite(sample.value).all()
    assert part.quantile_values[2, -1] == pytest.approx(np.quantile(table()[:, 2], 1 - 1e-5), rel=0.05)
    plain = part.band_value[[0, 1]]
    assert torch.equal(plain, plain.half().float())  # what fits is rounded as it would be alone
    sample.value[0, 2] = torch.inf
    save_mined({SPACE.name: back}, tmp_path / "older")
    older = load_mined(tmp_path / "older")[SPACE.name].samples["explain"]
    with pytest.raises(UserError, match="activations of given were larger than half precision"):
        _ = older.value
    sample.value[0, 2] = 0
    assert float(sample.value[:, 2].float().std()) == pytest.approx(table()[:, 2].std(), rel=0.1)
