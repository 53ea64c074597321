"""Integrated gradients: completeness, the rules, spaces together or one by one, positions, refusals."""

import pytest
import torch
from torch import Tensor

from interp.attribution import Target, activation_times_gradient, integrated_gradients
from interp.attribution.passes import laid_out, target_values
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace
from interp.features.statistics import FeatureStatistics
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
    return [
        MlpNeurons(subject, 2),
        SaeLatents(random_sae("standard", width=320), Site("mlp_post", 4), subject=subject),
        random_directions(subject, Site("attn_out", 5), 20, seed=1),
        MlpNeurons(subject, 6),
    ]


def at_baseline(
    subject: Subject, spaces: list[FeatureSpace], values: dict[str, Tensor], where: Tensor, target: Target
) -> Tensor:
    """The target of `PROMPTS` with every feature of these spaces at these values, where told to be."""

    def edit(space: FeatureSpace, x: Tensor) -> Tensor:
        ids = torch.arange(space.n_features)
        written = space.write(x, ids, values[space.name].expand(*x.shape[:2], -1))
        return torch.where(where[..., None], written, x)

    with torch.no_grad(), subject.edited({s.site: lambda x, s=s: edit(s, x) for s in spaces}):
        return target_values(subject, laid_out(subject, PROMPTS), target)


def test_all_attributions_together_are_the_whole_effect(subject: Subject, spaces: list[FeatureSpace]) -> None:
    tokens, mask = subject.to_batch(PROMPTS)
    target = Target.of(subject, "paris", kind="log_prob")
    means = {s.name: torch.linspace(-0.2, 0.3, s.n_features) for s in spaces}
    statistics = {name: FeatureStatistics(name, (0.5,), mean[:, None], mean) for name, mean in means.items()}
    zeros = {s.name: torch.zeros(s.n_features) for s in spaces}
    for baseline, values in (("zero", zeros), ("mean", means)):
        lost = target_values(subject, laid_out(subject, PROMPTS), target) - at_baseline(
            subject, spaces, values, torch.ones_like(mask).bool(), target
        )
        misses = []
        for steps in (5, 80):
            found = integrated_gradients(
                subject, tokens, mask, target, spaces, baseline=baseline, statistics=statistics, steps=steps
            )
            total = torch.stack([v.sum((1, 2)) for v in found.values.values()]).sum(0)
            misses.append(float((total - lost).abs().max()))
        assert float(lost.abs().max()) > 0.3
        assert misses[1] < 0.01 * float(lost.abs().max())
        assert misses[1] < misses[0]


def test_one_space_after_the_other_each_has_its_own_effect(
    subject: Subject, spaces: list[FeatureSpace]
) -> None:
    tokens, mask = subject.to_batch(PROMPTS)
    target = Target.of(subject, "paris")
    stream = random_directions(subject, Site("resid_post", 3), 10, seed=2)  # not allowed together
    found = integrated_gradients(
        subject, tokens, mask, target, [*spaces, stream], steps=60, path="each", positions=[0, -1, -2]
    )
    where = torch.zeros_like(mask).bool()
    where[:, -2:] = True
    where[[0, 1], mask.argmax(1)] = True
    clean = target_values(subject, laid_out(subject, PROMPTS), target)
    for space in [*spaces, stream]:
        zeros = {space.name: torch.zeros(space.n_features)}
        lost = clean - at_baseline(subject, [space], zeros, where, target)
        values = found.values[space.name]
        torch.testing.assert_close(values.sum((1, 2)), lost, atol=0.02, rtol=0.01)
        assert not values[~where].any()
        assert values[where].abs().sum(-1).min() > 0 or space.site.layer == 6


def test_in_a_linear_model_it_is_activation_times_gradient() -> None:
    linear = linear_subject()
    tokens, mask = linear.to_batch(PROMPTS)
    target = Target.of(linear, ["paris", "london"], distractor="rome")
    neurons = [MlpNeurons(linear, layer) for layer in (3, 6, 7)]
    plain = activation_times_gradient(linear, tokens, mask, target, neurons)
    found = integrated_gradients(linear, tokens, mask, target, neurons, steps=3, path="each")
    for name, values in plain.values.items():
        torch.testing.assert_close(found.values[name], values, atol=1e-5, rtol=1e-4)
    # together, a feature is not credited with what later spaces say because of it
    together = integrated_gradients(linear, tokens, mask, target, neurons, steps=3)
    torch.testing.assert_close(together.values["mlp.7"], plain.values["mlp.7"], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together.values["mlp.3"], plain.values["mlp.3"], atol=1e-3)


@pytest.mark.parametrize("rule", ["riemann_middle", "endpoints"])
def test_gradients_are_taken_where_the_rule_says(subject: Subject, rule: str) -> None:
    tokens, target, space = subject.to_tokens(PROMPTS[0]), Target.of(subject, "paris"), MlpNeurons(subject, 4)
    found = integrated_gradients(subject, tokens, None, target, [space], steps=4, rule=rule)
    activation = subject.read(tokens, [space.site])[space.site]
    alphas = [0.125, 0.375, 0.625, 0.875] if rule == "riemann_middle" else [0, 1 / 3, 2 / 3, 1]
    gradients = []
    for alpha in alphas:
        value = (alpha * activation).clone().requires_grad_()
        with subject.edited({space.site: lambda x, v=value: v}):
            logits = subject.logits(tokens)
        gradients.append(torch.autograd.grad(logits[0, -1, target.token_ids[0]], value)[0])
    expected = activation * torch.stack(gradients).mean(0)
    torch.testing.assert_close(found.values["mlp.4"], expected, atol=1e-5, rtol=1e-4)


def test_how_many_rows_share_a_pass_changes_nothing(subject: Subject, spaces: list[FeatureSpace]) -> None:
    tokens, mask = subject.to_batch(PROMPTS)
    target = Target.of(subject, ["paris", "london"])
    whole, parts = (
        integrated_gradients(subject, tokens, mask, target, spaces, steps=6, rows_at_once=rows)
        for rows in (64, 5)
    )
    alone = integrated_gradients(
        subject, subject.to_tokens(PROMPTS[0]), None, Target.of(subject, "paris"), spaces, steps=6
    )
    for name, values in whole.values.items():
        torch.testing.assert_close(parts.values[name], values, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(values[0, -6:], alone.values[name][0], atol=1e-4, rtol=1e-3)


def test_spaces_that_cannot_move_together_are_refused(subject: Subject) -> None:
    tokens, target = subject.to_tokens(PROMPTS[0]), Target.of(subject, "paris")
    neurons = MlpNeurons(subject, 3)
    for other, why in [
        (random_directions(subject, Site("resid_post", 5), 4, seed=0), "residual stream"),
        (random_directions(subject, Site("embed"), 4, seed=0), "residual stream"),
        (random_directions(subject, Site("mlp_out", 3), 4, seed=0), r"mlp_post\.3 feeds mlp_out\.3"),
        (SaeLatents(random_sae("standard", width=320), neurons.site, subject=subject), "two spaces are at"),
    ]:
        with pytest.raises(UserError, match=why) as caught:
            integrated_gradients(subject, tokens, None, target, [neurons, other])
        assert caught.value.fix == 'use path="each"'
        assert (
            integrated_gradients(subject, tokens, None, target, [neurons, other], steps=1, path="each")
            .values[other.name]
            .any()
        )


def test_bad_options_are_refused_and_no_hook_is_left(subject: Subject) -> None:
    tokens, target, neurons = (
        subject.to_tokens(PROMPTS[0]),
        Target.of(subject, "paris"),
        MlpNeurons(subject, 3),
    )
    hooks = hooks_left(subject)
    with pytest.raises(UserError, match="position 6 is past"):
        integrated_gradients(subject, tokens, None, target, [neurons], positions=6)
    with pytest.raises(UserError, match="use at least 1"):
        integrated_gradients(subject, tokens, None, target, [neurons], steps=0)

    def broken(x: Tensor) -> Tensor:
        if len(x) > 1:  # after the clean run, on the steps
            raise ZeroDivisionError
        return x

    with subject.edited({Site("mlp_out", 6): broken}), pytest.raises(ZeroDivisionError):
        integrated_gradients(subject, tokens, None, target, [neurons])
    assert hooks_left(subject) == hooks
