import dataclasses

import numpy as np
import pytest
import torch

import interp
from interp.bundled.world.corpus import WorldCorpus
from interp.compare.difference import compare_pairs, compare_populations, compare_scores
from interp.compare.matching import most_similar, pairwise_correlations
from interp.compare.populations import (
    latent_populations,
    neuron_population,
    random_population,
    sample_populations,
)
from interp.errors import UserError
from interp.features.directions import Directions, random_directions
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.mining.config import MiningConfig
from interp.mining.exemplars import TokenSample
from interp.subject import Site, Subject
from tests.unit.test_compare import population

SMALL = MiningConfig(context_size=32, top_windows={"explain": 2, "select": 1, "report": 1}, sampled_rows=8)


def test_correlations_are_numpys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 3)), rng.normal(size=(50, 4))
    b[:, 2] = 1.0
    table = pairwise_correlations(torch.tensor(a).half(), torch.tensor(b).half())
    with np.errstate(invalid="ignore"):
        true = np.corrcoef(a.T, b.T)[:3, 3:]
    kept = [0, 1, 3]
    np.testing.assert_allclose(table[:, kept].numpy(), true[:, kept], atol=2e-3)
    assert torch.isnan(table[:, 2]).all()


def samples(values: dict[str, np.ndarray]) -> dict[str, TokenSample]:
    return {
        name: TokenSample(torch.tensor(v).half(), torch.arange(len(v)), torch.arange(len(v)))
        for name, v in values.items()
    }


def test_planted_matches_are_found_with_their_side_and_measured_on_other_tokens(subject: Subject) -> None:
    rng = np.random.default_rng(0)
    neurons = [MlpNeurons(subject, 0), MlpNeurons(subject, 1)]
    site = Site("resid_post", 0)
    mine = Directions(subject, "mine", site, torch.randn(4, 128))
    drawn = {}
    for split in ("select", "report"):
        x = rng.normal(size=(400, 4))
        x[:, 3] = 0.0  # never varies
        values = {space.name: rng.normal(size=(400, 320)) for space in neurons}
        values["mlp.1"][:, 7] = x[:, 0] + 0.1 * rng.normal(size=400)
        values["mlp.0"][:, 9] = -x[:, 1] + rng.normal(size=400)
        if split == "select":  # alike on the select split only: the report split must say so
            values["mlp.0"][:, 5] = x[:, 2]
        drawn[split] = samples({"directions.mine": x, **values})
    features = [FeatureRef(mine, i) for i in range(4)]
    one, two, three, four = most_similar(features, neurons, drawn["select"], drawn["report"])
    assert one is not None and one.partner.key == "mlp.1/7+" and one.correlation > 0.98
    assert two is not None and two.partner.key == "mlp.0/9-"
    assert two.correlation == pytest.approx(1 / np.sqrt(2), abs=0.08)
    assert three is not None and three.selected > 0.99 and abs(three.correlation) < 0.2
    assert four is None
    assert one.n_candidates == 640
    few = most_similar(features[:1], neurons, drawn["select"], drawn["report"], most=64)[0]
    assert few is not None and few.n_candidates == 64
    other_side = dataclasses.replace(features[1], polarity=-1)
    turned = most_similar([other_side], neurons, drawn["select"], drawn["report"])[0]
    assert turned is not None and turned.partner.key == "mlp.0/9+"


def test_populations_are_sampled_alike(subject: Subject) -> None:
    corpus = WorldCorpus(1, 40)
    neurons = neuron_population(subject, "all", [])
    assert neurons.total == 8 * 320 * 2
    with pytest.raises(UserError, match="distinct names"):
        latent_populations([])
    chosen = dataclasses.replace(neurons, spaces=neurons.spaces[:1])
    random = dataclasses.replace(
        random_population(subject, [], 0), spaces=(random_directions(subject, Site("resid_post", 0), 9, 0),)
    )
    both = [chosen, random]
    mined = interp.mine(subject, [s for p in both for s in p.spaces], corpus, SMALL)
    explain = {name: found.exemplars["explain"] for name, found in mined.items()}
    drawn = sample_populations(both, explain, 12, seed=0)
    assert [len(features) for features in drawn.values()] == [12, 12]
    assert drawn == sample_populations(both, explain, 12, seed=0)
    assert all(f.space is random.spaces[0] for f in drawn["random directions"])
    more = sample_populations(both, explain, 40, seed=0)
    assert len(more["neurons"]) == 40 and len(more["random directions"]) <= 18


def test_populations_are_compared_pair_by_pair_as_two_are() -> None:
    a, b, c = population(0.3, 12, 1), population(1.0, 12, 2), population(2.0, 12, 3)
    three = compare_populations({"a": a, "b": b, "c": c})
    assert list(three.difference) == [("a", "b"), ("a", "c"), ("b", "c")]
    two = compare_scores(a, b)
    assert two == compare_scores(a, b)
    assert three.mean["b"][0] == pytest.approx(two.second[0])
    assert three.difference["a", "c"][2] < 0
    assert three.difference["a", "b"][0] == pytest.approx(two.difference[0])


def test_pairs_keep_together() -> None:
    rng = np.random.default_rng(0)
    # the score of a pair varies a lot, the difference within it does not
    noise = rng.uniform(0.2, 3, 25)
    worse = [population(float(s), 1, i)[0] for i, s in enumerate(noise)]
    better = [population(float(0.8 * s), 1, i)[0] for i, s in enumerate(noise)]
    paired = compare_pairs(worse, better)
    unpaired = compare_scores(worse, better).difference
    assert paired.n_pairs == 25 and paired.undefined == 0 and paired.second_ahead >= 23
    assert paired.difference[1] > 0
    assert paired.difference[2] - paired.difference[1] < 0.6 * (unpaired[2] - unpaired[1])
    assert paired.difference[0] == pytest.approx(unpaired[0])
    flat = dataclasses.replace(worse[0], top=worse[0].top * 0, random=worse[0].random * 0)
    left = compare_pairs([flat, *worse[1:]], better)
    assert (left.n_pairs, left.undefined) == (24, 1)
    assert np.isnan(compare_pairs([flat], better[:1]).difference).all()


def test_a_feature_without_report_windows_is_left_out() -> None:
    silent = dataclasses.replace(worse := population(1.0, 6, 1)[0], top=worse.top[:0])
    with_it = compare_populations({"a": [silent, *population(1.0, 6, 1)], "b": population(0.3, 6, 2)})
    without = compare_populations({"a": population(1.0, 6, 1), "b": population(0.3, 6, 2)})
    assert with_it.mean["a"][0] == pytest.approx(without.mean["a"][0])
    assert with_it.difference["a", "b"][1] > 0
    assert compare_pairs([silent], population(0.3, 1, 2)).undefined == 1
    nothing = compare_populations({"a": [silent], "b": population(0.3, 6, 2)})
    assert np.isnan(nothing.mean["a"]).all() and np.isnan(nothing.difference["a", "b"]).all()
