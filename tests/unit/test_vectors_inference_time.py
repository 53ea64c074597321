"""Inference-time intervention: a planted head is found, and its direction is the closed form."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from interp.errors import UserError
from interp.subject import Site, Subject
from interp.vectors.contrastive import Pair, PairReadings
from interp.vectors.inference_time import inference_time_vectors, probe_heads

PAIRS = [Pair((1, n), (2, n)) for n in range(3, 53)]
SITES = [Site("head_out", layer) for layer in range(8)]


def planted_heads() -> PairReadings:
    """Noise in every head; head 2 of layer 5 tells the sides apart along its first axis."""
    generator = torch.Generator().manual_seed(0)
    positive, negative = (
        {site: torch.randn(len(PAIRS), 4, 32, generator=generator) for site in SITES} for _ in range(2)
    )
    positive[SITES[5]][:, 2, 0] += 5
    return PairReadings(positive, negative)


def test_the_head_that_tells_the_sides_apart_is_found(subject: Subject) -> None:
    readings = planted_heads()
    probes = probe_heads(subject, PAIRS, readings=readings)
    assert float(probes.accuracy[5, 2]) > 0.9
    assert abs(float(probes.accuracy.mean()) - 0.5) < 0.1
    (vector,) = inference_time_vectors(subject, probes, 1, "v")
    assert vector.site == Site("head_out", 5) and (vector.use, vector.positions) == ("add", "steps")
    assert vector.provenance["heads"] == [2] and not vector.values[[0, 1, 3]].any()
    both = torch.cat([readings.positive[SITES[5]], readings.negative[SITES[5]]])[:, 2].double()
    mass = (readings.positive[SITES[5]] - readings.negative[SITES[5]])[:, 2].double().mean(0)
    unit = mass / mass.norm()
    torch.testing.assert_close(vector.values[2].double(), unit * (both @ unit).std(), atol=1e-5, rtol=1e-5)


def test_of_heads_that_are_never_wrong_the_surest_come_first(subject: Subject) -> None:
    generator = torch.Generator().manual_seed(1)
    positive, negative = (
        {site: 0.1 * torch.randn(len(PAIRS), 4, 32, generator=generator) for site in SITES} for _ in range(2)
    )
    for layer, site in enumerate(SITES):
        positive[site][..., 0] += 1
        negative[site][..., 0] -= 1
        if layer == 6:  # the others' sides lie near each other
            positive[site][:, 1, 0] += 9
            negative[site][:, 1, 0] -= 9
    probes = probe_heads(subject, PAIRS, readings=PairReadings(positive, negative))
    assert float(probes.accuracy.min()) == 1.0  # every head, so that accuracy ranks nothing
    (vector,) = inference_time_vectors(subject, probes, 1, "v")
    assert vector.site == Site("head_out", 6) and vector.provenance["heads"] == [1]
    site = SITES[3]
    order = np.random.default_rng(0).permutation(len(PAIRS))
    train, test = (
        torch.cat([side[site][part, 2] for side in (positive, negative)]).double().numpy()
        for part in (order[:40], order[40:])
    )
    own = LogisticRegression(max_iter=1000).fit(train, [1] * 40 + [0] * 40)
    expected = log_loss([1] * 10 + [0] * 10, own.predict_proba(test))
    assert float(probes.log_loss[3, 2]) == pytest.approx(expected, rel=1e-4)


def test_directions_by_probe_and_at_random(subject: Subject) -> None:
    readings = planted_heads()
    probe = probe_heads(subject, PAIRS, "probe", readings=readings)
    assert float(probe.direction[5, 2, 0]) > 0.8
    random = probe_heads(subject, PAIRS, "random", readings=readings)
    assert abs(float(random.direction[5, 2, 0])) < 0.6
    torch.testing.assert_close(random.direction.norm(dim=-1), torch.ones(8, 4))


def test_too_few_pairs_and_too_many_heads_are_refused(subject: Subject) -> None:
    with pytest.raises(UserError, match="too few"):
        probe_heads(subject, PAIRS[:4])
    probes = probe_heads(subject, PAIRS, readings=planted_heads())
    for count in (0, 33):
        with pytest.raises(UserError, match="32 heads"):
            inference_time_vectors(subject, probes, count, "v")
