"""Mean max cosine and recovery: closed forms, nulls, and an SAE that finds planted directions."""

import pytest
import torch
from sae_lens.synthetic.evals import mean_correlation_coefficient

from interp.compare.recovery import recovery
from interp.errors import UserError
from saes.config import SaeTraining
from saes.cosines import mean_max_cosine, nearest_cosines, random_unit_vectors
from saes.fit import fit
from saes.planted import PlantedFeatures
from saes.stream import Source


def test_a_shuffled_and_stretched_copy_is_found_whole() -> None:
    true = random_unit_vectors(20, 6, 0)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    copy = 3 * true[order]
    assert mean_max_cosine(true, copy) == pytest.approx(1)
    cosine, place = nearest_cosines(true, copy)
    assert torch.equal(order[place], torch.arange(20)) and torch.allclose(cosine, torch.ones(20))
    # a rotation of both sides changes nothing, a rotation of one side does
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2))).Q
    other = random_unit_vectors(30, 6, 3)
    assert mean_max_cosine(true @ rotation, other @ rotation) == pytest.approx(mean_max_cosine(true, other))
    assert mean_max_cosine(true, true @ rotation) < 0.95


def test_opposite_directions_do_not_count_and_sides_differ() -> None:
    true = torch.tensor([[1.0, 0], [0, 1]])
    found = torch.tensor([[2.0, 0], [1, 1], [0, -1]])
    assert mean_max_cosine(true, found) == pytest.approx((1 + 0.5**0.5) / 2)
    assert mean_max_cosine(found, true) == pytest.approx((1 + 0.5**0.5 + 0) / 3)
    assert torch.isnan(torch.tensor(mean_max_cosine(true, found[:0])))


def test_in_one_to_one_matches_it_agrees_with_saelens() -> None:
    true = random_unit_vectors(12, 40, 0)
    noisy = true + 0.05 * torch.randn(12, 40, generator=torch.Generator().manual_seed(4))
    ours = mean_max_cosine(true, noisy.flip(0))
    assert ours == pytest.approx(mean_correlation_coefficient(true, noisy.flip(0)), abs=1e-6)


def test_random_directions_reach_what_the_null_says() -> None:
    # of two dimensions, the nearest of n random angles is at pi / (n + 1) on average
    drawn = [
        mean_max_cosine(random_unit_vectors(50, 2, s), random_unit_vectors(9, 2, 100 + s)) for s in range(200)
    ]
    angles = torch.rand(200_000, 9, generator=torch.Generator().manual_seed(0)) * torch.pi
    assert sum(drawn) / len(drawn) == pytest.approx(float(angles.min(1).values.cos().mean()), abs=0.015)


def test_planted_features_are_a_source_whose_buffers_depend_on_the_cursor_alone() -> None:
    directions = random_unit_vectors(10, 4, 0)
    source = PlantedFeatures(directions, 0.3, seed=1, buffer_tokens=500)
    assert isinstance(source, Source) and source.width == 4
    first, following = source.buffer(0)
    second, _ = source.buffer(following)
    assert first.shape == (500, 4) and not torch.equal(first, second)
    again = PlantedFeatures(directions, 0.3, seed=1, buffer_tokens=500)
    assert torch.equal(again.buffer(following)[0], second)
    assert torch.allclose(again.features(0) @ directions, first)
    assert not torch.equal(PlantedFeatures(directions, 0.3, seed=2, buffer_tokens=500).buffer(0)[0], first)
    assert float((source.features(0) > 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    with pytest.raises(UserError, match="density"):
        PlantedFeatures(directions, 0.0, seed=1)


def test_a_perfect_dictionary_recovers_everything_and_a_dead_one_nothing() -> None:
    directions = torch.eye(5)
    values = PlantedFeatures(directions, 0.2, seed=0, buffer_tokens=4000).features(0)
    silent = torch.zeros(len(values), 1)
    perfect = recovery(
        directions,
        values,
        torch.cat([directions.flip(0), torch.ones(1, 5)]),
        torch.cat([values.flip(1), silent], 1),
    )
    assert perfect.recall == perfect.precision == perfect.found == 1
    assert len(perfect.latent_cosine) == 5  # the silent latent does not count
    assert float(perfect.f1.min()) > 0.99  # values below the least of the first half are missed
    assert torch.allclose(perfect.auroc, torch.ones(5).double())
    assert perfect.l0 == perfect.true_l0 == pytest.approx(1.0, abs=0.1)
    dead = recovery(directions, values, directions, torch.zeros_like(values))
    assert dead.l0 == 0 and all(v != v for v in (dead.recall, dead.precision, float(dead.f1.mean())))


def test_a_latent_for_another_feature_tells_nothing() -> None:
    directions = torch.eye(4)
    values = PlantedFeatures(directions, 0.2, seed=0, buffer_tokens=20_000).features(0)
    wrong = recovery(directions, values, directions, values.roll(1, dims=1))
    assert wrong.recall == 1
    assert float((wrong.auroc - 0.5).abs().max()) < 0.03
    assert float(wrong.f1.max()) < 0.37  # always "present" has 2 p / (1 + p) = 1/3


@pytest.mark.parametrize("kind", [{"kind": "topk", "k": 1}, {"kind": "standard", "l1_coefficient": 5.0}])
def test_an_sae_finds_planted_directions_where_random_ones_are_far(kind: dict[str, object]) -> None:
    directions = random_unit_vectors(24, 12, 0)
    config = SaeTraining.model_validate(
        {
            "architecture": kind, "n_latents": 24, "training_tokens": 500 * 256, "batch_tokens": 256,
            "buffer_tokens": 16384, "learning_rate": 5e-3, "checkpoint_every_steps": 0,
        }
    )  # fmt: skip
    sae = fit(config, PlantedFeatures(directions, 0.04, seed=0, buffer_tokens=16384)).sae
    held_out = PlantedFeatures(directions, 0.04, seed=9, buffer_tokens=8192)
    values = held_out.features(0)
    with torch.no_grad():
        found = recovery(directions, values, sae.W_dec.detach(), sae.encode(values @ directions))
    assert found.recall > 0.95 and found.precision > 0.95 and found.found > 0.8
    assert float(found.f1.mean()) > 0.6
    null = mean_max_cosine(directions, random_unit_vectors(24, 12, 5))
    assert null < 0.6
