"""Splitting, absorption and hedging, where the truth was planted."""

import numpy as np
import pytest
import torch

from interp.compare.absorption import absorption
from interp.compare.hedging import associations, hedging, own_directions, signed_shares
from interp.compare.splitting import rank_latents, splitting


def split_latents(n: int, parts: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """20 latents; the concept's tokens are dealt out to the first `parts`, the others fire at random."""
    rng = np.random.default_rng(seed)
    label = rng.random(n) < 0.3
    latents = rng.random((n, 20)) * (rng.random((n, 20)) < 0.1)
    latents[:, :parts] = 0
    turn = rng.integers(parts, size=n)
    latents[np.arange(n)[label], turn[label]] = 1 + rng.random(int(label.sum()))
    return torch.tensor(latents).half(), torch.tensor(label)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_concept_that_was_dealt_out_is_found_split_over_as_many_latents(parts: int) -> None:
    explain, select, report = (split_latents(1500, parts, seed) for seed in range(3))
    assert set(rank_latents(explain, parts)) == set(range(parts))
    found = splitting(explain, select, report, np.arange(1500), most=6, draws=50)
    assert set(found.latents) == set(range(parts)) and found.n_splits == parts
    assert found.f1[parts - 1] > 0.98
    # one of p latents alone finds a p-th: F1 = 2 (1/p) / (1/p + 1); calling all positive gives 0.6 / 1.3
    assert found.f1[0] == pytest.approx(max(2 / (1 + parts), 0.6 / 1.3), abs=0.06)
    assert all(a <= b <= c for a, b, c in zip(found.low, found.f1, found.high, strict=True))


def brute(projection, latents, decoder, probe, main):
    """The definition, token by token."""
    unit = probe / probe.norm()
    full, fraction = [], []
    for t, row in zip(projection.tolist(), latents, strict=True):
        projected = [float(a) * float(d @ unit) for a, d in zip(row, decoder, strict=True)]
        cosine = [float(d @ unit / d.norm()) for d in decoder]
        top = max(range(len(projected)), key=lambda j: projected[j])
        silent = all(float(row[j]) <= 0 for j in main)
        full.append(silent and t > 0 and cosine[top] >= 0.025 and projected[top] >= 0.4 * t)
        able = sorted(
            (projected[j] for j in range(len(projected)) if j not in main and cosine[j] >= 0.1), reverse=True
        )
        absorbed = sum(max(0.0, p) for p in able[:3])
        own = sum(projected[j] for j in main)
        if t <= 0 or own >= t or absorbed < 0.4 * t:
            fraction.append(0.0)
        elif own <= 0:
            fraction.append(1.0)
        else:
            part = min(absorbed, t - own)
            fraction.append(part / (part + own))
    return full, fraction


def test_absorption_is_its_definition_token_by_token() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.rand(200, 12, generator=generator) * (torch.rand(200, 12, generator=generator) < 0.4)
    decoder = torch.randn(12, 5, generator=generator)
    probe = torch.randn(5, generator=generator)
    projection = torch.randn(200, generator=generator)
    found = absorption(projection, latents, decoder, probe, [1, 4])
    full, fraction = brute(projection, latents, decoder, probe, [1, 4])
    assert found.full.tolist() == full and 0 < sum(full) < 200
    np.testing.assert_allclose(found.fraction.numpy(), fraction, rtol=1e-4, atol=1e-5)
    assert len({round(f, 3) for f in fraction}) > 10


def test_planted_absorption_is_counted() -> None:
    # "starts with S": latent 0; on tokens of "snake" (a quarter) latent 1 says it, and latent 0 is silent
    starts, snake = torch.eye(4)[0], torch.eye(4)[1]
    decoder = torch.stack([starts, torch.nn.functional.normalize(starts + snake, dim=0)])
    is_snake = torch.arange(100) % 4 == 0
    latents = torch.stack([(~is_snake).float(), is_snake * 2**0.5], 1)
    projection = latents @ decoder @ starts
    found = absorption(projection, latents, decoder, starts, [0])
    assert torch.equal(found.full, is_snake)
    assert float(found.fraction.mean()) == pytest.approx(0.25)
    assert [found.absorbing[i] for i in range(4)] == [1, 0, 0, 0]
    none = absorption(projection, latents, decoder, starts, [0, 1])
    assert not none.full.any() and float(none.fraction.sum()) == 0


def concepts(n: int, together: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two concepts at right angles; the second has chance `together` beside the first, .2 without it."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < 0.3
    second = rng.random(n) < np.where(first, together, 0.2)
    labels = torch.tensor(np.stack([first, second], 1))
    directions = torch.eye(6)[:2]
    x = labels.float() @ directions + 0.05 * torch.tensor(rng.normal(size=(n, 6))).float()
    return x, labels, directions


def test_own_directions_are_the_planted_ones_where_the_difference_of_means_is_not() -> None:
    x, labels, directions = concepts(4000, 0.8, 0)
    own = torch.nn.functional.normalize(own_directions(x, labels), dim=1)
    torch.testing.assert_close(own, directions, atol=0.02, rtol=0)
    naive = x[labels[:, 0]].mean(0) - x[~labels[:, 0]].mean(0)
    assert float(naive[1]) > 0.5
    phi = associations(labels)
    np.testing.assert_allclose(phi[0, 1], np.corrcoef(labels.numpy().T)[0, 1], atol=1e-5)


@pytest.mark.parametrize(("mixed", "share"), [(0.0, 0.0), (1.0, 0.5), (0.5, 1 / 3), (-1.0, -0.5)])
def test_a_planted_mixture_has_its_share(mixed: float, share: float) -> None:
    own, other = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([[0.6, 0.8, 0.0]])
    decoder = 2 * (own + mixed * other[0]) + torch.tensor([0.0, 0.0, 5.0])
    assert float(signed_shares(decoder, own, other)) == pytest.approx(share, abs=1e-5)
    assert torch.isnan(signed_shares(decoder, own, own[None]))


def narrow_sae(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A dictionary of one ReLU latent, trained by reconstruction from the first direction on."""
    encoder, decoder = torch.eye(6)[0], torch.eye(6)[0]
    inner, outer = torch.zeros(1), x.mean(0) * (torch.arange(6) > 0)
    weights = [weight.clone().requires_grad_() for weight in (encoder, decoder, inner, outer)]
    encoder, decoder, inner, outer = weights
    optimiser = torch.optim.Adam(weights, lr=0.02)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.05, 400)
    for _ in range(400):
        latent = torch.relu((x - outer) @ encoder + inner)
        loss = ((latent[:, None] * decoder + outer - x) ** 2).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slower.step()
    return latent.detach(), decoder.detach()


def test_a_narrow_dictionary_hedges_with_correlated_concepts_and_not_with_independent_ones() -> None:
    found = {}
    for together in (0.8, 0.2, 0.0):
        x, labels, _ = concepts(4000, together, 1)
        latent, decoder = narrow_sae(x)
        own, phi = own_directions(x, labels), associations(labels)
        found[together] = hedging(latent, decoder, 0, [1], labels, own, phi)[0]
    merged, independent, apart = (found[together] for together in (0.8, 0.2, 0.0))
    assert merged.association > 0.5 and merged.share > 0.4 and merged.response > 0.9
    assert abs(independent.association) < 0.01 and abs(independent.share) < 0.01
    assert apart.association < -0.2 and apart.share < -0.2
    assert independent.response < 0.3
