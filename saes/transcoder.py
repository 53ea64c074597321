"""Training a transcoder, which SAELens loads but does not train: a subclass of its training SAE."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from sae_lens.registry import get_sae_class
from sae_lens.saes.batchtopk_sae import BatchTopK
from sae_lens.saes.sae import (
    SAEConfig,
    TrainCoefficientConfig,
    TrainingSAE,
    TrainingSAEConfig,
    TrainStepInput,
    TrainStepOutput,
)
from sae_lens.saes.topk_sae import calculate_topk_aux_acts
from torch import Tensor, nn


@dataclass(kw_only=True)
class TranscoderTrainingConfig(TrainingSAEConfig):  # type: ignore[misc]
    """SAELens' training configuration for a transcoder; saved as SAELens' transcoder configuration."""

    d_out: int
    k: float | None = None
    l1_coefficient: float = 5.0
    skip: bool = False
    aux_loss_coefficient: float = 1.0
    topk_threshold_lr: float = 0.05

    @classmethod
    def architecture(cls) -> str:
        """SAELens' name of the plain form."""
        return "transcoder"

    def get_inference_config_class(self) -> type[SAEConfig]:
        """SAELens' configuration of the form that is saved."""
        jump, skip = "jumprelu_" if self.k else "", "skip_" if self.skip else ""
        form: type[SAEConfig] = get_sae_class(f"{jump}{skip}transcoder")[1]
        return form


class TranscoderTrainingSAE(TrainingSAE[TranscoderTrainingConfig]):  # type: ignore[misc]
    """y_hat = W_dec f(W_enc x' + b_enc) + W_skip x + b_dec, trained on batches [x | y] side by side.

    x' is x centred and scaled per token (`layer_norm`), or x itself. f is ReLU under an L1 penalty weighted
    by decoder norms, or batch top-k with the dead latents' loss of Gao et al. (2024), which is saved as a
    threshold. Training sees x and y scaled to mean norms of sqrt(width); `fold` undoes it in the weights.
    """

    input_scale: Tensor
    output_scale: Tensor
    threshold: Tensor

    def initialize_weights(self) -> None:
        """Draws unit decoder rows and unit encoder columns from torch's generator; the rest starts at 0."""
        d_in, d_out, d_sae = self.cfg.d_in, self.cfg.d_out, self.cfg.d_sae
        place: dict[str, Any] = {"dtype": self.dtype, "device": self.device}
        unit = nn.functional.normalize
        self.W_dec = nn.Parameter(unit(torch.randn(d_sae, d_out, **place), dim=-1))
        self.W_enc = nn.Parameter(unit(torch.randn(d_in, d_sae, **place), dim=0))
        self.b_enc = nn.Parameter(torch.zeros(d_sae, **place))
        self.b_dec = nn.Parameter(torch.zeros(d_out, **place))
        if self.cfg.skip:
            self.W_skip = nn.Parameter(torch.zeros(d_out, d_in, **place))
        for name, start in (("input_scale", 1.0), ("output_scale", 1.0), ("threshold", 0.0)):
            self.register_buffer(name, torch.tensor(start, dtype=torch.double, device=self.device))

    @torch.no_grad()
    def start_at(self, x: Float[Tensor, "token d_in"], y: Float[Tensor, "token d_out"]) -> None:
        """Sets both scales, `b_dec` to the mean of y, and `b_enc` so that the mean of x is read as 0."""
        self.input_scale.fill_(x.shape[1] ** 0.5 / float(x.norm(dim=-1).mean()))
        self.output_scale.fill_(y.shape[1] ** 0.5 / float(y.norm(dim=-1).mean()))
        self.b_dec.copy_(y.mean(0) * self.output_scale)
        self.b_enc.copy_(-self._read(x.to(self.dtype)).mean(0) @ self.W_enc)

    def get_coefficients(self) -> dict[str, float | TrainCoefficientConfig]:
        """The L1 penalty's weight; nothing with batch top-k."""
        return {} if self.cfg.k else {"l1": self.cfg.l1_coefficient}

    def encode_with_hidden_pre(
        self, x: Float[Tensor, "token d_in"]
    ) -> tuple[Float[Tensor, "token latent"], Float[Tensor, "token latent"]]:
        """Latents and pre-activations, both times the decoder rows' norms and in the scale of training."""
        hidden = (self._read(x) @ self.W_enc + self.b_enc) * self.W_dec.norm(dim=-1)
        active: Tensor
        if self.cfg.k is None:
            active = hidden.relu()
        elif self.training:
            active = BatchTopK(self.cfg.k)(hidden)
        else:
            active = hidden * (hidden > self.threshold)
        return active, hidden

    def decode(self, feature_acts: Float[Tensor, "token latent"]) -> Float[Tensor, "token d_out"]:
        """The latents' prediction of y, in scaled units, without the skip connection."""
        return feature_acts @ nn.functional.normalize(self.W_dec, dim=-1) + self.b_dec

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """Losses of one batch [x | y]; `sae_in` of the output is the scaled y, which is to be predicted."""
        x, y = step_input.sae_in.to(self.dtype).split([self.cfg.d_in, self.cfg.d_out], dim=-1)
        y = y * self.output_scale.to(y.dtype)
        active, hidden = self.encode_with_hidden_pre(x)
        predicted = self._with_skip(x, self.decode(active))
        losses = {"mse_loss": (predicted - y).pow(2).sum(dim=-1).mean()}
        losses |= self.calculate_aux_loss(step_input, active, hidden, predicted, y)
        if self.cfg.k:
            self._follow_threshold(active.detach())
        return TrainStepOutput(
            sae_in=y,
            sae_out=predicted,
            feature_acts=active,
            hidden_pre=hidden,
            loss=torch.stack(list(losses.values())).sum(),
            losses=losses,
        )

    def calculate_aux_loss(
        self,
        step_input: TrainStepInput,
        feature_acts: Float[Tensor, "token latent"],
        hidden_pre: Float[Tensor, "token latent"],
        sae_out: Float[Tensor, "token d_out"],
        y: Float[Tensor, "token d_out"] | None = None,
    ) -> dict[str, Tensor]:
        """The L1 penalty, or the dead latents' squared error on what is left of `y`."""
        if self.cfg.k is None:
            return {"l1_loss": step_input.coefficients["l1"] * feature_acts.sum(dim=-1).mean()}
        dead = step_input.dead_neuron_mask
        if y is None or dead is None or not bool(dead.any()):
            return {"auxiliary_reconstruction_loss": sae_out.new_zeros(())}
        return {
            "auxiliary_reconstruction_loss": self._dead_latents_loss(dead, hidden_pre, (y - sae_out).detach())
        }

    def _dead_latents_loss(
        self,
        dead: Bool[Tensor, " latent"],
        hidden: Float[Tensor, "token latent"],
        left: Float[Tensor, "token d_out"],
    ) -> Float[Tensor, ""]:
        most, n_dead = left.shape[-1] // 2, int(dead.sum())
        strongest = calculate_topk_aux_acts(min(most, n_dead), hidden, dead)
        explained = strongest @ nn.functional.normalize(self.W_dec, dim=-1)
        scale = min(n_dead / most, 1.0) * self.cfg.aux_loss_coefficient
        loss: Tensor = scale * (explained - left).pow(2).sum(dim=-1).mean()
        return loss

    @torch.no_grad()
    def predict(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_out"]:
        """The prediction for activations in the subject's own units, as the saved transcoder will make it."""
        was_training = self.training
        self.eval()
        inside = x.to(self.dtype)
        predicted = self._with_skip(inside, self.decode(self.encode(inside))) / self.output_scale
        self.train(was_training)
        return predicted

    @torch.no_grad()
    def fold(self) -> None:
        """Moves the scales and the decoder's norms into the weights, once training is over."""
        norms = self.W_dec.norm(dim=-1)
        read = 1.0 if self.cfg.normalize_activations == "layer_norm" else float(self.input_scale)
        written = float(self.output_scale)
        self.W_enc.mul_(norms / written * read)
        self.b_enc.mul_(norms / written)
        self.threshold.div_(written)
        self.W_dec.div_(norms[:, None])
        self.b_dec.div_(written)
        if self.cfg.skip:
            self.W_skip.mul_(float(self.input_scale) / written)
        self.input_scale.fill_(1.0)
        self.output_scale.fill_(1.0)

    def process_state_dict_for_saving_inference(self, state_dict: dict[str, Any]) -> None:
        """Leaves out the scales; the threshold of batch top-k becomes every latent's own."""
        for scale in ("input_scale", "output_scale"):
            if float(state_dict.pop(scale)) != 1.0:
                raise ValueError("fold the scales before saving")
        threshold = state_dict.pop("threshold")
        if self.cfg.k:
            state_dict["threshold"] = torch.full_like(self.b_enc, float(threshold))

    def _read(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_in"]:
        if self.cfg.normalize_activations == "layer_norm":
            normalised: Tensor = self.run_time_activation_norm_fn_in(x)
            return normalised
        return x * self.input_scale.to(x.dtype)

    def _with_skip(
        self, x: Float[Tensor, "token d_in"], out: Float[Tensor, "token d_out"]
    ) -> Float[Tensor, "token d_out"]:
        return out + (x * self.input_scale.to(x.dtype)) @ self.W_skip.T if self.cfg.skip else out

    @torch.no_grad()
    def _follow_threshold(self, active: Float[Tensor, "token latent"]) -> None:
        positive = active[active > 0]
        if len(positive):
            self.threshold.lerp_(positive.min().double(), self.cfg.topk_threshold_lr)
