"""Nothing is left on another device: attribution, changes and the Monitor on one that is not the CPU."""

from collections.abc import Iterator

import pytest
import torch

import interp
from interp import Ablate, AddVector, Clamp, ProjectOut
from interp.attribution.ablation import ablation_effects, strongest_places
from interp.attribution.patching_estimate import attribution_patching
from interp.features.neurons import MlpNeurons
from interp.features.statistics import FeatureStatistics
from interp.mining.quantiles import LEVELS
from interp.monitor.bench import Bench
from interp.monitor.conversation import Conversation
from interp.monitor.knowledge import Knowledge
from interp.monitor.session import Session, State
from interp.monitor.steering import FeatureCard
from interp.subject import Site, Subject
from tests.unit.elsewhere import ELSEWHERE, There, elsewhere

TEXT = "the capital of france is"


@pytest.fixture(scope="module")
def here() -> Subject:
    return interp.load("world", backend="bridge", device="cpu")


@pytest.fixture(scope="module")
def there() -> Iterator[Subject]:
    with elsewhere(interp.load("world", backend="bridge", device="cpu")) as subject:
        yield subject


def neurons(subject: Subject) -> list[MlpNeurons]:
    return [MlpNeurons(subject, layer) for layer in (2, 5)]


def known(space: MlpNeurons) -> FeatureStatistics:
    drawn = torch.Generator().manual_seed(0)
    mean = torch.randn(space.n_features, generator=drawn)
    values = torch.randn(space.n_features, len(LEVELS), generator=drawn).sort(1).values
    sample = torch.randn(50, space.n_features, generator=drawn)
    return FeatureStatistics(space.name, LEVELS, values, mean, sample, None)


def test_another_device_is_noticed(there: Subject) -> None:
    tokens = there.to_tokens(TEXT)
    assert isinstance(tokens, There) and tokens.device == ELSEWHERE
    with pytest.raises(AssertionError, match="two devices"):
        tokens + torch.ones(tokens.shape[1], dtype=torch.long)
    with pytest.raises(AssertionError, match="no array"):
        tokens.numpy()


def test_attribution(here: Subject, there: Subject) -> None:
    for options in ({}, {"baseline": "mean"}, {"method": "integrated_gradients", "steps": 2}):
        found = []
        for subject in (here, there):
            spaces = neurons(subject)
            statistics = {space.name: known(space) for space in spaces}
            given = {"statistics": statistics} if "baseline" in options else {}
            found.append(interp.attribute(subject, [TEXT, "near spain"], "paris", spaces, **options, **given))
        for name, value in found[0].values.items():
            assert found[1].values[name].device == ELSEWHERE
            assert torch.equal(value, found[1].values[name].cpu())


def test_ablation_and_patching(here: Subject, there: Subject) -> None:
    effects = []
    for subject in (here, there):
        spaces = neurons(subject)
        at = interp.attribute(subject, TEXT, "paris", spaces)
        chosen = strongest_places(at.values, spaces, 2)
        effects.append(ablation_effects(subject, at.tokens, at.mask, at.target, chosen).cpu())
        site = Site("resid_post", 2)
        patched = attribution_patching(
            subject, TEXT, "the capital of spain is", at.target, sites=[site], spaces=spaces[:1]
        )
        effects.append(patched.sites[site].cpu())
    assert torch.equal(effects[0], effects[2]) and torch.equal(effects[1], effects[3])


def test_interventions_and_generation(here: Subject, there: Subject) -> None:
    logits, written = [], []
    for subject in (here, there):
        space, site = neurons(subject)[0], Site("resid_post", 3)
        vector = torch.linspace(-1, 1, subject.d_model)
        changes = [
            Clamp(space, [1, 2], torch.tensor([0.1, 0.2])),
            Ablate(space, [3, 4], "mean", statistics=known(space)),
            Ablate(space, [5, 6], "resample", statistics=known(space)),
            AddVector(subject, site, vector, 0.5, "last"),
            ProjectOut(subject, vector, [Site("resid_post", 4)]),
        ]
        with subject.intervene(*changes):
            logits.append(subject.logits(subject.to_tokens(TEXT)).cpu())
        written.append(str(subject.generate(TEXT, 2)))
    assert torch.equal(*logits) and written[0] == written[1]


def test_the_monitor(here: Subject, there: Subject) -> None:
    rankings = []
    for subject in (here, there):
        said = Conversation().written(subject.encode(f"{TEXT} paris"))
        session = Session(Bench(subject, Knowledge(subject.name), neurons(subject)), State(conversation=said))
        place = len(said.tokens(subject)) - 1
        session.steer(FeatureCard(features=("mlp.2/17+", "mlp.5/18-"), strength=0.0, where=((1, 3),)))
        rankings.append((session.why(place), len(session.read())))
    assert rankings[0] == rankings[1]
