"""SAE latents as a feature space."""

from typing import Any

import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor

from interp.errors import UserError
from interp.subject.site import RESIDUAL_KINDS, Site
from interp.subject.subject import Subject
from saes.stream import activation_width

_SUPPORTED = ("standard", "topk", "abstopk", "jumprelu", "gated", "matching_pursuit")


class SaeLatents:
    """The latents of one SAELens SAE at one site; reading is `sae.encode`, with its own normalisation.

    Writing keeps the reconstruction error: only what the chosen latents contribute to the reconstruction
    changes. The SAE is moved to the subject's device and frozen; activations of any float type are read
    in the SAE's type and written back in their own. Attention-head sites are taken with heads apart
    (`[..., head, d_head]`) or flattened.

    Raises:
        UserError: the SAE does not fit the site's width, or its architecture is not a plain dictionary
            (a transcoder or a temporal SAE).
    """

    def __init__(self, sae: SAE[Any], site: Site, name: str | None = None, *, subject: Subject) -> None:
        self.name = name or f"sae.{site}"
        self.site = site
        self.target = site
        architecture = sae.cfg.architecture()
        if architecture not in _SUPPORTED:
            raise UserError(
                f"an SAE of architecture {architecture!r} cannot serve as a feature space",
                self.name,
                f"use one of {', '.join(_SUPPORTED)}",
            )
        width = activation_width(subject, site)
        if sae.cfg.d_in != width:
            raise UserError(
                f"the SAE reads width {sae.cfg.d_in}, but {site} of {subject.name} is {width} wide",
                self.name,
                "use an SAE that was trained at this site of this model",
            )
        self.n_features: int = sae.cfg.d_sae
        self.signed = architecture == "abstopk"
        self.sae = sae.to(device=torch.device(subject.device)).eval().requires_grad_(False)
        self.sae.turn_off_forward_pass_hook_z_reshaping()
        self._subject = subject
        self._width = width

    def _rows(self, feature_ids: Int[Tensor, " feature"]) -> Float[Tensor, "feature d_in"]:
        rows: Tensor = self.sae.W_dec[feature_ids.to(self.sae.W_dec.device)]
        if getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False):
            rows = rows / rows.norm(dim=-1, keepdim=True)
        return rows

    def _flat(self, activation: Tensor) -> Tensor:
        return activation if activation.shape[-1] == self._width else activation.flatten(-2)

    def _output_scale(self, flat: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch 1"] | float:
        """Factor by which SAELens' run-time normalisation multiplies the decoder's output."""
        x: Tensor = flat.to(self.sae.dtype)
        if self.sae.cfg.normalize_activations == "layer_norm":
            deviation: Tensor = x.std(dim=-1, keepdim=True)
            return deviation
        if self.sae.cfg.normalize_activations == "constant_norm_rescale":
            norm: Tensor = x.norm(dim=-1, keepdim=True) / self._width**0.5
            return norm
        return 1.0

    def __repr__(self) -> str:
        return f"SaeLatents({self.name}: {self.n_features:,} features at {self.site})"

    def encode(self, activation: Float[Tensor, "... d_site"]) -> Float[Tensor, "... n_features"]:
        """Every latent's activation, in the SAE's float type."""
        latents: Tensor = self.sae.encode(self._flat(activation).to(self.sae.device))
        return latents

    def reconstruct(self, activation: Float[Tensor, "*any d_site"]) -> Float[Tensor, "*any d_site"]:
        """The SAE's reconstruction, in the activation's shape and float type (the error is left out)."""
        reconstruction: Tensor = self.sae.decode(self.encode(activation))
        return reconstruction.reshape(activation.shape).to(activation.device, activation.dtype)

    def write(
        self,
        activation: Float[Tensor, "*any d_site"],
        feature_ids: Int[Tensor, " feature"],
        values: Float[Tensor, "*batch feature"],
    ) -> Float[Tensor, "*any d_site"]:
        """Adds decode(new latents) - decode(old latents); other latents and the error stay as they are.

        The decoder is linear, so the difference is (values - read) times these latents' decoder rows, times
        the scale that a run-time normalisation divided the input by. A latent that is named twice takes the
        sum of both changes, so name each once.
        """
        flat = self._flat(activation)
        inside = flat.to(self.sae.device)
        old = self.encode(inside)[..., feature_ids.to(inside.device)]
        change = values.to(old.device, old.dtype) - old
        added = (change @ self._rows(feature_ids)) * self._output_scale(inside)
        return (flat + added.to(flat.device, flat.dtype)).reshape(activation.shape)

    def decoder(self, feature_ids: Int[Tensor, " feature"]) -> Float[Tensor, "feature d_model"]:
        """What one unit of each latent adds to the residual stream.

        The decoder's rows, through the output matrix that follows neurons or heads (`Subject.output_weight`).
        With a run-time input normalisation: before each token's own scale.
        """
        rows = self._rows(feature_ids).to(self._subject.dtype)
        if self.site.kind in RESIDUAL_KINDS:
            return rows
        through: Tensor = rows @ self._subject.output_weight(self.site).to(rows.dtype)
        return through

    def pull_back(
        self, activation: Float[Tensor, "*any d_site"], gradient: Float[Tensor, "*any d_site"]
    ) -> Float[Tensor, "*batch n_features"]:
        """The gradient along each latent's decoder row, times the scale of a run-time normalisation.

        The reconstruction error is held fixed, and so is that scale.
        """
        rows = self._rows(torch.arange(self.n_features))
        along = self._flat(gradient).to(self.sae.device, rows.dtype) @ rows.T
        return along * self._output_scale(self._flat(activation).to(self.sae.device))
