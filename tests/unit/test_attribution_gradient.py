"""Activation times gradient: closed forms, single features by autograd, padding, signs, the front door."""

import pytest
import torch

import interp
from interp.attribution import (
    Attribution,
    Chosen,
    Target,
    ablation_effects,
    activation_times_gradient,
    attribute,
)
from interp.attribution.passes import laid_out, target_values
from interp.errors import UserError
from interp.features.directions import Directions, random_directions
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace
from interp.features.statistics import FeatureStatistics
from interp.intervene import Ablate, Add, Replace
from interp.subject import Site, Subject
from saes.latents import SaeLatents
from tests.unit.linear_subject import linear_subject
from tests.unit.test_saes_latents import random_sae
from tests.unit.test_subject_hooks import hooks_left

TEXT = "the capital of france is"
PROMPTS = [TEXT, "the capital of england is the capital of"]


@pytest.fixture(scope="module")
def subject(each_backend: Subject) -> Subject:
    return each_backend


@pytest.fixture(scope="module")
def linear() -> Subject:
    return linear_subject()


@pytest.fixture(scope="module")
def spaces(subject: Subject) -> list[FeatureSpace]:
    """Every kind of space; three share a site."""
    stream = Site("resid_post", 4)
    return [
        MlpNeurons(subject, 2),
        MlpNeurons(subject, 5),
        random_directions(subject, stream, 30, seed=1),
        SaeLatents(random_sae("jumprelu"), stream, subject=subject),
        SaeLatents(random_sae("topk", "layer_norm"), stream, "sae.topk", subject=subject),
        SaeLatents(random_sae("standard"), Site("head_out", 1), subject=subject),
        SaeLatents(random_sae("standard"), Site("resid_mid", 3), subject=subject),
    ]


def test_it_works_as_the_readme_types_it(subject: Subject) -> None:
    neurons, latents = MlpNeurons(subject, 3), random_directions(subject, Site("resid_post", 4), 8, seed=0)
    found = interp.attribute(subject, TEXT, target="paris", spaces=[neurons, latents])
    assert {name: tuple(values.shape) for name, values in found.values.items()} == {
        "mlp.3": (1, 6, 320),
        latents.name: (1, 6, 8),
    }
    paris = subject.single_token("paris")
    torch.testing.assert_close(found.target_value[0], subject.logits(found.tokens)[0, -1, paris])


def test_through_the_final_norm_it_is_the_formula_of_rms_norm(subject: Subject) -> None:
    last = Site("resid_post", subject.n_layers - 1)
    coordinates = Directions(subject, "coordinates", last, torch.eye(subject.d_model))
    target = Target.of(subject, "paris")
    found = attribute(subject, TEXT, target, [coordinates])
    x = subject.read(found.tokens, [last])[last][0, -1].double()
    weight = subject.final_norm(torch.ones(1, 1, subject.d_model))[0, 0].double()
    u = weight * subject.unembedding()[:, target.token_ids[0]].double()
    rms = x.square().mean().sqrt()
    gradient = u / rms - x * (x @ u) / (subject.d_model * rms**3)
    values = found.values[coordinates.name][0]
    torch.testing.assert_close(values[-1].double(), x * gradient, atol=1e-4, rtol=1e-3)
    assert not values[:-1].any()  # the last layer's other positions say nothing to the last logits


def test_in_a_linear_model_it_is_the_product_of_the_weights(linear: Subject) -> None:
    target = Target.of(linear, "paris", distractor="london")
    late, early = MlpNeurons(linear, 7), MlpNeurons(linear, 6)
    found = attribute(linear, TEXT, target, [early, late])
    inner, outer, unembed = linear._backend.inner, linear._backend.outer, linear.unembedding()
    read = unembed[:, target.token_ids[0]] - unembed[:, target.distractor_ids[0]]
    n = found.tokens.shape[1]
    expected = torch.zeros(n, linear.d_mlp)
    expected[-1] = outer[7] @ read
    torch.testing.assert_close(
        found.values["mlp.7"][0], found.activations["mlp.7"][0] * expected, atol=1e-5, rtol=1e-4
    )
    through_layer_7 = inner[7] @ outer[7] @ read / n  # every position goes into the mean
    expected = (outer[6] @ through_layer_7).repeat(n, 1)
    expected[-1] += outer[6] @ read
    torch.testing.assert_close(
        found.values["mlp.6"][0], found.activations["mlp.6"][0] * expected, atol=1e-5, rtol=1e-4
    )


def test_each_gradient_is_autograds_through_writing_that_feature(
    subject: Subject, spaces: list[FeatureSpace]
) -> None:
    prompts, target = laid_out(subject, PROMPTS), Target.of(subject, "paris", kind="log_prob")
    found = attribute(subject, PROMPTS, target, spaces)
    for space in spaces:
        strongest = found.values[space.name].abs().sum((0, 1)).topk(2).indices.tolist()
        for feature in [*strongest, 7]:
            ids = torch.tensor([feature])
            value = found.activations[space.name][..., ids].clone().requires_grad_()
            with subject.edited({space.site: lambda x, s=space, i=ids, v=value: s.write(x, i, v)}):
                (gradient,) = torch.autograd.grad(target_values(subject, prompts, target).sum(), value)
            expected = (value * gradient).detach() * prompts.real[..., None]
            scale = float(found.values[space.name].abs().max())
            torch.testing.assert_close(
                found.values[space.name][..., ids], expected, atol=1e-4 * scale, rtol=1e-3
            )


def test_a_feature_that_is_silent_has_no_attribution(subject: Subject, spaces: list[FeatureSpace]) -> None:
    found = attribute(subject, PROMPTS, "paris", spaces)
    for name in ("sae.resid_post.4", "sae.topk"):
        silent = found.activations[name] == 0
        assert 0.05 < float(silent.float().mean()) < 1
        assert not found.values[name][silent].any()
        assert found.values[name][~silent].any()


def test_a_padded_batch_has_the_attributions_of_its_prompts(
    subject: Subject, spaces: list[FeatureSpace]
) -> None:
    together = attribute(subject, PROMPTS, ["paris", "london"], spaces, position=-2)
    given = attribute(subject, together.tokens, together.target, spaces, mask=together.mask)
    assert all(torch.equal(given.values[name], values) for name, values in together.values.items())
    for row, word in enumerate(["paris", "london"]):
        alone = attribute(subject, PROMPTS[row], word, spaces, position=-2)
        for name, values in alone.values.items():
            padded = together.values[name][row]
            scale = float(values.abs().max())
            torch.testing.assert_close(padded[-values.shape[1] :], values[0], atol=1e-4 * scale, rtol=1e-3)
            assert not padded[: -values.shape[1]].any()


def test_a_planted_feature_for_the_target_has_a_positive_attribution(subject: Subject) -> None:
    target, last = Target.of(subject, "paris"), Site("resid_post", subject.n_layers - 1)
    planted = Directions(subject, "planted", last, subject.unembedding()[:, list(target.token_ids)].T)
    before = attribute(subject, TEXT, target, [planted])
    size = float(subject.read(before.tokens, [last])[last][0, -1].norm())
    for amount, sign in ((size, 1), (-size, -1)):
        with subject.intervene(Add(planted, 0, amount, "last")):
            after = attribute(subject, TEXT, target, [planted])
            effect = ablation_effects(subject, after.tokens, None, target, [Chosen(planted, 0)])
        assert sign * float(after.target_value - before.target_value) > 0.1
        assert sign * float(after.values["directions.planted"][0, -1, 0]) > 0.1
        assert sign * float(effect) > 0.1


def test_what_an_active_intervention_silences_or_cuts_off_has_none(subject: Subject) -> None:
    neurons, site = MlpNeurons(subject, 3), Site("resid_post", 5)
    with subject.intervene(Ablate(neurons, [4, 5])):
        found = attribute(subject, TEXT, "paris", [neurons]).values["mlp.3"]
    assert not found[..., [4, 5]].any()
    assert found[..., 6].any()
    stream = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(0))
    with subject.intervene(Replace(subject, site, stream)):
        cut = attribute(subject, TEXT, "paris", [neurons, MlpNeurons(subject, 6)]).values
    assert not cut["mlp.3"].any()
    assert cut["mlp.6"].any()


def test_a_mean_baseline_measures_from_the_mean(subject: Subject) -> None:
    neurons = MlpNeurons(subject, 3)
    plain = attribute(subject, TEXT, "paris", [neurons])
    mean = plain.activations["mlp.3"][0, 2]
    statistics = {"mlp.3": FeatureStatistics("mlp.3", (0.5,), mean[:, None], mean)}
    found = attribute(subject, TEXT, "paris", [neurons], baseline="mean", statistics=statistics)
    gradient = plain.values["mlp.3"] / plain.activations["mlp.3"]
    expected = (plain.activations["mlp.3"] - mean) * gradient
    torch.testing.assert_close(found.values["mlp.3"], expected, atol=1e-5, rtol=1e-3)
    assert not found.values["mlp.3"][0, 2].any()


def test_the_largest_attributions_are_listed(subject: Subject, spaces: list[FeatureSpace]) -> None:
    found = attribute(subject, PROMPTS, "paris", spaces)
    table = found.top(15)
    assert list(table) == ["space", "layer", "feature", "position", "token", "activation", "attribution"]
    everything = torch.cat([values[0].abs().flatten() for values in found.values.values()])
    assert table["attribution"].abs().tolist() == pytest.approx(everything.topk(15).values.tolist())
    padding = int((found.mask[0] == 0).sum())
    assert padding > 0
    layers = {space.name: space.site.layer for space in spaces}
    for one in table.itertuples():
        column = padding + one.position
        assert one.attribution == found.values[one.space][0, column, one.feature]
        assert one.activation == found.activations[one.space][0, column, one.feature]
        assert [one.token] == subject.token_strings(found.tokens[0, [column]])
        assert one.layer == layers[one.space]
    signed = found.top(5, "mlp.5", row=1, signed=True)["attribution"].tolist()
    assert signed == found.values["mlp.5"][1].flatten().topk(5).values.tolist()
    assert len(found.top(10**6, "mlp.2")) == 6 * 320
    torch.testing.assert_close(found.totals()["mlp.2"], found.values["mlp.2"].sum(1))


def test_bad_input_is_refused_before_the_model_runs(subject: Subject) -> None:
    neurons = MlpNeurons(subject, 1)
    ran: list[str] = []
    with subject.edited({Site("embed"): lambda x: ran.append("ran") or x}):
        with pytest.raises(UserError, match="an answer has several"):
            attribute(subject, TEXT, "the capital", [neurons], kind="logit")
        with pytest.raises(UserError, match="an answer has several"):
            attribute(subject, TEXT, "the capital", [neurons], position=3)
        with pytest.raises(UserError, match="an answer has several"):
            attribute(subject, TEXT, "the capital", [neurons], distractor="paris")
        with pytest.raises(UserError, match="the capital' is not one token but 2"):
            attribute(subject, TEXT, "paris", [neurons], distractor="the capital")
        with pytest.raises(UserError, match="position 6 is past"):
            attribute(subject, TEXT, "paris", [neurons], position=6)
        with pytest.raises(UserError, match="same name"):
            attribute(subject, TEXT, "paris", [neurons, neurons])
        with pytest.raises(UserError, match="no feature space"):
            attribute(subject, TEXT, "paris", [])
        with pytest.raises(UserError, match="mean baseline needs"):
            attribute(subject, TEXT, "paris", [neurons], baseline="mean")
        with pytest.raises(UserError, match="set it in the Target"):
            attribute(subject, TEXT, Target.of(subject, "paris"), [neurons], distractor="london")
    assert not ran


def test_no_such_space_or_row_in_the_table(subject: Subject) -> None:
    found = attribute(subject, TEXT, "paris", [MlpNeurons(subject, 1)])
    with pytest.raises(UserError, match=r"use one of mlp\.1"):
        found.top(space="mlp.2")
    with pytest.raises(UserError, match="no prompt 1"):
        found.top(row=1)


def test_no_hook_and_no_graph_is_left(subject: Subject) -> None:
    neurons, tokens = MlpNeurons(subject, 1), subject.to_tokens(TEXT)
    before, hooks = subject.logits(tokens), hooks_left(subject)

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    target = Target.of(subject, "paris")
    with subject.edited({Site("mlp_out", 4): broken}), pytest.raises(ZeroDivisionError):
        activation_times_gradient(subject, tokens, None, target, [neurons])
    found: Attribution = activation_times_gradient(subject, tokens, None, target, [neurons])
    assert hooks_left(subject) == hooks
    assert torch.equal(subject.logits(tokens), before)
    kept = [found.target_value, *found.values.values(), *found.activations.values()]
    assert not any(tensor.requires_grad for tensor in kept)


def test_it_works_where_gradients_are_off(subject: Subject) -> None:
    neurons = [MlpNeurons(subject, 1)]
    expected = attribute(subject, TEXT, "paris", neurons).values["mlp.1"]
    with torch.no_grad():
        assert torch.equal(attribute(subject, TEXT, "paris", neurons).values["mlp.1"], expected)
