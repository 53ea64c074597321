"""The truthful space: a planted truth, the size of edits, files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from interp.errors import UserError
from interp.subject import Site, Subject
from interp.subject.forward import whole_pass
from interp.vectors.file import interventions_of
from interp.vectors.truthful import (
    TruthfulEdit,
    TruthfulSpace,
    TruthfulTraining,
    train_truthful_space,
)
from interp.vectors.truthful_file import load_edit, save_edit

Sides = Mapping[Site, Tensor]


def planted_space(n: int = 80, width: int = 128) -> tuple[Sides, Sides, Tensor]:
    """Content in ten directions, the same on both sides of a pair, and a side's sign in another one."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    direction, sides = basis[0], ({}, {})
    for scale, site in ((1.0, Site("mlp_out", 4)), (20.0, Site("mlp_out", 5))):
        content = torch.randn(n, 10, generator=generator) @ basis[1:11]
        for side, sign in zip(sides, (1, -1), strict=True):
            noise = 0.05 * torch.randn(n, width, generator=generator)
            side[site] = scale * (content + sign * direction + noise)
    return *sides, direction


@pytest.fixture(scope="module")
def space() -> TruthfulSpace:
    positive, negative, _ = planted_space()
    return train_truthful_space(positive, negative, TruthfulTraining(steps=400))


def test_a_planted_truth_is_told_apart_and_moved_along(space: TruthfulSpace) -> None:
    positive, negative, direction = planted_space()
    assert space.accuracy.min() > 0.9
    for site in space.sites:
        change = space.direction(negative[site], site)
        cosines = torch.nn.functional.cosine_similarity(change.mean(0), direction, dim=0)
        assert cosines > 0.9
        place = space.sites.index(site)
        x = (positive[site] - space.mean[place]) / space.scale[place]
        rebuilt = space.decode(space.semantic(x), space.truthful(x))
        assert float((rebuilt - x).square().sum() / (x - x.mean(0)).square().sum()) < 0.3


def test_activations_are_standardised_about_their_mean() -> None:
    positive, negative, _ = planted_space()
    offset = torch.linspace(-300, 300, 128)
    moved = [{site: x + offset for site, x in side.items()} for side in (positive, negative)]
    plain, far = (
        train_truthful_space(*sides, TruthfulTraining(steps=1)) for sides in ((positive, negative), moved)
    )
    torch.testing.assert_close(far.scale, plain.scale, atol=1e-4, rtol=1e-4)
    both = torch.cat([positive[plain.sites[0]], negative[plain.sites[0]]])
    assert float(plain.scale[0]) == pytest.approx(float(both.var(0, correction=0).mean().sqrt()), rel=0.02)


def test_sites_are_ranked_by_the_log_loss_that_torch_gives(space: TruthfulSpace) -> None:
    positive, negative, _ = planted_space()
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))[:16]  # what was held out
    losses = []
    for place, site in enumerate(space.sites):
        x = torch.cat([positive[site][order], negative[site][order]])
        latents = space.truthful((x - space.mean[place]) / space.scale[place])
        centres = torch.stack([space.positive[place], space.negative[place]])
        cosines = torch.nn.functional.cosine_similarity(latents[:, None], centres, dim=-1)
        side = torch.arange(32) // 16
        losses.append(float(torch.nn.functional.cross_entropy(cosines / 0.1, side)))
    assert space.log_loss.tolist() == pytest.approx(losses, rel=1e-3, abs=1e-6)
    assert space.ranked() == [space.sites[int(place)] for place in np.argsort(losses)]


def test_editing_moves_by_a_share_of_the_norm_and_back(space: TruthfulSpace, subject: Subject) -> None:
    _, negative, direction = planted_space()
    site, tokens = space.sites[1], torch.tensor([[0, 5, 6], [0, 7, 8]])
    x = negative[site][:6].view(2, 3, 128)
    forward = whole_pass(tokens, None)
    for strength, sign in ((0.5, 1), (-0.5, -1)):
        edit = TruthfulEdit(subject, space, strength, "all", sites=[site])
        moved = edit.apply(x, site, forward) - x
        torch.testing.assert_close(moved.norm(dim=-1), 0.5 * x.norm(dim=-1))
        assert ((moved @ direction) * sign > 0).all()
        alone = edit.apply(x[1:], site, whole_pass(tokens[1:], None))
        torch.testing.assert_close(alone, (x + moved)[1:])
    assert TruthfulEdit(subject, space, 0, "all", sites=[site]).apply(x, site, forward) is x
    last = TruthfulEdit(subject, space, 1, "last", sites=[site]).apply(x, site, forward)
    assert torch.equal(last[:, :-1], x[:, :-1]) and not torch.equal(last[:, -1], x[:, -1])
    null = [
        TruthfulEdit(subject, space, 1, "all", sites=[site], null_seed=s).apply(x, site, forward)
        for s in (0, 1)
    ]
    torch.testing.assert_close((null[0] - x).norm(dim=-1), x.norm(dim=-1))
    assert not torch.equal(null[0], null[1])


def test_the_same_seed_gives_the_same_space_and_leaves_the_random_state_alone(space: TruthfulSpace) -> None:
    positive, negative, _ = planted_space()
    state = torch.random.get_rng_state()
    again = train_truthful_space(positive, negative, TruthfulTraining(steps=400))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in space.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_an_edit_is_used_from_its_file(space: TruthfulSpace, subject: Subject, tmp_path: Path) -> None:
    direct = TruthfulEdit(subject, space, 0.5, "last", sites=[space.sites[0]])
    path = save_edit(tmp_path / "space.safetensors", direct, "world")
    tokens = subject.to_tokens("the capital of france is")
    with subject.intervene(direct):
        expected = subject.logits(tokens)
    with subject.intervene(*interventions_of(path, subject)):
        assert torch.equal(subject.logits(tokens), expected)
    with subject.intervene(*interventions_of(path, subject, -2, "all")):
        turned = subject.logits(tokens)
    opposite = TruthfulEdit(subject, space, -1, "all", sites=[space.sites[0]])
    with subject.intervene(opposite):
        assert torch.equal(subject.logits(tokens), turned)
    assert not torch.equal(turned, expected) and not torch.equal(subject.logits(tokens), expected)


def test_an_edit_of_another_model_is_refused_unless_asked_for(
    space: TruthfulSpace, subject: Subject, tmp_path: Path
) -> None:
    path = save_edit(tmp_path / "space.safetensors", TruthfulEdit(subject, space, 0.5, "last"), "other")
    for use in (load_edit, interventions_of):
        with pytest.raises(UserError, match="trained on other, not on world"):
            use(path, subject)
        assert use(path, subject, check_model=False)


def test_what_is_no_edit_cannot_be_kept_or_read(
    space: TruthfulSpace, subject: Subject, tmp_path: Path
) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "older", metadata={"format": "interp truthful space 1"})
    with pytest.raises(UserError, match="older version"):
        load_edit(tmp_path / "older", subject)
    for edit in (TruthfulEdit(subject, space, 1, [0]), TruthfulEdit(subject, space, null_seed=0)):
        with pytest.raises(UserError, match="the edit is a null"):
            save_edit(tmp_path / "space", edit, "world")


def test_what_a_space_cannot_be_trained_on_or_used_at_is_refused(
    space: TruthfulSpace, subject: Subject
) -> None:
    positive, negative, _ = planted_space(3)
    with pytest.raises(UserError, match="fewer than four"):
        train_truthful_space(positive, negative)
    positive, negative, _ = planted_space(8)
    first = next(iter(positive))
    with pytest.raises(UserError, match="differ"):
        train_truthful_space(positive, {first: negative[first]})
    positive[first][0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        train_truthful_space(positive, negative)
    with pytest.raises(UserError, match="does not fit"):
        TruthfulEdit(subject, space, sites=[Site("mlp_post", 4)])
