"""A loaded model: sizes, sites, the weights that write to the residual stream, and the unembedding."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.backend import Backend
from interp.subject.folder import SubjectInfo
from interp.subject.gap import Gap
from interp.subject.non_finite import not_finite
from interp.subject.probe import Probe
from interp.subject.reader import InputPoint, Norm
from interp.subject.site import SITE_KINDS, Site
from interp.subject.writer import Writer


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in its library, where it runs, and the results of comparing it with `transformers`.

    `gap` says how far its logits are off, `probe` what is wrong with its sites; None if not checked.
    `options` are those of `interp.load` that made it, by which another process loads the same. `quantize`
    says into how few bits its weights are packed (`8bit`, `4bit`), None if they are not.
    """

    backend: Backend
    info: SubjectInfo
    device: torch.device
    dtype: torch.dtype
    processing: str = "none"
    gap: Gap | None = None
    probe: Probe | None = None
    options: Mapping[str, Any] | None = None
    quantize: str | None = None


class Model:
    """Properties of a model that do not depend on a text; the first part of a `Subject`."""

    def __init__(self, loaded: Loaded) -> None:
        info = loaded.info
        self._backend = loaded.backend
        self.backend = loaded.backend.name
        self.info = info
        self.name = info.name
        self.n_layers = info.n_layers
        self.d_model = info.d_model
        self.d_mlp = info.d_mlp
        self.n_heads = info.n_heads
        self.d_head = info.d_head
        self.d_vocab = info.d_vocab
        self.n_ctx = loaded.backend.n_ctx
        self.device = loaded.device
        self.dtype = loaded.dtype
        self.processing = loaded.processing
        self.quantize = loaded.quantize
        self.gap = loaded.gap
        self.options = loaded.options
        self._faults = {} if loaded.probe is None else loaded.probe.faults
        self._adds_up = loaded.probe is None or loaded.probe.adds_up

    @property
    def model(self) -> Any:
        """The library's own model object (a HookedTransformer or a TransformerBridge)."""
        return getattr(self._backend, "model", None)

    def site_width(self, site: Site) -> int:
        """Size of the last axis of the activation at a site.

        Raises:
            UserError: the site does not exist, or failed the checks of its kind (`Probe`).
        """
        width = self.info.site_width(site)
        self._backend.check(site)
        if site in self._faults:
            raise UserError(
                f"{site} of {self.name} ({self.info.architecture}) does not hold what its name says: "
                f"{self._faults[site]}",
                f"site {site}, backend {self.backend}",
                "use another site",
            )
        return width

    def activation_shape(self, site: Site) -> tuple[int, ...]:
        """The shape at one position: [width], at `head_out` [head, d_head]; raises as `site_width` does."""
        width = self.site_width(site)
        return (self.n_heads, width) if site.kind == "head_out" else (width,)

    @property
    def adds_up(self) -> bool:
        """Whether the residual stream is the sum of what is written to it, as far as known.

        It is not where a norm stands on the stream itself (OPT-350m).
        """
        return self._adds_up

    def writers(self) -> list[Writer]:
        """The weights that write to the residual stream, with the norm or scale after each.

        Raises:
            UserError: the stream is not the sum of what is written to it, or the weights are not known.
        """
        if not self.adds_up:
            raise UserError(
                f"the residual stream of {self.info.architecture} is not the sum of what its layers write: "
                "something, such as a norm, is done to the stream itself",
                f"weights of {self.name}",
                "use interventions, or attribution by gradient (interp.attribute)",
            )
        return self._backend.writers()

    def untied(self) -> AbstractContextManager[None]:
        """Within the block, embedding and unembedding are different tensors, which may be changed apart."""
        return self._backend.untied()

    def output_weight(self, site: Site) -> Float[Tensor, "d_in d_model"]:
        """What a unit of each neuron (`mlp_post`), or of each element of all heads (`head_out`), adds to the
        residual stream: the output matrix, at the model's scale.

        Where a norm follows (Gemma 2, OLMo 2), this is before its scale, which depends on all neurons of a
        token.

        Raises:
            UserError: there is no such site, as in a mixture of experts, or no output matrix follows it.
        """
        self.site_width(site)
        output = {"mlp_post": "mlp_out", "head_out": "attn_out"}.get(site.kind)
        found = [w for w in self._backend.writers() if (w.site.kind, w.site.layer) == (output, site.layer)]
        if len(found) != 1:
            raise UserError(f"no output matrix follows {site}", f"site {site}", "use mlp_post or head_out")
        return found[0].unscaled()

    def input_weight(
        self, point: InputPoint
    ) -> tuple[Float[Tensor, "head d_model d_head"], Float[Tensor, "head d_head"] | None]:
        """The weight and the bias with which a layer's `q`, `k` or `v` reads, keys and values by group."""
        return self._backend.input_weight(point)

    def input_norms(self, layer: int) -> list[Norm]:
        """The norms that may stand before a layer's parts (`interp.circuits.wiring` finds which do)."""
        return self._backend.input_norms(layer)

    def unembedding(self) -> Float[Tensor, "d_model d_vocab"]:
        """The matrix that turns the final norm's output into logits, before their bias and any soft cap.

        It includes the scale of logits that some models have (Granite, Cohere).

        Raises:
            UserError: as `final_norm`.
        """
        self._check_readout()
        return self._backend.unembedding()

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Applies the norm before the unembedding; returns the input if the model has none.

        Raises:
            UserError: norm and unembedding do not turn the last residual stream into the model's own logits.
        """
        self._check_readout()
        return self._backend.final_norm(resid)

    def unembed(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Computes logits from the final norm's output: product with the unembedding, bias and soft cap.

        Raises:
            UserError: logits are not finite although the input is.
        """
        logits = self._backend.unembed(normed)
        overflow = normed.detach().isfinite().all(-1) & ~logits.detach().amax(-1).isfinite()
        if bool(overflow.any()):
            raise not_finite("the logits are", self.dtype, self.name)
        return logits

    def _check_readout(self) -> None:
        if self.gap is not None and not self.gap.lens_holds:
            raise UserError(
                f"what final norm and unembedding of {self.name} ({self.info.architecture}) give is not its "
                f"logits: it is off by {self.gap.lens:.2g} of their spread",
                f"backend {self.backend}",
                "use the logits themselves, not a lens",
            )

    def _sites(self) -> list[Site]:
        """Every site that the model has."""
        found = []
        for site in (Site(kind, layer) for layer in range(self.n_layers) for kind in SITE_KINDS):
            with suppress(UserError):
                self.site_width(site)
                found.append(site)
        return found
