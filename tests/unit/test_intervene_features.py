"""Interventions on features: what each writes, on every kind of space and both backends."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from interp.errors import UserError
from interp.features.statistics import FeatureStatistics
from interp.intervene import Ablate, Add, AtQuantile, Clamp, Scale
from interp.subject import Site
from interp.subject.forward import Intervention
from tests.interventions import SPACES, TOKENS, feature_edits, refused_before_running, space, statistics
from tests.subjects import BACKENDS, world_subject
from tests.unit.test_subject_hooks import hooks_left

IDS = [3, 11, 30]
EDITS = ("clamp", "same sign", "scale", "zero", "mean", "add", "add, same norm")
on_every_space = pytest.mark.parametrize("kind", SPACES)
on_both_backends = pytest.mark.parametrize("backend", BACKENDS)


def by_hand(name: str, kind: str, backend: str) -> Callable[[Tensor], Tensor]:
    """The same changes, said in terms of reading and writing."""
    features = space(kind, backend)
    ids = torch.arange(40 if name in ("clamp", "same sign", "add", "add, same norm") else features.n_features)

    def edit(x: Tensor) -> Tensor:
        read = features.encode(x)[..., ids]
        values = {
            "clamp": torch.full_like(read, 5.0),
            "same sign": torch.where(read > 0, 9.0, read),
            "scale": -3 * read,
            "zero": torch.zeros_like(read),
            "mean": statistics(kind).mean.expand_as(read) if name == "mean" else read,
            "add": read + 4,
            "add, same norm": read + 4,
        }[name]
        moved = features.write(x, ids, values)
        if name == "add, same norm":
            return moved * x.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True)
        return moved

    return edit


@on_both_backends
@on_every_space
@pytest.mark.parametrize("name", EDITS)
def test_each_is_what_one_would_write_by_hand(name: str, kind: str, backend: str) -> None:
    subject, site = world_subject(backend), space(kind, backend).site
    plain = subject.logits(TOKENS)
    with subject.edited({site: by_hand(name, kind, backend)}):
        expected = subject.logits(TOKENS)
    with subject.intervene(feature_edits(kind, backend)[name]):
        found = subject.logits(TOKENS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert float((found - plain).abs().max()) > 0.1
    assert torch.equal(subject.logits(TOKENS), plain)


@on_both_backends
@on_every_space
def test_nothing_changes_to_the_bit_where_nothing_is_asked(kind: str, backend: str) -> None:
    subject, features = world_subject(backend), space(kind, backend)
    plain = subject.logits(TOKENS)
    read = subject.run(TOKENS, read=[features]).features[features.name][..., IDS]
    idle: list[Intervention] = [
        Scale(features, IDS, 1),
        Add(features, IDS, 0),
        Add(features, IDS, 0.0, preserve_norm=True),
        Clamp(features, IDS, read),
        Clamp(features, IDS, 50.0, []),
        Clamp(features, IDS, 50.0, "generated"),
        Clamp(features, IDS, 50.0, torch.zeros_like(TOKENS)),
    ]
    for intervention in idle:
        with subject.intervene(intervention):
            assert torch.equal(subject.logits(TOKENS), plain), intervention


@on_every_space
def test_values_by_position_are_written_where_they_belong(kind: str) -> None:
    subject, features = world_subject(), space(kind)
    values = torch.rand(*TOKENS.shape, len(IDS), generator=torch.Generator().manual_seed(5))

    def edit(x: Tensor) -> Tensor:
        return features.write(x, torch.tensor(IDS), values)

    with subject.edited({features.site: edit}):
        expected = subject.logits(TOKENS)
    with subject.intervene(Clamp(features, IDS, values)):
        torch.testing.assert_close(subject.logits(TOKENS), expected)


@on_both_backends
def test_they_act_in_the_order_given(backend: str) -> None:
    subject, neurons = world_subject(backend), space("neurons", backend)
    site = neurons.site
    plain = subject.read(TOKENS, [site])[site]
    add, double = Add(neurons, 3, 1), Scale(neurons, 3, 2)
    orders: dict[tuple[Intervention, ...], Tensor] = {
        (add, double): 2 * (plain[..., 3] + 1),
        (double, add): 2 * plain[..., 3] + 1,
        (add, add): plain[..., 3] + 2,
    }
    for given, expected in orders.items():
        with subject.intervene(*given):
            torch.testing.assert_close(subject.read(TOKENS, [site])[site][..., 3], expected)
        with subject.intervene(given[0]), subject.intervene(given[1]):
            torch.testing.assert_close(
                subject.run(TOKENS, [neurons]).features[neurons.name][..., 3], expected
            )
    with subject.intervene(add), subject.edited({site: lambda x: 2 * x}):
        added = plain.index_add(-1, torch.tensor([3]), torch.ones(*TOKENS.shape, 1))
        torch.testing.assert_close(subject.read(TOKENS, [site])[site], 2 * added)


class Broken(Scale):
    def values(self, activation: Tensor, forward: object) -> Tensor:
        raise ZeroDivisionError


@on_both_backends
@on_every_space
def test_nothing_is_left_after_an_exception(kind: str, backend: str) -> None:
    subject, features = world_subject(backend), space(kind, backend)
    plain, hooks = subject.logits(TOKENS), hooks_left(subject)
    clamp = Clamp(features, IDS, 7.0)
    with pytest.raises(ZeroDivisionError), subject.intervene(clamp, Scale(features, 1, 2)):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), subject.intervene(clamp, Broken(features, 1, 2)):
        subject.logits(TOKENS)
    with pytest.raises(UserError), subject.intervene(clamp, Clamp(features, IDS, 1.0, 50)):
        subject.logits(TOKENS)
    assert torch.equal(subject.logits(TOKENS), plain)
    assert hooks_left(subject) == hooks
    with subject.intervene(clamp):
        with pytest.raises(ZeroDivisionError), subject.intervene(Broken(features, 1, 2)):
            subject.logits(TOKENS)
        outer = subject.logits(TOKENS)
    with subject.intervene(clamp):
        assert torch.equal(subject.logits(TOKENS), outer)


@on_both_backends
@on_every_space
def test_a_gradient_flows_to_the_value_and_through_every_edit(kind: str, backend: str) -> None:
    subject, features = world_subject(backend), space(kind, backend)

    def gradients(name: str, edit: Intervention | Callable[[Tensor], Tensor]) -> Tensor:
        push = torch.zeros(subject.d_model, requires_grad=True)
        site = features.site
        block = subject.edited({site: edit}) if callable(edit) else subject.intervene(edit)
        with subject.edited({Site("embed"): lambda x: x + push}), block:
            subject.logits(TOKENS)[..., 7].sum().backward()
        assert push.grad is not None
        assert float(push.grad.abs().max()) > 0, name
        return push.grad

    edits = feature_edits(kind, backend)
    for name in ("clamp", "same sign", "scale", "add, same norm"):
        expected = gradients(name, by_hand(name, kind, backend))
        torch.testing.assert_close(gradients(name, edits[name]), expected, atol=1e-3, rtol=1e-3)
    value = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    with subject.intervene(Clamp(features, IDS, value, "last")):
        loss = subject.logits(TOKENS)[:, -1].logsumexp(-1).sum()
    loss.backward()
    with subject.intervene(Clamp(features, IDS, value.detach() + 0.01 * value.grad, "last")):
        step = float(subject.logits(TOKENS)[:, -1].logsumexp(-1).sum() - loss.detach())
    assert step == pytest.approx(0.01 * float(value.grad @ value.grad), rel=0.1, abs=1e-4)
    assert step != 0


@on_every_space
@pytest.mark.parametrize("tail", [1e-5, 1e-3, 0.01])
@pytest.mark.parametrize("polarity", [1, -1])
def test_a_quantile_is_the_features_own_on_either_side(kind: str, tail: float, polarity: int) -> None:
    features, found = space(kind), statistics(kind)
    if polarity == -1 and not features.signed:
        with pytest.raises(UserError, match="do not fit"):
            Clamp(features, 3, AtQuantile(1.0, tail), polarities=-1, statistics=found)
        return
    level = 1 - tail if polarity == 1 else tail
    own = found.quantile(level, torch.arange(features.n_features))
    ids = (own * polarity > 0).nonzero().flatten()[:5]
    clamp = Clamp(features, ids, AtQuantile(0.5, tail), polarities=[polarity] * len(ids), statistics=found)
    with world_subject().intervene(clamp):
        read = world_subject().run(TOKENS, [features]).features[features.name][..., ids]
    if kind in ("neurons", "directions"):  # latents are written into the activation, and read anew from it
        torch.testing.assert_close(read, (0.5 * own[ids]).expand_as(read), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(clamp.value.tensor, 0.5 * own[ids])
    assert found.sample is not None
    sampled = (found.sample.float()[:, ids] * polarity > own[ids] * polarity).float().mean(0)
    assert bool((sampled <= tail + 0.01).all())


def test_a_silent_feature_has_no_quantile_but_can_be_silenced() -> None:
    features, found = space("latents"), statistics("latents")
    never = int((found.quantile(1 - 1e-5, torch.arange(200)) <= 0).nonzero()[0])
    with pytest.raises(UserError, match=rf"activates feature {never}\n"):
        Clamp(features, [never], AtQuantile(0.5), statistics=found)
    assert not Clamp(features, never, AtQuantile(0), statistics=found).value.tensor.any()


@on_both_backends
@pytest.mark.parametrize("polarity", [1, -1])
def test_the_sign_rule_leaves_the_other_side_alone(backend: str, polarity: int) -> None:
    subject, neurons = world_subject(backend), space("neurons", backend)
    site, ids = neurons.site, list(range(100))
    plain = subject.read(TOKENS, [site])[site]
    clamp = Clamp(neurons, ids, 0.25, polarities=polarity, only_same_sign=True)
    with subject.intervene(clamp):
        found = subject.read(TOKENS, [site])[site]
    same = plain[..., :100] * polarity > 0
    assert bool(same.any()) and not bool(same.all())
    assert torch.equal(found[..., :100], torch.where(same, 0.25, plain[..., :100]))
    assert torch.equal(found[..., 100:], plain[..., 100:])


def test_resampling_takes_whole_tokens_of_the_sample() -> None:
    subject, neurons, found = world_subject(), space("neurons"), statistics("neurons")
    site = neurons.site
    assert found.sample is not None
    tables = []
    for seed in (0, 0, 1, -1, 2**40):
        with subject.intervene(Ablate(neurons, IDS, "resample", statistics=found, seed=seed)):
            tables.append(subject.read(TOKENS, [site])[site][..., IDS])
    rows = found.sample[:, IDS].float()
    assert bool((tables[0][:, :, None] == rows).all(-1).any(-1).all())
    assert len(tables[0].flatten(0, 1).unique(dim=0)) > 10
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


@on_both_backends
@on_every_space
def test_resampling_is_the_same_in_any_batch(kind: str, backend: str) -> None:
    subject = world_subject(backend)
    tokens, mask = subject.to_batch(["the capital of france is", "the capital of"])
    with subject.intervene(feature_edits(kind, backend)["resample"]):
        batch = subject.logits(tokens, mask)[1, 2:]
        alone = subject.logits(tokens[1:, 2:])[0]
    torch.testing.assert_close(batch, alone, atol=1e-3, rtol=1e-4)


def other_statistics() -> FeatureStatistics:
    found = statistics("neurons")
    return FeatureStatistics("mlp.2", found.levels, found.quantile_values, found.mean)


BAD: dict[str, tuple[Callable[[], Intervention], str]] = {
    "no such feature": (lambda: Clamp(space("neurons"), [3, 320], 1.0), "feature 320 does not.*0 to 319"),
    "negative feature": (lambda: Scale(space("latents"), -1, 0), "feature -1 does not exist"),
    "no feature": (lambda: Scale(space("latents"), [], 0), "no feature is named"),
    "named twice": (lambda: Add(space("neurons"), [1, 2, 1], 0), "named twice"),
    "fractional": (lambda: Add(space("neurons"), torch.tensor([0.5]), 0), "float32 values.*give their ids"),
    "a mask": (lambda: Add(space("neurons"), torch.ones(320).bool(), 0), "bool values.*give their ids"),
    "mean of nothing": (lambda: Ablate(space("neurons"), 1, "mean"), "needs .*statistics.*mine mlp.2"),
    "no sample": (
        lambda: Ablate(space("neurons"), 1, "resample", statistics=other_statistics()),
        "hold no sample.*mine with token samples",
    ),
    "quantile of nothing": (
        lambda: Clamp(space("latents"), 1, AtQuantile(1)),
        "needs .*mine sae.resid",
    ),
    "other statistics": (
        lambda: Clamp(space("latents"), 1, AtQuantile(1), statistics=statistics("neurons")),
        "statistics are of mlp.2",
    ),
    "no such quantile": (
        lambda: Clamp(space("neurons"), 1, AtQuantile(1, 1e-7), statistics=statistics("neurons")),
        "the 0.9999999-quantile was not kept.*use one of 1e-05",
    ),
    "values that do not fit": (lambda: Clamp(space("neurons"), [1, 2], [1.0, 2.0, 3.0]), r"shape \(3,\)"),
    "values of another prompt": (
        lambda: Clamp(space("neurons"), [1], torch.ones(2, 4, 1)),
        r"\(2, 4\) positions do not fit prompts of shape \(2, 9\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_the_model_runs(case: str) -> None:
    refused_before_running(*BAD[case])
