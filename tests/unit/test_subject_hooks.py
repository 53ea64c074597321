"""Reading, editing and generating on the bundled model, on both backends."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.subject import SITE_KINDS, Site, Subject
from tests.subjects import world_subject
from tests.unit.linear_subject import linear_subject

TOKENS = torch.randint(1, 1041, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["hooked", "bridge"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return world_subject(request.param)


def hooks_left(subject: Subject) -> int:
    return sum(len(point.fwd_hooks) + len(point._forward_hooks) for point in subject.model.hook_dict.values())


def test_visit_stops_after_the_last_site(subject: Subject) -> None:
    ran: list[str] = []
    with subject.edited({Site("resid_post", 4): lambda a: ran.append("later") or a}):  # type: ignore[func-returns-value]
        subject.visit(TOKENS, {Site("mlp_post", 4): lambda a: None, Site("embed"): lambda a: None})
        assert not ran
        subject.visit(TOKENS, {Site("resid_pre", 5): lambda a: None})
        assert ran == ["later"]


def test_visit_reaches_every_site_in_one_pass(subject: Subject) -> None:
    sites = [Site(kind, layer) for layer in range(8) for kind in SITE_KINDS if kind != "embed" or not layer]
    found = subject.read(TOKENS, sites[::-1])
    assert set(found) == set(sites)
    assert all(torch.isfinite(activation).all() for activation in found.values())


def test_a_hook_point_that_is_never_called_is_no_silence() -> None:
    subject = linear_subject()
    dead = Site("attn_out", 0)
    subject._backend.points[str(dead)] = HookPoint()  # type: ignore[attr-defined]
    subject.logits(TOKENS)
    with (
        subject.edited({dead: lambda a: a * 0}),
        pytest.raises(UserError, match=r"never reached attn_out\.0"),
    ):
        subject.logits(TOKENS)
    with pytest.raises(UserError, match=r"never reached attn_out\.0"):
        subject.read(TOKENS, [dead])
    subject.logits(TOKENS)


def test_what_was_read_is_a_copy_of_ones_own(subject: Subject) -> None:
    site = Site("resid_post", 2)
    first = subject.read(TOKENS, [site])[site]
    kept = first.clone()
    with subject.edited({site: lambda a: a * 0}):
        assert not subject.read(TOKENS, [site])[site].any()
    assert torch.equal(first, kept)


def test_the_residual_stream_is_the_sum_of_its_parts(subject: Subject) -> None:
    kinds = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post", "mlp_post")
    pre, attn, mid, mlp, post, neurons = subject.read(TOKENS, [Site(kind, 3) for kind in kinds]).values()
    torch.testing.assert_close(mid, pre + attn, atol=1e-5, rtol=0)
    torch.testing.assert_close(post, mid + mlp, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        neurons @ subject.output_weight(Site("mlp_post", 3)), mlp, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", SITE_KINDS)
def test_edits_end_with_the_block_even_after_an_exception(subject: Subject, kind: Any) -> None:
    before, hooks = subject.logits(TOKENS), hooks_left(subject)
    site = Site(kind, 0)
    with pytest.raises(ZeroDivisionError), subject.edited({site: lambda a: a + 1}):
        assert not torch.allclose(subject.logits(TOKENS), before)
        raise ZeroDivisionError
    assert torch.equal(subject.logits(TOKENS), before)

    def broken(activation: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), subject.edited({site: broken}):
        subject.logits(TOKENS)
    assert torch.equal(subject.logits(TOKENS), before)
    assert hooks_left(subject) == hooks


def test_edits_nest_and_the_outer_one_acts_first(subject: Subject) -> None:
    site = Site("resid_mid", 1)
    plain = subject.read(TOKENS, [site])[site]
    with subject.edited({site: lambda a: a + 1}), subject.edited({site: lambda a: a * 2}):
        torch.testing.assert_close(subject.read(TOKENS, [site])[site], (plain + 1) * 2)
    # two edits of the residual stream both reach what follows the layer
    after = Site("resid_pre", 2)
    expected = subject.read(TOKENS, [after, Site("mlp_out", 1)])
    shift = torch.zeros(128)
    shift[0] = 1.0
    with subject.edited({site: lambda a: a + shift}), subject.edited({site: lambda a: a + shift}):
        found = subject.read(TOKENS, [after, Site("mlp_out", 1)])
    moved = (found[after] - found[Site("mlp_out", 1)]) - (expected[after] - expected[Site("mlp_out", 1)])
    torch.testing.assert_close(moved, (2 * shift).expand_as(moved), atol=1e-4, rtol=0)


def test_a_gradient_flows_to_what_an_edit_brings_in(subject: Subject) -> None:
    push = torch.zeros(128, requires_grad=True)
    assert not subject.logits(TOKENS).requires_grad
    with subject.edited({Site("resid_post", 3): lambda a: a + push}):
        subject.logits(TOKENS)[..., 7].sum().backward()
    assert push.grad is not None
    assert float(push.grad.abs().max()) > 0


def test_run_reads_feature_spaces(subject: Subject) -> None:
    out = subject.run("the capital of france is", read=[MlpNeurons(subject, 3), MlpNeurons(subject, 5)])
    assert subject.token_strings(out.tokens[0]) == ["<bos>", "the", "capital", "of", "france", "is"]
    assert set(out.features) == {"mlp.3", "mlp.5"}
    site = Site("mlp_post", 5)
    torch.testing.assert_close(out.features["mlp.5"], subject.read(out.tokens, [site])[site])
    torch.testing.assert_close(out.logits, subject.logits(out.tokens))


def test_generation_knows_a_fact_and_its_seed(subject: Subject) -> None:
    assert subject.generate("the capital of france is", max_new_tokens=1) == "paris"
    warm = [subject.generate("the", max_new_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]


def test_more_tokens_than_the_context_are_refused(subject: Subject) -> None:
    with pytest.raises(UserError, match="context of 256"):
        subject.logits(torch.ones(1, 257, dtype=torch.long))
    with pytest.raises(UserError, match="at most 250"):
        subject.generate("the capital of france is", max_new_tokens=251)


@pytest.mark.parametrize("token", [-1, 1041])
def test_a_token_outside_the_vocabulary_is_refused(subject: Subject, token: int) -> None:
    with pytest.raises(UserError, match="0 to 1040"):
        subject.logits(torch.tensor([[0, token]]))
