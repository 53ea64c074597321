"""Inference-time intervention: a planted head is found, and its direction is the closed form."""

import pytest
import torch

from interp.errors import UserError
from interp.subject import Site, Subject, load
from interp.vectors.contrastive import Pair, PairReadings
from interp.vectors.inference_time import inference_time_vectors, probe_heads

PAIRS = [Pair((1, n), (2, n)) for n in range(3, 53)]
SITES = [Site("head_out", layer) for layer in range(8)]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return load("world")


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
