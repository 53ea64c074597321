"""SAE architectures as configuration: what SAELens calls them, with the settings that matter."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sae_lens import (
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAEConfig,
    StandardTrainingSAEConfig,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainingSAEConfig


class _Architecture(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TopK(_Architecture):
    """Keeps the k largest latents of every token (Gao et al. 2024, arXiv 2406.04093, eq. 3)."""

    kind: Literal["topk"] = "topk"
    k: int = Field(default=16, gt=0)
    """Active latents per token."""
    aux_loss_coefficient: float = Field(default=1.0, ge=0)
    """Weight of the loss that lets dead latents explain what is left over (same paper, appendix A.2)."""
    initial_norm: float = Field(default=1.0, gt=0)
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
    k: float = Field(default=16.0, gt=0)
    """Active latents per token, on average."""
    aux_loss_coefficient: float = Field(default=1.0, ge=0)
    """Weight of the dead latents' loss."""
    initial_norm: float = Field(default=1.0, gt=0)
    """Length of the initial decoder rows."""
    threshold_rate: float = Field(default=0.05, gt=0, le=1)
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
    l1_coefficient: float = Field(default=5.0, ge=0)
    """Weight of the sparsity penalty, for activations scaled to a mean norm of sqrt(d_in)."""
    l1_warm_up_steps: int = Field(default=0, ge=0)
    """Steps over which the penalty grows from 0."""

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return StandardTrainingSAEConfig(
            l1_coefficient=self.l1_coefficient, l1_warm_up_steps=self.l1_warm_up_steps, **shape
        )


class Gated(_Architecture):
    """Decides separately which latents fire and how much (Rajamanoharan et al. 2024, arXiv 2404.16014)."""

    kind: Literal["gated"] = "gated"
    l1_coefficient: float = Field(default=5.0, ge=0)
    """Weight of the sparsity penalty on the gates."""
    l1_warm_up_steps: int = Field(default=0, ge=0)
    """Steps over which the penalty grows from 0."""

    def config(self, shape: dict[str, Any]) -> TrainingSAEConfig:
        """SAELens' configuration of this architecture; `shape` holds `d_in`, `d_sae`, dtype and the rest."""
        return GatedTrainingSAEConfig(
            l1_coefficient=self.l1_coefficient, l1_warm_up_steps=self.l1_warm_up_steps, **shape
        )


class JumpReLU(_Architecture):
    """ReLU above learnt thresholds, under an L0 penalty (Rajamanoharan et al. 2024, arXiv 2407.14435)."""

    kind: Literal["jumprelu"] = "jumprelu"
    l0_coefficient: float = Field(default=1.0, ge=0)
    """Weight of the penalty on the number of active latents."""
    l0_warm_up_steps: int = Field(default=0, ge=0)
    """Steps over which the penalty grows from 0."""
    initial_threshold: float = Field(default=0.01, gt=0)
    """Threshold at the start, in scaled pre-activation units."""
    bandwidth: float = Field(default=0.05, gt=0)
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


Architecture = Annotated[TopK | BatchTopK | Standard | Gated | JumpReLU, Field(discriminator="kind")]
