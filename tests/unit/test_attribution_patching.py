"""Patching between prompts, exactly and to first order."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from interp.attribution import Chosen, Target, activation_patching, attribution_patching
from interp.attribution.passes import laid_out, target_values
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.subject import Site, Subject
from saes.latents import SaeLatents
from tests.unit.linear_subject import linear_subject
from tests.unit.test_saes_latents import random_sae
from tests.unit.test_subject_hooks import hooks_left

CLEAN = ["the capital of france is", "the capital of england is the capital of england is"]
CORRUPTED = ["the capital of spain is", "the capital of france is the capital of france is"]


@pytest.fixture(scope="module")
def subject(each_backend: Subject) -> Subject:
    return each_backend


def patched_by_hand(
    subject: Subject, site: Site, column: int, target: Target, head: int | None, denoise: bool
) -> Tensor:
    """The effect of one patch, one prompt after the other, without anything of `interp.intervene`."""
    base_texts, source_texts = (CORRUPTED, CLEAN) if denoise else (CLEAN, CORRUPTED)
    effects = []
    for row, (base, source) in enumerate(zip(base_texts, source_texts, strict=True)):
        tokens, others = subject.to_tokens(base), subject.to_tokens(source)
        place = column + tokens.shape[1]  # counted from the end, padding is at the start
        if place < 0:
            effects.append(torch.tensor(0.0))
            continue
        put = subject.read(others, [site])[site]

        def edit(x: Tensor, put: Tensor = put, place: int = place) -> Tensor:
            x = x.clone()
            where = (slice(None), place) if head is None else (slice(None), place, head)
            x[where] = put[where]
            return x

        one = target.of_rows(torch.tensor([row]))
        before = target_values(subject, laid_out(subject, tokens), one)
        with subject.edited({site: edit}):
            effects.append((target_values(subject, laid_out(subject, tokens), one) - before)[0])
    return torch.stack(effects)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_each_patch_is_what_doing_it_by_hand_gives(subject: Subject, direction: str) -> None:
    target = Target.of(subject, ["paris", "london"], distractor=["madrid", "paris"])
    sites = [Site("resid_post", 3), Site("resid_mid", 1), Site("head_out", 4)]
    found = activation_patching(
        subject,
        CLEAN,
        CORRUPTED,
        target,
        sites=sites,
        direction=direction,
        rows_at_once=15,
    )
    n = subject.to_batch(CLEAN)[0].shape[1]
    assert found.sites[sites[0]].shape == (2, n)
    assert found.sites[sites[2]].shape == (2, 4, n)
    for site in sites:
        for column in (-1, -6, -n):
            for head in [0, 3] if site.kind == "head_out" else [None]:
                expected = patched_by_hand(subject, site, column, target, head, direction == "denoise")
                effect = found.sites[site][:, column] if head is None else found.sites[site][:, head, column]
                torch.testing.assert_close(effect, expected, atol=2e-4, rtol=1e-3)
    assert float(found.sites[sites[0]].abs().max()) > 1
    padded = subject.to_batch(CLEAN)[1] == 0
    assert padded.any() and not found.sites[sites[0]][padded].any()
    clean = target_values(subject, laid_out(subject, CLEAN), target)
    expected = found.source_value if direction == "denoise" else found.base_value
    torch.testing.assert_close(expected, clean)


def test_asked_positions_are_the_columns_of_all(subject: Subject) -> None:
    target, site = Target.of(subject, "paris"), Site("head_out", 4)
    everything = activation_patching(subject, CLEAN, CORRUPTED, target, sites=[site]).sites[site]
    some = activation_patching(subject, CLEAN, CORRUPTED, target, sites=[site], positions=[-1, 4]).sites[site]
    assert some.shape == (2, 4, 2)
    torch.testing.assert_close(some[..., 0], everything[..., -1], atol=1e-4, rtol=1e-3)
    start = [len(row) - int(row.sum()) for row in subject.to_batch(CLEAN)[1]]
    for row in (0, 1):
        torch.testing.assert_close(some[row, :, 1], everything[row, :, start[row] + 4], atol=1e-4, rtol=1e-3)


def test_all_of_the_stream_restores_everything(subject: Subject) -> None:
    """The first layer's input at the one position where the prompts differ is the whole difference."""
    target, site = Target.of(subject, "paris", distractor="madrid"), Site("resid_pre", 0)
    found = activation_patching(subject, CLEAN[0], CORRUPTED[0], target, sites=[site])
    torch.testing.assert_close(
        found.sites[site][0, 4], (found.source_value - found.base_value)[0], atol=1e-4, rtol=1e-4
    )
    assert not found.sites[site][0, [0, 1, 2, 3, 5]].abs().gt(1e-4).any()


def test_features_are_patched_by_their_values(subject: Subject) -> None:
    target = Target.of(subject, "paris", distractor="madrid")
    site = Site("resid_post", 3)
    neurons = MlpNeurons(subject, 3)
    latents = SaeLatents(random_sae("standard"), site, subject=subject)
    chosen = [Chosen(neurons, 27, 4), Chosen(latents, 5), Chosen(latents, 9, -2)]
    found = activation_patching(subject, CLEAN[0], CORRUPTED[0], target, chosen=chosen)
    base, source = subject.to_tokens(CORRUPTED[0]), subject.to_tokens(CLEAN[0])
    before = target_values(subject, laid_out(subject, base), target)
    for one, effect in zip(chosen, found.chosen, strict=True):
        ids, where = torch.tensor([one.feature_id]), one.space.site
        read = one.space.encode(subject.read(source, [where])[where])[..., ids]

        def edit(x: Tensor, one: Chosen = one, ids: Tensor = ids, read: Tensor = read) -> Tensor:
            written = one.space.write(x, ids, read)
            if one.position is None:
                return written
            x = x.clone()
            x[:, one.position] = written[:, one.position]
            return x

        with subject.edited({where: edit}):
            expected = target_values(subject, laid_out(subject, base), target) - before
        torch.testing.assert_close(effect, expected, atol=1e-4, rtol=1e-3)
    assert float(found.chosen.abs().max()) > 0.01


def test_where_the_model_is_linear_the_estimate_is_the_effect() -> None:
    linear = linear_subject()
    target = Target.of(linear, ["paris", "london"], distractor="rome")
    sites = [Site("resid_post", 7), Site("resid_post", 2), Site("mlp_post", 4)]
    neurons, directions = MlpNeurons(linear, 4), random_directions(linear, sites[1], 5, seed=3)
    chosen = [Chosen(neurons, 8, -1), Chosen(directions, 2, 4), Chosen(directions, 3)]
    for direction in ("denoise", "noise"):
        exact = activation_patching(
            linear, CLEAN, CORRUPTED, target, sites=sites, chosen=chosen, direction=direction
        )
        estimate = attribution_patching(
            linear, CLEAN, CORRUPTED, target, sites=sites, spaces=[neurons, directions], direction=direction
        )
        for site in sites:
            assert float(exact.sites[site].abs().max()) > 1e-2
            torch.testing.assert_close(estimate.sites[site], exact.sites[site], atol=1e-4, rtol=1e-3)
        by_neuron, by_direction = estimate.spaces["mlp.4"], estimate.spaces[directions.name]
        start = linear.to_batch(CLEAN)[1].argmax(1)
        expected = torch.stack(
            [by_neuron[:, -1, 8], by_direction[[0, 1], start + 4, 2], by_direction[..., 3].sum(1)]
        )
        torch.testing.assert_close(expected, exact.chosen, atol=1e-4, rtol=1e-3)


def test_on_the_world_the_estimate_ranks_heads_as_the_effect_does(subject: Subject) -> None:
    target = Target.of(subject, "paris", distractor="madrid")
    sites = [Site("head_out", layer) for layer in range(subject.n_layers)]
    exact = activation_patching(subject, CLEAN[0], CORRUPTED[0], target, sites=sites, positions=[4, 5])
    estimate = attribution_patching(subject, CLEAN[0], CORRUPTED[0], target, sites=sites)
    first = np.concatenate([exact.sites[site][0].flatten().numpy() for site in sites])
    second = np.concatenate([estimate.sites[site][0][:, [4, 5]].flatten().numpy() for site in sites])
    assert spearmanr(first, second).statistic > 0.8
    large = np.abs(first) > 0.1 * np.abs(first).max()
    assert (np.sign(first[large]) == np.sign(second[large])).all()


def test_an_estimate_for_a_batch_is_that_of_its_pairs(subject: Subject) -> None:
    target = Target.of(subject, ["paris", "london"])
    sites, neurons = [Site("head_out", 2), Site("resid_pre", 3)], MlpNeurons(subject, 5)
    together = attribution_patching(subject, CLEAN, CORRUPTED, target, sites=sites, spaces=[neurons])
    for row in (0, 1):
        alone = attribution_patching(
            subject,
            CLEAN[row],
            CORRUPTED[row],
            target.of_rows(torch.tensor([row])),
            sites=sites,
            spaces=[neurons],
        )
        for site in sites:
            n = alone.sites[site].shape[-1]
            torch.testing.assert_close(
                together.sites[site][row, ..., -n:], alone.sites[site][0], atol=1e-4, rtol=1e-3
            )
            assert not together.sites[site][row, ..., :-n].any()
        torch.testing.assert_close(
            together.spaces["mlp.5"][row, -n:], alone.spaces["mlp.5"][0], atol=1e-4, rtol=1e-3
        )


def test_bad_pairs_are_refused_before_the_model_runs(subject: Subject) -> None:
    target = Target.of(subject, "paris")
    neurons = MlpNeurons(subject, 1)
    ran: list[str] = []
    with subject.edited({Site("embed"): lambda x: ran.append("ran") or x}):
        for patch in (activation_patching, attribution_patching):
            with pytest.raises(
                UserError, match=r"clean prompt has 6 tokens, the corrupted one 7: <bos>\|the"
            ):
                patch(subject, CLEAN[0], "the capital of france is the", target)
            with pytest.raises(UserError, match="2 clean and 1 corrupted"):
                patch(subject, CLEAN, CORRUPTED[0], target)
            with pytest.raises(UserError, match="layer 9"):
                patch(subject, CLEAN, CORRUPTED, target, sites=[Site("resid_post", 9)])
        with pytest.raises(UserError, match="feature 320"):
            activation_patching(subject, CLEAN, CORRUPTED, target, chosen=[Chosen(neurons, 320)])
        with pytest.raises(UserError, match="position 6"):
            activation_patching(subject, CLEAN, CORRUPTED, target, chosen=[Chosen(neurons, 3, 6)])
        with pytest.raises(UserError, match="position 6"):
            activation_patching(subject, CLEAN, CORRUPTED, target, positions=[0, 6])
    assert not ran


def test_no_hook_is_left(subject: Subject) -> None:
    target, before = Target.of(subject, "paris"), hooks_left(subject)
    runs = 0

    def broken(x: Tensor) -> Tensor:
        nonlocal runs
        runs += 1
        if runs % 2 == 0:
            raise ZeroDivisionError
        return x

    with subject.edited({Site("mlp_out", 6): broken}):
        hooks = hooks_left(subject)
        for patch in (activation_patching, attribution_patching):
            with pytest.raises(ZeroDivisionError):
                patch(subject, CLEAN, CORRUPTED, target, sites=[Site("resid_mid", 2)])
            assert hooks_left(subject) == hooks
    assert hooks_left(subject) == before
