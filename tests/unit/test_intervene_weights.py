"""Weight edits on the bundled model; tests/parity/test_intervene_architectures.py has the other ones."""

import pytest
import torch

from interp.errors import UserError
from interp.intervene import AddVector, ProjectOut, bias_added, orthogonalised
from interp.subject import Site
from tests.interventions import TOKENS, vector
from tests.subjects import BACKENDS, world_subject
from tests.unit.test_subject_hooks import hooks_left

on_both_backends = pytest.mark.parametrize("backend", BACKENDS)


@on_both_backends
def test_generation_from_edited_weights_is_that_under_the_hooks(backend: str) -> None:
    subject, vectors = world_subject(backend), vector(24, 128)
    tokens, mask = subject.to_batch(["the capital of france is", "the river"])
    plain, hooks = subject.generate_ids(tokens, mask, 6), hooks_left(subject)
    with orthogonalised(subject, vectors), bias_added(subject, Site("resid_post", 3), vector(128), 0.5):
        assert hooks_left(subject) == hooks
        edited = subject.generate_ids(tokens, mask, 6)
    push = AddVector(subject, Site("resid_post", 3), vector(128), 0.5)
    with subject.intervene(ProjectOut(subject, vectors), push):
        assert subject.generate_ids(tokens, mask, 6) == edited != plain
    assert subject.generate_ids(tokens, mask, 6) == plain


@on_both_backends
def test_weights_come_back_after_an_exception_and_from_nested_blocks(backend: str) -> None:
    subject, site = world_subject(backend), Site("mlp_out", 2)
    before = {name: weight.data_ptr() for name, weight in subject.model.named_parameters()}
    plain = subject.logits(TOKENS)
    edits = (orthogonalised(subject, vector(128)), bias_added(subject, site, vector(128)))
    with pytest.raises(ZeroDivisionError), edits[0], edits[1]:
        raise ZeroDivisionError
    with bias_added(subject, site, vector(128)):
        once = subject.logits(TOKENS)
        with bias_added(subject, site, vector(128)), orthogonalised(subject, vector(128)):
            pass
        assert torch.equal(subject.logits(TOKENS), once)
    assert torch.equal(subject.logits(TOKENS), plain)
    assert {name: weight.data_ptr() for name, weight in subject.model.named_parameters()} == before


@on_both_backends
def test_two_directions_one_after_the_other_are_not_in_the_weights(backend: str) -> None:
    subject, first, second = world_subject(backend), vector(128), vector(128, seed=1)
    with orthogonalised(subject, torch.stack([first, second])):
        both = subject.logits(TOKENS)
        for writer in subject.writers():
            weight = writer.weight if writer.axis == -1 else writer.weight.T
            assert float((weight @ torch.stack([first, second]).T).abs().max()) < 1e-4
    with subject.intervene(ProjectOut(subject, torch.stack([first, second]))):
        torch.testing.assert_close(subject.logits(TOKENS), both, atol=1e-4, rtol=1e-4)


@on_both_backends
@pytest.mark.parametrize("kind", ["resid_pre", "embed", "mlp_post", "head_out"])
def test_where_no_bias_adds_none_is_added(backend: str, kind: str) -> None:
    site = Site.parse(kind if kind == "embed" else f"{kind}.1")
    with (
        pytest.raises(UserError, match="no bias adds to"),
        bias_added(world_subject(backend), site, vector(128)),
    ):
        pass
    with (
        pytest.raises(UserError, match=r"\(64,\) is no bias"),
        bias_added(world_subject(backend), Site("mlp_out", 1), vector(64)),
    ):
        pass
