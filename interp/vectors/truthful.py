"""Editing in a learned space that separates whether something is true from what it is about.

Re-derived from Zhang et al. 2024, "TruthX" (arXiv 2402.17811): one autoencoder over the outputs of attention
and MLPs, with a truthful and a semantic latent. Differences from the paper are noted where they occur.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, mse_loss, normalize, softplus

from interp.errors import UserError
from interp.intervene.edit import at_positions, with_norm_of
from interp.intervene.positions import Positions, check_positions, chosen
from interp.subject.forward import ForwardPass
from interp.subject.site import Site
from interp.subject.subject import Subject

Sides = Mapping[Site, Float[Tensor, "pair width"]]
HELD_OUT = 0.2  # share of the pairs, to rank sites on
Number = float | int


@dataclass(frozen=True)
class TruthfulTraining:
    """Options of the training.

    `latent` is the width of each latent (half the activations' width if 0), `temperature` that of the
    contrastive losses; the weights of the other losses are relative to the reconstruction loss.
    """

    steps: int = 300
    pairs_per_step: int = 32
    learning_rate: float = 3e-3
    latent: int = 0
    temperature: float = 0.1
    contrastive: float = 0.1
    edit: float = 1.0
    seed: int = 0


class TruthfulSpace(nn.Module):
    """Two encoders and a decoder, shared by all sites, and each site's centres in the truthful space.

    Activations are standardised site by site: the mean is subtracted, and the rest scaled to variance 1 over
    all dimensions together. `log_loss` (nats) and `accuracy` [site] say how well held-out activations are
    told apart. The decoder sees only a token's own two latents, so nothing depends on the rest of a batch
    (the authors' code attends over the tokens of the batch).
    """

    def __init__(self, sites: Sequence[Site], width: int, latent: int) -> None:
        super().__init__()
        self.sites = tuple(sites)
        self.semantic = _encoder(width, latent)
        self.truth = _encoder(width, latent)
        self.decoder = nn.Sequential(
            nn.Linear(2 * latent, width), nn.LayerNorm(width), nn.LeakyReLU(), nn.Linear(width, width)
        )
        self.mean, self.scale, self.positive, self.negative = (
            nn.Buffer(torch.zeros(len(sites), size)) for size in (width, 1, latent, latent)
        )
        self.log_loss, self.accuracy = (nn.Buffer(torch.zeros(len(sites))) for _ in range(2))

    def truthful(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch latent"]:
        """The truthful latent of standardised activations, at length 1."""
        return normalize(self.truth(x), dim=-1)

    def decode(
        self, semantic: Float[Tensor, "*batch latent"], truthful: Float[Tensor, "*batch latent"]
    ) -> Float[Tensor, "*batch width"]:
        """Decodes both latents to standardised activations."""
        decoded: Tensor = self.decoder(torch.cat([semantic, truthful], -1))
        return decoded

    def direction(
        self, activation: Float[Tensor, "*batch width"], site: Site
    ) -> Float[Tensor, "*batch width"]:
        """The direction in which an activation becomes truthful, not normalised.

        decode(s, t + d) - decode(s, t - d), with s and t its latents and d the difference of the site's
        centres; t is renormalised after each step, and the standardisation undone.
        """
        place = self.sites.index(site)
        x = (activation - self.mean[place]) / self.scale[place]
        semantic, truthful = self.semantic(x), self.truthful(x)
        step = self.positive[place] - self.negative[place]
        there, back = (self.decode(semantic, normalize(truthful + sign * step, dim=-1)) for sign in (1, -1))
        return (there - back) * self.scale[place]

    def ranked(self) -> list[Site]:
        """The sites by the log-loss with which held-out activations are told apart, the least first."""
        order = self.log_loss.argsort(stable=True).tolist()
        return [self.sites[place] for place in order]


def train_truthful_space(
    positive: Sides, negative: Sides, options: TruthfulTraining | None = None
) -> TruthfulSpace:
    """Trains the space on pairs: the same content, once with the behaviour and once without.

    Losses: reconstruction; latents of one side near each other and far from the other side's (truthful), of
    one pair near each other and far from other pairs' (semantic), both as cross-entropies of cosines; and
    reconstruction of each side from its partner's semantic and its own truthful latent (edit). Global random
    state is not changed.

    Raises:
        UserError: fewer than four pairs, sides that do not fit each other, sites of different widths, or
            activations that are not finite.
    """
    options = TruthfulTraining() if options is None else options
    pairs = _checked(positive, negative)
    n_sites, _, n_pairs, width = pairs.shape
    generator = torch.Generator().manual_seed(options.seed)
    order = torch.randperm(n_pairs, generator=generator)
    held = max(1, round(HELD_OUT * n_pairs))
    seen, unseen = order[held:], order[:held]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        space = TruthfulSpace(list(positive), width, options.latent or max(2, width // 2))
    flat = pairs[:, :, seen].flatten(1, 2)
    space.mean.copy_(flat.mean(1))
    space.scale.copy_((flat - space.mean[:, None]).square().mean((1, 2)).sqrt()[:, None].clamp(min=1e-6))
    x = (pairs - space.mean[:, None, None]) / space.scale[:, None, None]
    optimiser = torch.optim.AdamW(space.parameters(), lr=options.learning_rate)
    for _ in range(options.steps):
        site = int(torch.randint(n_sites, (), generator=generator))
        batch = seen[torch.randperm(len(seen), generator=generator)[: options.pairs_per_step]]
        loss = _loss(space, x[site, 0, batch], x[site, 1, batch], options)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    space.requires_grad_(False)
    latents = space.truthful(x)
    space.positive.copy_(latents[:, 0, seen].mean(1))
    space.negative.copy_(latents[:, 1, seen].mean(1))
    held_out = latents[:, :, unseen]
    to_positive, to_negative = (
        cosine_similarity(held_out, centre[:, None, None], dim=-1)
        for centre in (space.positive, space.negative)
    )
    towards = (to_positive - to_negative) * torch.tensor([1.0, -1.0])[:, None]  # the right side's centre
    space.accuracy.copy_((towards > 0).float().mean((1, 2)))
    space.log_loss.copy_(softplus(-towards / options.temperature).mean((1, 2)))
    return space


class TruthfulEdit:
    """Moves activations along `TruthfulSpace.direction`, by `strength` times their own norm.

    x + strength |x| n(D), n(.) being normalisation; at the `top_sites` sites that tell the sides apart best,
    or those given. Negative strengths go the other way; strength 0 changes nothing. With `null_seed`, D is a
    random direction for each site: the null, a move of the same size.

    Raises:
        UserError: a site is not the subject's, or has another width than the space.
    """

    def __init__(
        self,
        subject: Subject,
        space: TruthfulSpace,
        strength: Number = 1.0,
        positions: Positions = "steps",
        top_sites: int = 10,
        sites: Sequence[Site] | None = None,
        null_seed: int | None = None,
    ) -> None:
        self.sites: tuple[Site, ...] = tuple(space.ranked()[:top_sites] if sites is None else sites)
        width = space.mean.shape[1]
        for site in self.sites:
            own = subject.site_width(site) * (subject.n_heads if site.kind == "head_out" else 1)
            if site not in space.sites or own != width:
                raise UserError(
                    f"the space, for activations of width {width}, does not fit {site} of width {own}",
                    f"model {subject.name}",
                    "train a space on this model's sites",
                )
        self.space = space.to(subject.device)
        self.random: dict[Site, Tensor] = {}
        if null_seed is not None:
            generator = torch.Generator().manual_seed(null_seed)
            self.random = {site: torch.randn(width, generator=generator) for site in self.sites}
        self.strength = strength
        self.positions = positions

    def check(self, forward: ForwardPass) -> None:
        """Raises UserError if a text lacks a position."""
        check_positions(self.positions, forward)

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        """Returns the activation moved at the chosen positions."""
        where = chosen(self.positions, forward)
        if where is False or self.strength == 0:
            return activation
        flat = activation.flatten(2).float()
        known = self.random.get(site)
        towards = self.space.direction(flat, site) if known is None else known.to(flat).expand_as(flat)
        change = with_norm_of(flat, towards)
        moved = (flat + self.strength * change).view_as(activation).to(activation.dtype)
        return at_positions(where, moved, activation)


def _encoder(width: int, latent: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.LayerNorm(width), nn.LeakyReLU(), nn.Linear(width, latent)
    )


def _loss(
    space: TruthfulSpace,
    positive: Float[Tensor, "pair width"],
    negative: Float[Tensor, "pair width"],
    options: TruthfulTraining,
) -> Tensor:
    both = torch.cat([positive, negative])
    semantic, truthful = space.semantic(both), space.truthful(both)
    n = len(positive)
    partner = torch.arange(2 * n).roll(n)
    reconstruction = mse_loss(space.decode(semantic, truthful), both)
    edited = mse_loss(space.decode(semantic[partner], truthful), both)
    side = torch.arange(2 * n) // n
    apart = _near(truthful, side[:, None] == side, options) + _near(
        normalize(semantic, dim=-1), partner[:, None] == torch.arange(2 * n), options
    )
    return reconstruction + options.edit * edited + options.contrastive * apart


def _near(
    latents: Float[Tensor, "row latent"], alike: Bool[Tensor, "row row"], options: TruthfulTraining
) -> Float[Tensor, ""]:
    """Cross-entropy of identifying the rows that are alike by their cosines (Khosla et al. 2020, SupCon)."""
    itself = torch.eye(len(latents), dtype=torch.bool)
    logits = (latents @ latents.T / options.temperature).masked_fill(itself, -torch.inf)
    target = (alike & ~itself).float()
    return cross_entropy(logits, target / target.sum(1, keepdim=True))


def _checked(positive: Sides, negative: Sides) -> Float[Tensor, "site side pair width"]:
    """Checks both sides of every site and stacks them in one tensor."""
    shapes = {tuple(side[site].shape) for side in (positive, negative) for site in side}
    if list(positive) != list(negative) or len(shapes) != 1:
        raise UserError(
            f"the two sides' sites, pairs and widths differ ({', '.join(map(str, sorted(shapes)))})",
            "truthful space",
            "give the same sites and pairs on both, all of one width; mlp_out alone where heads are wider",
        )
    if next(iter(shapes))[0] < 4:
        raise UserError("fewer than four pairs", "truthful space", "give more")
    stacked = torch.stack([torch.stack([positive[s], negative[s]]) for s in positive]).float()
    if not bool(torch.isfinite(stacked).all()):
        raise UserError("an activation is not finite", "truthful space", "look for overflow in the model")
    return stacked
