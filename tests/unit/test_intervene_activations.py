"""Adding vectors, replacing activations, projecting directions out; and subjects of other float types."""

import pytest
import torch
from torch import Tensor

import interp
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.intervene import Add, AddVector, Clamp, ProjectOut, Replace, Scale, writing_sites
from interp.intervene.edit import with_norm_of
from interp.subject import SITE_KINDS, Site
from interp.subject.forward import Intervention
from interp.subject.generation import continuations, next_tokens
from saes.latents import SaeLatents
from tests.interventions import BEHIND, TOKENS, refused_before_running, vector
from tests.subjects import BACKENDS, world_subject
from tests.unit.test_saes_latents import random_sae
from tests.unit.test_subject_hooks import hooks_left

on_both_backends = pytest.mark.parametrize("backend", BACKENDS)


@on_both_backends
@pytest.mark.parametrize("kind", SITE_KINDS)
def test_vectors_and_replacements_act_at_every_site(backend: str, kind: str) -> None:
    subject, site = world_subject(backend), Site.parse(kind if kind == "embed" else f"{kind}.1")
    plain = subject.read(TOKENS, [site])[site]
    push, whole = vector(*plain.shape[2:]), vector(*plain.shape, seed=1)
    first = torch.arange(9) < 4
    with subject.intervene(AddVector(subject, site, push, -3, range(4))):
        found = subject.read(TOKENS, [site])[site]
    torch.testing.assert_close(found[:, first], plain[:, first] - 3 * push)
    assert torch.equal(found[:, ~first], plain[:, ~first])
    for given, expected in ((push, push.expand_as(plain)), (whole, whole)):
        with subject.intervene(Replace(subject, site, given, range(4))):
            found = subject.read(TOKENS, [site])[site]
        assert torch.equal(found[:, first], expected[:, first])
        assert torch.equal(found[:, ~first], plain[:, ~first])
    with subject.intervene(AddVector(subject, site, whole, preserve_norm=True)):
        found = subject.read(TOKENS, [site])[site]
    torch.testing.assert_close(found.norm(dim=-1), plain.norm(dim=-1))
    torch.testing.assert_close(
        torch.cosine_similarity(found, plain + whole, -1), torch.ones(plain.shape[:-1])
    )


@on_both_backends
def test_nothing_changes_to_the_bit_where_nothing_is_asked(backend: str) -> None:
    subject = world_subject(backend)
    plain, own = subject.logits(TOKENS), subject.read(TOKENS, [BEHIND])[BEHIND]
    push = vector(128)
    idle: list[Intervention] = [
        AddVector(subject, BEHIND, push, 0),
        AddVector(subject, BEHIND, torch.zeros(128), preserve_norm=True),
        AddVector(subject, BEHIND, push, positions=[]),
        Replace(subject, BEHIND, own),
        ProjectOut(subject, push, positions="generated"),
    ]
    for intervention in idle:
        with subject.intervene(intervention):
            assert torch.equal(subject.logits(TOKENS), plain), intervention


def test_a_norm_is_kept_and_zero_stays_zero() -> None:
    old = torch.tensor([[30.0, 40.0], [0.0, 0.0], [300.0, 400.0]])
    moved = torch.tensor([[0.0, 1e-6], [1.0, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(with_norm_of(old, moved), torch.tensor([[0.0, 50.0], [0.0, 0.0], [0.0, 0.0]]))


@on_both_backends
def test_a_patch_carries_what_another_text_has_there(backend: str) -> None:
    subject = world_subject(backend)
    last = Site("resid_post", 7)
    source, target = TOKENS[:1], TOKENS[1:]
    patch = Replace(subject, last, subject.read(source, [last])[last][0, -1], -1)
    with subject.intervene(patch):
        found = subject.logits(target)
    torch.testing.assert_close(found[:, -1], subject.logits(source)[:, -1])
    assert torch.equal(found[:, :-1], subject.logits(target)[:, :-1])


@on_both_backends
def test_what_is_projected_out_is_nowhere_in_the_stream(backend: str) -> None:
    subject = world_subject(backend)
    vectors = torch.cat([vector(3, 128), vector(3, 128).sum(0, keepdim=True)])
    kinds = ("resid_pre", "attn_out", "mlp_out", "resid_mid", "resid_post")
    sites = [Site(kind, layer) for kind in kinds for layer in (0, 3, 7)]
    intervention = ProjectOut(subject, vectors)
    assert intervention.sites == writing_sites(subject)
    assert len(intervention.basis) == 3, "the fourth lies between the others"
    with subject.intervene(intervention):
        found = subject.read(TOKENS, sites)
        changed = subject.logits(TOKENS)
    for site, activation in found.items():
        torch.testing.assert_close(
            activation @ vectors.T, torch.zeros(2, 9, 4), atol=1e-3, rtol=0, msg=str(site)
        )
    assert float((changed - subject.logits(TOKENS)).abs().max()) > 0.5


@on_both_backends
def test_a_centre_keeps_the_mean(backend: str) -> None:
    subject, direction = world_subject(backend), vector(128)
    plain = subject.read(TOKENS, [BEHIND])[BEHIND]
    centre = plain.mean((0, 1))
    with subject.intervene(ProjectOut(subject, direction, [BEHIND], centre=centre)):
        found = subject.read(TOKENS, [BEHIND])[BEHIND]
    unit = direction / direction.norm()
    torch.testing.assert_close(found @ unit, (centre @ unit).expand(2, 9), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        found - plain, ((centre - plain) @ unit)[..., None] * unit, atol=1e-4, rtol=1e-4
    )


@on_both_backends
def test_a_gradient_flows_to_the_vector_and_to_what_came_before(backend: str) -> None:
    subject = world_subject(backend)
    push, replacement = vector(128).requires_grad_(), vector(128).requires_grad_()
    edits = [
        AddVector(subject, BEHIND, push, 0.5, "last"),
        AddVector(subject, Site("attn_out", 4), push, preserve_norm=True),
        Replace(subject, Site("resid_mid", 5), replacement, [0, 1]),
        ProjectOut(subject, vector(2, 128)),
    ]
    before = torch.zeros(128, requires_grad=True)
    with subject.edited({Site("embed"): lambda x: x + before}), subject.intervene(*edits):
        subject.logits(TOKENS)[..., 7].sum().backward()
    for name, tensor in (("vector", push), ("replacement", replacement), ("before", before)):
        assert tensor.grad is not None
        assert float(tensor.grad.abs().max()) > 0, name
    # the same by hand
    again = vector(128).requires_grad_()
    with subject.edited({BEHIND: lambda x: x + 0.5 * again}):
        subject.logits(TOKENS)[..., 7].sum().backward()
    alone = vector(128).requires_grad_()
    with subject.intervene(AddVector(subject, BEHIND, alone, 0.5)):
        subject.logits(TOKENS)[..., 7].sum().backward()
    torch.testing.assert_close(alone.grad, again.grad)


@on_both_backends
def test_one_object_used_twice_acts_twice_and_leaves_nothing(backend: str) -> None:
    subject = world_subject(backend)
    hooks, plain = hooks_left(subject), subject.logits(TOKENS)
    push = AddVector(subject, BEHIND, vector(128))
    with subject.intervene(AddVector(subject, BEHIND, vector(128), 2)):
        double = subject.logits(TOKENS)
    with subject.intervene(push, push):
        torch.testing.assert_close(subject.logits(TOKENS), double, atol=1e-4, rtol=1e-4)
        with subject.intervene(push):
            pass
        torch.testing.assert_close(subject.logits(TOKENS), double, atol=1e-4, rtol=1e-4)
    assert torch.equal(subject.logits(TOKENS), plain)
    assert hooks_left(subject) == hooks


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@on_both_backends
def test_subjects_of_every_float_type(backend: str, dtype: str) -> None:
    subject = interp.load("world", backend, device="cpu", dtype=dtype)
    plain = subject.logits(TOKENS)
    spaces = [
        interp.MlpNeurons(subject, 2),
        random_directions(subject, BEHIND, 5, seed=0),
        SaeLatents(random_sae("standard"), BEHIND, subject=subject),
    ]
    edits: list[Intervention] = [
        AddVector(subject, BEHIND, vector(128), preserve_norm=True),
        Replace(subject, Site("head_out", 1), vector(subject.n_heads, subject.d_head)),
        ProjectOut(subject, vector(2, 128)),
    ]
    for space in spaces:
        edits += [
            Clamp(space, [1, 2], 20.1),
            Scale(space, range(5), -8),
            Add(space, 3, 30, preserve_norm=True),
        ]
    for edit in edits:
        with subject.intervene(edit):
            changed = subject.logits(TOKENS)
            rows = subject.generate_ids(TOKENS, torch.ones_like(TOKENS), 2)
        assert changed.dtype == plain.dtype and bool(changed.isfinite().all()), edit
        assert not torch.equal(changed, plain), edit
        assert len(rows) == 2


BAD = {
    "vector of another width": (
        lambda: AddVector(world_subject(), BEHIND, vector(64)),
        r"\(64,\) do not fit.*\(128,\)",
    ),
    "heads flattened": (
        lambda: Replace(world_subject(), Site("head_out", 1), vector(128)),
        r"\(128,\) do not fit",
    ),
    "no such layer": (
        lambda: AddVector(world_subject(), Site("resid_post", 8), vector(128)),
        "layer 8",
    ),
    "another prompt": (
        lambda: Replace(world_subject(), BEHIND, vector(1, 9, 128)),
        r"\(1, 9\) positions do not fit prompts of shape \(2, 9\)",
    ),
    "outside the stream": (
        lambda: ProjectOut(world_subject(), vector(128), [Site("mlp_post", 1)]),
        "not in the residual",
    ),
    "directions of another width": (
        lambda: ProjectOut(world_subject(), vector(2, 64)),
        r"\(2, 64\) do not fit",
    ),
    "a direction that is zero": (
        lambda: ProjectOut(world_subject(), torch.zeros(2, 128)),
        "zero or not finite",
    ),
    "a direction that is none": (
        lambda: ProjectOut(world_subject(), torch.full((128,), torch.nan)),
        "not finite",
    ),
    "one centre, many sites": (
        lambda: ProjectOut(world_subject(), vector(128), centre=vector(128)),
        "17 sites",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_the_model_runs(case: str) -> None:
    refused_before_running(*BAD[case])


def test_rows_end_at_the_end_of_text_each_for_itself() -> None:
    script = torch.tensor([[5, 1, 7, 7], [2, 3, 4, 1], [1, 9, 9, 9]])  # 1 ends a text
    masks: list[Tensor] = []

    def step(tokens: Tensor, mask: Tensor) -> Tensor:
        masks.append(mask)
        return torch.nn.functional.one_hot(script[:, tokens.shape[1] - 2], 10).float()

    prompt, real = torch.zeros(3, 2, dtype=torch.long), torch.ones(3, 2, dtype=torch.long)

    def written(max_new_tokens: int, *end_ids: int) -> list[list[int]]:
        ends = frozenset(end_ids)
        steps = next_tokens(step, torch.nn.Identity(), 10, prompt, real, max_new_tokens, 0.0, 0, ends)
        rows = continuations(steps, 3, ends)
        assert all(len(row.ids) == len(row.log_probs) for row in rows)
        return [row.ids for row in rows]

    assert written(9, 1) == [[5], [2, 3, 4], []]
    assert [mask.shape[1] for mask in masks] == [2, 3, 4, 5]  # and stops when all have ended
    assert written(4) == script.tolist()
    assert written(0, 1) == [[], [], []]


def test_samples_follow_the_distribution() -> None:
    logits = torch.tensor([0.1, 0.6, 0.3]).log()
    prompt = torch.zeros(4000, 1, dtype=torch.long)

    def step(tokens: Tensor, mask: Tensor) -> Tensor:
        return logits.expand(4000, 3)

    steps = next_tokens(step, torch.nn.Identity(), 3, prompt, prompt + 1, 1, 1.0, 7, frozenset())
    drawn = continuations(steps, 4000, frozenset())
    shares = torch.tensor([row.ids for row in drawn]).flatten().bincount(minlength=3) / 4000
    torch.testing.assert_close(shares, logits.exp(), atol=0.03, rtol=0)


def test_values_of_a_prompt_cannot_be_written_behind_it() -> None:
    subject = world_subject()
    with pytest.raises(UserError, match="generated"):
        Replace(subject, BEHIND, torch.zeros(*TOKENS.shape, 128), "generated")
    Replace(subject, BEHIND, torch.zeros(128), "generated")
