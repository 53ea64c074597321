"""Transcoder latents: read at one site, written at a later one."""

from typing import Any

import torch
from jaxtyping import Float, Int
from sae_lens.saes.transcoder import Transcoder
from torch import Tensor

from interp.errors import UserError
from interp.subject.site import RESIDUAL_KINDS, Site
from interp.subject.subject import Subject
from saes.stream import activation_width


class TranscoderLatents:
    """The latents of one SAELens transcoder: features that are read at `site` and act at `target`.

    They are mined, described, scored and compared as any features. They cannot be written where they are
    read: a change of a latent is a change of another site's activation.

    Raises:
        UserError: the transcoder does not fit the widths of the sites.
    """

    signed = False

    def __init__(
        self, transcoder: Transcoder, site: Site, target: Site, name: str | None = None, *, subject: Subject
    ) -> None:
        self.name = name or f"transcoder.{site}.{target.kind}"
        self.site = site
        self.target = target
        for which, place, width in (
            ("reads", site, transcoder.cfg.d_in),
            ("predicts", target, transcoder.cfg.d_out),
        ):
            if activation_width(subject, place) != width:
                raise UserError(
                    f"the transcoder {which} width {width}, but {place} of {subject.name} is "
                    f"{activation_width(subject, place)} wide",
                    self.name,
                    "use a transcoder that was trained on this model",
                )
        self.n_features: int = transcoder.cfg.d_sae
        self.sae: Any = transcoder.to(device=torch.device(subject.device)).eval().requires_grad_(False)
        self._subject = subject

    def _inside(self, activation: Float[Tensor, "... d_site"]) -> Float[Tensor, "... d_in"]:
        whole = activation if activation.shape[-1] == self.sae.cfg.d_in else activation.flatten(-2)
        return whole.to(self.sae.device, self.sae.dtype)

    def encode(self, activation: Float[Tensor, "... d_site"]) -> Float[Tensor, "... n_features"]:
        """Every latent's activation, in the transcoder's float type."""
        latents: Tensor = self.sae.encode(self._inside(activation))
        return latents

    def reconstruct(self, activation: Float[Tensor, "... d_site"]) -> Float[Tensor, "... d_target"]:
        """What the transcoder predicts at `target`, in the activation's float type."""
        predicted: Tensor = self.sae(self._inside(activation))
        return predicted.to(activation.device, activation.dtype)

    def decoder(self, feature_ids: Int[Tensor, " feature"]) -> Float[Tensor, "feature d_model"]:
        """What one unit of each latent adds to the residual stream: the decoder's rows.

        Raises:
            UserError: the target is not in the residual stream's space.
        """
        if self.target.kind not in RESIDUAL_KINDS:
            raise UserError(
                f"latents written at {self.target} have no direction in the residual stream here",
                self.name,
                "use a transcoder that predicts a residual or MLP output site",
            )
        rows: Tensor = self.sae.W_dec[feature_ids.to(self.sae.W_dec.device)]
        return rows.to(self._subject.dtype)
