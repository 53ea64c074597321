"""SAE architectures as configuration: what SAELens calls them, with the settings that matter."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from sae_lens import (
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAEConfig,
    MatchingPursuitTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAEConfig,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainingSAEConfig

from interp.fields import (
    Count,
    Flag,
    NonEmpty,
    NotNegative,
    OpenFraction,
    Positive,
    PositiveFraction,
    Section,
    StepsOrZero,
)
from interp.subject.site import Site, SiteName
from saes.transcoder import TranscoderTrainingConfig

_SPARSITIES = ("k", "max_latents", "l1_coefficient", "l0_coefficient")


class _Architecture(Section):
    @property
    def sparsity_key(self) -> str:
        """Name of the field that sets its sparsity, such as `k` or `l1_coefficient`."""
        return next(key for key in _SPARSITIES if getattr(self, key, None) is not None)


class TopK(_Architecture):
    """Keeps the k largest latents of every token (Gao et al. 2024, arXiv 2406.04093, eq. 3)."""

    kind: Literal["topk"] = "topk"
    k: Count = 16
    """Active latents per token."""
    aux_loss_coefficient: NotNegative = 1.0
    """Weight of the loss in which dead latents reconstruct the residual (same paper, appendix A.2)."""
    initial_norm: Positive = 1.0
    """Length of the initial decoder rows; at SAELens' 0.1 the first winners outgrow the rest, which die."""

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return TopKTrainingSAEConfig(
            k=self.k,
            aux_loss_coefficient=self.aux_loss_coefficient,
            decoder_init_norm=self.initial_norm,
            **shape,
        )


class BatchTopK(_Architecture):
    """Keeps k latents a token on average over a batch (Bussmann et al. 2024, arXiv 2412.06410).

    Saved as a JumpReLU SAE whose one threshold is a running mean of the smallest latent that was kept.
    """

    kind: Literal["batchtopk"] = "batchtopk"
    k: Positive = 16.0
    """Active latents per token, on average."""
    aux_loss_coefficient: NotNegative = 1.0
    """Weight of the dead latents' loss."""
    initial_norm: Positive = 1.0
    """Length of the initial decoder rows."""
    threshold_rate: PositiveFraction = 0.05
    """Step of the running mean of the threshold (SAELens: 0.01, too slow for runs under 500 steps)."""

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return BatchTopKTrainingSAEConfig(
            k=self.k,  # SAELens types the field as a float but inherits from one with an int
            aux_loss_coefficient=self.aux_loss_coefficient,
            topk_threshold_lr=self.threshold_rate,
            decoder_init_norm=self.initial_norm,
            **shape,
        )


class Standard(_Architecture):
    """ReLU latents under an L1 penalty weighted by decoder norms (Anthropic, April 2024 update)."""

    kind: Literal["standard"] = "standard"
    l1_coefficient: NotNegative = 5.0
    """Weight of the sparsity penalty, for activations scaled to a mean norm of sqrt(d_in)."""
    l1_warm_up_steps: StepsOrZero = 0
    """Steps over which the penalty grows from 0."""

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return StandardTrainingSAEConfig(
            l1_coefficient=self.l1_coefficient, l1_warm_up_steps=self.l1_warm_up_steps, **shape
        )


class Gated(_Architecture):
    """Decides separately which latents fire and how much (Rajamanoharan et al. 2024, arXiv 2404.16014)."""

    kind: Literal["gated"] = "gated"
    l1_coefficient: NotNegative = 5.0
    """Weight of the sparsity penalty on the gates."""
    l1_warm_up_steps: StepsOrZero = 0
    """Steps over which the penalty grows from 0."""

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return GatedTrainingSAEConfig(
            l1_coefficient=self.l1_coefficient, l1_warm_up_steps=self.l1_warm_up_steps, **shape
        )


class JumpReLU(_Architecture):
    """ReLU above learnt thresholds, under an L0 penalty (Rajamanoharan et al. 2024, arXiv 2407.14435)."""

    kind: Literal["jumprelu"] = "jumprelu"
    l0_coefficient: NotNegative = 1.0
    """Weight of the penalty on the number of active latents."""
    l0_warm_up_steps: StepsOrZero = 0
    """Steps over which the penalty grows from 0."""
    initial_threshold: Positive = 0.01
    """Threshold at the start, in scaled pre-activation units."""
    bandwidth: Positive = 0.05
    """Width of the kernel through which the threshold gets its gradient."""

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return JumpReLUTrainingSAEConfig(
            l0_coefficient=self.l0_coefficient,
            l0_warm_up_steps=self.l0_warm_up_steps,
            jumprelu_init_threshold=self.initial_threshold,
            jumprelu_bandwidth=self.bandwidth,
            **shape,
        )


class Matryoshka(_Architecture):
    """Batch top-k whose first latents must also reconstruct alone (Bussmann et al. 2025, arXiv 2503.17547).

    Nested prefixes of the dictionary each carry a reconstruction loss of their own, which keeps general
    latents from being absorbed by specific ones. Saved as a JumpReLU SAE, as batch top-k is.
    """

    kind: Literal["matryoshka"] = "matryoshka"
    k: Positive = 16.0
    """Active latents per token, on average."""
    shares: NonEmpty[OpenFraction] = (0.0625, 0.125, 0.25, 0.5)
    """Sizes of the nested prefixes as rising shares of the dictionary; the whole of it is always the last."""
    aux_loss_coefficient: NotNegative = 1.0
    """Weight of the dead latents' loss."""
    initial_norm: Positive = 1.0
    """Length of the initial decoder rows."""
    threshold_rate: PositiveFraction = 0.05
    """Step of the running mean of the threshold."""

    @field_validator("shares")
    @classmethod
    def _rising(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not shares or list(shares) != sorted(set(shares)) or shares[0] <= 0 or shares[-1] >= 1:
            raise ValueError("must rise and lie between 0 and 1, such as [0.125, 0.5]")
        return shares

    def widths(self, n_latents: int) -> list[int]:
        """Number of latents in each prefix; the last prefix is the whole dictionary."""
        return sorted({max(1, round(share * n_latents)) for share in self.shares} | {n_latents})

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return MatryoshkaBatchTopKTrainingSAEConfig(
            k=self.k,  # as for batch top-k
            matryoshka_widths=self.widths(shape["d_sae"]),
            aux_loss_coefficient=self.aux_loss_coefficient,
            topk_threshold_lr=self.threshold_rate,
            decoder_init_norm=self.initial_norm,
            **shape,
        )


class MatchingPursuit(_Architecture):
    """Picks latents one by one, each the best match of the residual (Costa et al. 2025, arXiv 2506.03093).

    Encoder and decoder are one matrix. A step costs as many matrix products as a token takes latents.
    """

    kind: Literal["matching_pursuit"] = "matching_pursuit"
    max_latents: Count = 16
    """Most latents a token may take."""
    residual_threshold: NotNegative = 0.01
    """A token takes no more latents once the norm of its residual is below this, in scaled units."""

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return MatchingPursuitTrainingSAEConfig(
            residual_threshold=self.residual_threshold,
            max_iterations=self.max_latents,
            decoder_init_norm=1.0,
            **shape,
        )


class Transcoder(_Architecture):
    """Predicts another site's activation from sparse latents of this one (Dunefsky et al. 2024, 2406.11944).

    Saved as SAELens' transcoder, or with `skip` as its skip transcoder (Paulo et al. 2025, arXiv 2501.18823).
    With `k` it is saved in the JumpReLU form of these, as batch top-k is.
    """

    kind: Literal["transcoder"] = "transcoder"
    to: SiteName
    """The site to predict, which comes after the one that is read: `mlp_out.3`."""
    k: Positive | None = None
    """Active latents per token on average (batch top-k); left out, an L1 penalty makes them sparse."""
    l1_coefficient: NotNegative = 1.0
    """Weight of that penalty, for targets scaled to a mean norm of sqrt(d_out)."""
    skip: Flag = False
    """Adds a linear map from input to output beside the latents."""
    layer_norm: Flag = True
    """Reads every token's activation centred and scaled to variance 1, as the norm before an MLP does."""
    aux_loss_coefficient: NotNegative = 1.0
    """Weight of the dead latents' loss, with `k`."""
    threshold_rate: PositiveFraction = 0.05
    """Step of the running mean of the threshold, with `k`."""

    @property
    def target(self) -> Site:
        """The site to predict, parsed from `to`."""
        return Site.parse(self.to)

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """The training configuration; `shape` holds `d_in`, `d_out`, `d_sae`, dtype and the rest."""
        return TranscoderTrainingConfig(
            k=self.k,
            l1_coefficient=self.l1_coefficient,
            skip=self.skip,
            aux_loss_coefficient=self.aux_loss_coefficient,
            topk_threshold_lr=self.threshold_rate,
            decoder_init_norm=1.0,
            normalize_activations="layer_norm" if self.layer_norm else "none",
            apply_b_dec_to_input=False,
            **shape,
        )


Architecture = Annotated[
    TopK | BatchTopK | Standard | Gated | JumpReLU | Matryoshka | MatchingPursuit | Transcoder,
    Field(discriminator="kind"),
]
