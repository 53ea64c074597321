"""The promises of a feature space, for SAE latents of every architecture and input normalisation."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae_lens import SAE
from sae_lens.registry import get_sae_class

from interp.errors import UserError
from interp.features.space import FeatureSpace
from interp.subject import Site, Subject
from saes.latents import SaeLatents

ARCHITECTURES = ("standard", "topk", "jumprelu", "gated")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
WIDTH, LATENTS = 128, 200


def random_sae(
    architecture: str, normalisation: str = "none", rescale: bool = False, seed: int = 0, width: int = WIDTH
) -> SAE[Any]:
    sae_class, config_class = get_sae_class(architecture)
    extra: dict[str, Any] = (
        {"k": 7, "rescale_acts_by_decoder_norm": rescale} if architecture == "topk" else {}
    )
    sae = sae_class(config_class(d_in=width, d_sae=LATENTS, normalize_activations=normalisation, **extra))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return sae


def latents_of(subject: Subject, architecture: str, **options: Any) -> SaeLatents:
    return SaeLatents(random_sae(architecture, **options), Site("resid_post", 0), subject=subject)


@settings(max_examples=60)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    normalisation=st.sampled_from(NORMALISATIONS),
    rescale=st.booleans(),
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(5,), (2, 3), (1, 1), ()]),
    scale=st.floats(0.01, 30.0),
    n_chosen=st.integers(0, 6),
)
def test_writing_changes_what_it_says_and_nothing_else(
    subject: Subject,
    architecture: str,
    normalisation: str,
    rescale: bool,
    seed: int,
    shape: tuple[int, ...],
    scale: float,
    n_chosen: int,
) -> None:
    space = latents_of(subject, architecture, normalisation=normalisation, rescale=rescale, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    x = scale * torch.randn(*shape, WIDTH, generator=generator)
    chosen = torch.randperm(LATENTS, generator=generator)[:n_chosen]
    old = space.encode(x)
    assert torch.allclose(space.write(x, chosen, old[..., chosen]), x, atol=1e-5)

    values = torch.rand(*shape, n_chosen, generator=generator)
    new = old.index_copy(-1, chosen, values)
    before = space.sae.decode(space.sae.encode(x))
    space.sae.encode(x)  # the run-time normalisation of SAELens forgets its scale after each decode
    after = space.sae.decode(new)
    error_kept = after + (x - before)
    torch.testing.assert_close(
        space.write(x, chosen, values), error_kept, rtol=1e-4, atol=1e-4 * max(scale, 1)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_a_feature_space_and_reads_as_saelens_does(subject: Subject, architecture: str) -> None:
    space = latents_of(subject, architecture)
    x = torch.randn(4, 3, WIDTH)
    assert isinstance(space, FeatureSpace)
    assert (space.name, space.n_features, space.signed) == ("sae.resid_post.0", LATENTS, False)
    assert torch.equal(space.encode(x), random_sae(architecture).encode(x).detach())
    assert torch.equal(space.reconstruct(x), random_sae(architecture)(x).detach())


@pytest.mark.parametrize("rescale", [False, True])
def test_decoder_row_is_what_one_unit_adds(subject: Subject, rescale: bool) -> None:
    space = latents_of(subject, "topk", rescale=rescale)
    x, ids = torch.randn(2, WIDTH), torch.tensor([3, 11])
    raised = space.write(x, ids[:1], space.encode(x)[:, ids[:1]] + 1.0)
    torch.testing.assert_close(raised - x, space.decoder(ids)[:1].expand(2, -1), rtol=1e-4, atol=1e-5)


def test_decoder_at_an_mlp_goes_through_its_output_weight(subject: Subject) -> None:
    assert subject.d_mlp is not None
    sae = random_sae("standard", width=subject.d_mlp)
    space = SaeLatents(sae, Site("mlp_post", 1), subject=subject)
    ids = torch.tensor([0, 5])
    torch.testing.assert_close(
        space.decoder(ids), sae.W_dec[ids] @ subject.output_weight(Site("mlp_post", 1))
    )


def test_attention_heads_are_taken_apart_or_flat(subject: Subject) -> None:
    space = SaeLatents(random_sae("standard"), Site("head_out", 0), subject=subject)
    flat = torch.randn(2, 5, WIDTH)
    apart = flat.view(2, 5, subject.n_heads, subject.d_head)
    ids, values = torch.tensor([2]), torch.full((2, 5, 1), 1.5)
    assert torch.equal(space.encode(apart), space.encode(flat))
    assert space.write(apart, ids, values).shape == apart.shape
    assert torch.equal(space.write(apart, ids, values).flatten(2), space.write(flat, ids, values))
    site = Site("attn_out", 0)
    tokens = torch.tensor([[5, 6, 7]])
    with subject.edited({Site("head_out", 0): lambda a: space.write(a, ids, space.encode(a)[..., ids] + 1)}):
        raised = subject.read(tokens, [site])[site]
    added = raised - subject.read(tokens, [site])[site]
    assert torch.allclose(added, space.decoder(ids).expand_as(added), atol=1e-4)


def test_half_precision_activations_come_back_in_half_precision(subject: Subject) -> None:
    space = latents_of(subject, "topk")
    x = torch.randn(4, WIDTH).bfloat16()
    ids = torch.tensor([1, 2])
    assert space.encode(x).dtype == torch.float32
    assert torch.equal(space.write(x, ids, space.encode(x)[:, ids]), x)
    assert space.write(x, ids, torch.ones(4, 2)).dtype == torch.bfloat16


def test_gradients_flow_through_reading_and_writing(subject: Subject) -> None:
    space = latents_of(subject, "standard")
    x = torch.randn(3, WIDTH, requires_grad=True)
    ids = torch.tensor([0])
    space.write(x, ids, 2 * space.encode(x)[:, ids]).sum().backward()
    assert x.grad is not None and bool((x.grad != 0).any())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("rescale", [False, True])
def test_pulling_a_gradient_back_is_writing_each_latent_alone(
    subject: Subject, architecture: str, normalisation: str, rescale: bool
) -> None:
    space = latents_of(subject, architecture, normalisation=normalisation, rescale=rescale)
    x, gradient = 3 * torch.randn(2, 5, WIDTH), torch.randn(2, 5, WIDTH)
    found = space.pull_back(x, gradient)
    assert found.shape == (2, 5, LATENTS)
    for latent in (0, 11, LATENTS - 1):
        one = torch.tensor([latent])
        value = space.encode(x)[..., one].detach().requires_grad_()
        (space.write(x, one, value) * gradient).sum().backward()
        torch.testing.assert_close(found[..., one], value.grad, atol=1e-4, rtol=1e-4)


def test_a_gradient_at_heads_is_pulled_back_whole(subject: Subject) -> None:
    space = SaeLatents(random_sae("standard"), Site("head_out", 0), subject=subject)
    x, gradient = torch.randn(2, 5, WIDTH), torch.randn(2, 5, WIDTH)
    shape = (2, 5, subject.n_heads, subject.d_head)
    apart = space.pull_back(x.view(shape), gradient.view(shape))
    assert torch.equal(apart, space.pull_back(x, gradient))


def test_a_sae_of_another_width_is_refused(subject: Subject) -> None:
    with pytest.raises(UserError, match=r"width 96.*is 128 wide"):
        SaeLatents(random_sae("topk", width=96), Site("resid_post", 0), subject=subject)


def test_signed_latents_say_so_and_transcoders_are_refused(subject: Subject) -> None:
    assert latents_of(subject, "abstopk").signed
    sae_class, config_class = get_sae_class("transcoder")
    transcoder = sae_class(config_class(d_in=WIDTH, d_sae=LATENTS, d_out=WIDTH, apply_b_dec_to_input=False))
    with pytest.raises(UserError, match="transcoder"):
        SaeLatents(transcoder, Site("resid_post", 0), subject=subject)
