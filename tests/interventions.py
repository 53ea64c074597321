"""Subjects, spaces, statistics and interventions that the tests of `interp.intervene` share."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

import interp
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.space import FeatureSpace
from interp.features.statistics import FeatureStatistics
from interp.intervene import Ablate, Add, AddVector, Clamp, Positions, ProjectOut, Replace, Scale
from interp.mining.mined import Mined
from interp.subject import Site
from interp.subject.forward import Intervention
from saes.latents import SaeLatents
from tests.subjects import world_subject
from tests.unit.test_saes_latents import random_sae

SPACES = ("neurons", "directions", "latents", "latents of heads")
TOKENS = torch.randint(1, 1041, (2, 9), generator=torch.Generator().manual_seed(0))
BEHIND = Site("resid_post", 3)


@cache
def space(kind: str, backend: str = "hooked") -> FeatureSpace:
    subject = world_subject(backend)
    if kind == "neurons":
        return interp.MlpNeurons(subject, 2)
    if kind == "directions":
        return random_directions(subject, BEHIND, 40, seed=1)
    if kind == "latents":
        return SaeLatents(random_sae("topk", rescale=True), Site("resid_mid", 4), subject=subject)
    return SaeLatents(random_sae("standard"), Site("head_out", 1), subject=subject)


@cache
def mined() -> Mined:
    spaces = [space(kind) for kind in SPACES]
    return interp.mine(world_subject(), spaces, interp.WorldCorpus(seed=3, n_documents=200))


@cache
def statistics(kind: str) -> FeatureStatistics:
    return mined()[space(kind).name].statistics()


def vector(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def feature_edits(kind: str, backend: str, positions: Positions = "all") -> dict[str, Intervention]:
    """Every intervention on features, strong enough to be seen in what is generated."""
    features, found = space(kind, backend), statistics(kind)
    ids = list(range(features.n_features))
    return {
        "clamp": Clamp(features, ids[:40], 5.0, positions),
        "same sign": Clamp(features, ids[:40], 9.0, positions, only_same_sign=True),
        "scale": Scale(features, ids, -3, positions),
        "zero": Ablate(features, ids, "zero", positions),
        "mean": Ablate(features, ids, "mean", positions, statistics=found),
        "resample": Ablate(features, ids, "resample", positions, statistics=found, seed=4),
        "add": Add(features, ids[:40], 4, positions),
        "add, same norm": Add(features, ids[:40], 4.0, positions, preserve_norm=True),
    }


def activation_edits(backend: str, positions: Positions = "all") -> dict[str, Intervention]:
    """Every intervention on whole activations, as strong."""
    subject = world_subject(backend)
    push = vector(subject.d_model)
    return {
        "vector": AddVector(subject, BEHIND, push, 2.0, positions),
        "vector, same norm": AddVector(subject, BEHIND, push, 5, positions, preserve_norm=True),
        "replace": Replace(subject, BEHIND, 2 * push, positions),
        "project": ProjectOut(subject, vector(24, subject.d_model), positions=positions),
    }


def refused_before_running(make: Callable[[], Intervention], message: str) -> None:
    """Holds that an intervention is refused with these words, and that the model has not run by then."""
    ran: list[int] = []
    watch = world_subject().edited({Site("embed"): lambda x: ran.append(1) or x})
    with (
        watch,
        pytest.raises(UserError, match="(?s)" + message),
        world_subject().intervene(make()),
    ):
        world_subject().logits(TOKENS)
    assert not ran
