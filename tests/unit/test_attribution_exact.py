"""Exact ablation effects against ablating by hand, and how estimates relate to them."""

import pytest
import torch

from interp.attribution import Chosen, Target, ablation_effects, activation_times_gradient
from interp.attribution.passes import laid_out, target_values
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace
from interp.features.statistics import FeatureStatistics
from interp.intervene import Ablate, Scale
from interp.subject import Site, Subject
from saes.latents import SaeLatents
from tests.unit.linear_subject import linear_subject
from tests.unit.test_saes_latents import random_sae
from tests.unit.test_subject_hooks import hooks_left

PROMPTS = ["the capital of france is", "the capital of england is the capital of"]


@pytest.fixture(scope="module")
def subject(each_backend: Subject) -> Subject:
    return each_backend


@pytest.fixture(scope="module")
def spaces(subject: Subject) -> list[FeatureSpace]:
    stream = Site("resid_post", 4)
    return [
        MlpNeurons(subject, 2),
        random_directions(subject, stream, 12, seed=1),
        SaeLatents(random_sae("standard"), stream, subject=subject),
        SaeLatents(random_sae("topk"), Site("head_out", 3), subject=subject),
    ]


def chosen_of(spaces: list[FeatureSpace]) -> list[Chosen]:
    return [
        Chosen(space, feature, position)
        for space in spaces
        for feature, position in [(3, None), (11, -1), (3, 4), (7, 0)]
    ]


def sample(space: FeatureSpace) -> torch.Tensor:
    return torch.randn(9, space.n_features, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(("to", "rows_at_once"), [("zero", 1), ("zero", 7), ("mean", 64), ("resample", 7)])
def test_an_effect_is_what_ablating_and_running_again_gives(
    subject: Subject, spaces: list[FeatureSpace], to: str, rows_at_once: int
) -> None:
    tokens, mask = subject.to_batch(PROMPTS)
    target = Target.of(subject, ["paris", "london"], distractor="rome")
    statistics = {
        s.name: FeatureStatistics(
            s.name, (0.5,), torch.zeros(s.n_features, 1), torch.full((s.n_features,), 0.7), sample(s)
        )
        for s in spaces
    }
    chosen = chosen_of(spaces)
    found = ablation_effects(
        subject,
        tokens,
        mask,
        target,
        chosen,
        to=to,
        statistics=statistics,
        rows_at_once=rows_at_once,
    )
    assert found.shape == (len(chosen), 2)
    prompts = laid_out(subject, PROMPTS)
    clean = target_values(subject, prompts, target)
    for one, effect in zip(chosen, found, strict=True):
        given = statistics[one.space.name]
        with subject.intervene(Ablate(one.space, one.feature_id, to, one.positions, statistics=given)):
            expected = clean - target_values(subject, prompts, target)
        torch.testing.assert_close(effect, expected, atol=1e-4, rtol=1e-3)
    assert float(found.abs().max()) > 0.05


def test_in_a_linear_model_the_estimate_is_exact() -> None:
    linear = linear_subject()
    tokens, mask = linear.to_batch(PROMPTS)
    target = Target.of(linear, "paris")
    neurons = MlpNeurons(linear, 5)
    directions = random_directions(linear, Site("resid_post", 2), 6, seed=0)
    estimate = activation_times_gradient(linear, tokens, mask, target, [neurons, directions])
    chosen = [Chosen(neurons, 9, -1), Chosen(neurons, 9), Chosen(directions, 2, 1), Chosen(directions, 4)]
    found = ablation_effects(linear, tokens, mask, target, chosen)
    first, second = estimate.values["mlp.5"][..., 9], estimate.values[directions.name]
    start = mask.argmax(1)  # the first real column
    expected = torch.stack([first[:, -1], first.sum(1), second[[0, 1], start + 1, 2], second[..., 4].sum(1)])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_an_active_intervention_is_part_of_the_model(subject: Subject) -> None:
    tokens, target, neurons = (
        subject.to_tokens(PROMPTS[0]),
        Target.of(subject, "paris"),
        MlpNeurons(subject, 6),
    )
    gradients = activation_times_gradient(subject, tokens, None, target, [neurons])
    strongest = int(gradients.values[neurons.name][0, -1].abs().argmax())
    chosen = [Chosen(neurons, strongest, -1), Chosen(neurons, 3)]
    plain = ablation_effects(subject, tokens, None, target, chosen)
    with subject.intervene(Scale(neurons, [strongest], 0.0)):
        found = ablation_effects(subject, tokens, None, target, chosen)
    assert abs(float(plain[0])) > 0.1
    assert float(found[0]) == pytest.approx(0, abs=1e-4)


def test_bad_choices_are_refused_before_the_model_runs(subject: Subject) -> None:
    tokens, target, neurons = (
        subject.to_tokens(PROMPTS[0]),
        Target.of(subject, "paris"),
        MlpNeurons(subject, 1),
    )
    ran: list[str] = []
    good = Chosen(neurons, 0)
    with subject.edited({Site("embed"): lambda x: ran.append("ran") or x}):
        for bad, message in [
            (Chosen(neurons, 320), "feature 320 does not exist"),
            (Chosen(neurons, -1), "feature -1 does not exist"),
            (Chosen(neurons, 0, 6), "position 6 is past the prompt, which has 6 tokens"),
        ]:
            with pytest.raises(UserError, match=message):
                ablation_effects(subject, tokens, None, target, [good, bad])
        with pytest.raises(UserError, match="needs the features' statistics"):
            ablation_effects(subject, tokens, None, target, [good], to="mean")
    assert not ran


def test_no_hook_and_no_intervention_is_left(subject: Subject) -> None:
    tokens, target, neurons = (
        subject.to_tokens(PROMPTS[0]),
        Target.of(subject, "paris"),
        MlpNeurons(subject, 1),
    )
    before, hooks = subject.logits(tokens), hooks_left(subject)

    def broken(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 1:  # after the clean run, on the stacked rows
            raise ZeroDivisionError
        return x

    with subject.edited({Site("mlp_out", 6): broken}), pytest.raises(ZeroDivisionError):
        ablation_effects(subject, tokens, None, target, [Chosen(neurons, 0), Chosen(neurons, 1)])
    assert hooks_left(subject) == hooks
    assert torch.equal(subject.logits(tokens), before)
