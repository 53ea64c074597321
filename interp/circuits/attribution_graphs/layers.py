"""What stands in one layer's MLP's place on one prompt: active features, and what they leave unexplained."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.space import ReadableFeatures
from interp.subject.site import Site
from interp.subject.subject import Subject
from saes.latents import SaeLatents
from saes.transcoder_latents import TranscoderLatents

Dictionary = TranscoderLatents | SaeLatents


class LayerParts:
    """The output of one layer's MLP on one prompt, as it is: a layer without features.

    `base` [pos, d_writes] is the activation at `writes`, less what a skip connection gives: the sum of what
    features write, of a bias, `fixed` [pos, d_writes], and of an error. Features are listed by position and
    id; `values` are their activations. What they read is at `reads`.
    """

    space: ReadableFeatures | None = None
    needs_rule = False
    """Whether what is read depends on the layer's own neurons, which are then made linear by a rule."""

    def __init__(self, layer: int, writes: Site, base: Float[Tensor, "pos d_writes"]) -> None:
        self.layer, self.writes, self.reads = layer, writes, writes
        self.base = base.float()
        self.fixed = torch.zeros_like(self.base)
        self.positions = self.ids = torch.zeros(0, dtype=torch.long, device=base.device)
        self.values = self.base.new_zeros(0)

    def without(self, first: int) -> None:
        """Makes the first positions a constant: neither features nor errors (circuit-tracer's BOS)."""
        self.fixed[:first] = self.base[:first]
        self.keep(self.positions >= first)

    def keep(self, chosen: Bool[Tensor, " feature"]) -> None:
        """Keeps some of the features; the others become part of the error."""
        self.positions, self.ids, self.values = (
            part[chosen] for part in (self.positions, self.ids, self.values)
        )

    def strengths(self) -> Float[Tensor, " feature"]:
        """The length of what each feature writes."""
        return self.values

    def skip(self, read: Float[Tensor, "batch pos d_reads"]) -> Float[Tensor, "batch pos d_writes"] | None:
        """What is written as a linear function of what is read, beside the features; None if nothing is."""
        return None

    def injected(self, chosen: Int[Tensor, " target"]) -> Float[Tensor, "target 1 pos d_reads"]:
        """The gradient of each chosen feature's value at `reads`, with the scale of a norm in it held."""
        rows = self._rows(chosen)
        found = rows.new_zeros(len(chosen), 1, len(self.base), rows.shape[-1])
        found[torch.arange(len(chosen), device=rows.device), 0, self.positions[chosen]] = rows
        return found

    def contracted(self, gradient: Float[Tensor, "target pos d_writes"]) -> Float[Tensor, "target feature"]:
        """What each feature adds to each target, given the targets' gradients at `writes`."""
        found = gradient.new_zeros(len(gradient), len(self.ids))
        for position in torch.unique(self.positions).tolist():
            at = (self.positions == position).nonzero()[:, 0]
            found[:, at] = gradient[:, position] @ self.vectors(at).T * self.values[at]
        return found

    def vectors(self, chosen: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen d_writes"]:
        """What one unit of each chosen feature writes; of no features, nothing."""
        return self.base[:0]

    def read_again(self, read: Float[Tensor, "batch pos d_reads"]) -> Float[Tensor, "batch feature"]:
        """The features' values as linear functions of another activation at `reads`."""
        return read.new_zeros(len(read), 0)

    def _rows(self, chosen: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen d_reads"]:
        return self.base[:0]

    def explained(self) -> Float[Tensor, "pos d_writes"]:
        """The sum of what the features write at each position."""
        every = torch.arange(len(self.ids), device=self.ids.device)
        found = torch.zeros_like(self.base)
        return found.index_add(0, self.positions, self.vectors(every) * self.values[:, None])


class NeuronParts(LayerParts):
    """A layer's neurons: coordinates of `mlp_post`, which are read and written there."""

    needs_rule = True

    def __init__(self, space: MlpNeurons, written: Float[Tensor, "pos d_mlp"]) -> None:
        super().__init__(space.site.layer, space.site, written)
        self.space = space
        self.positions, self.ids = self.base.nonzero(as_tuple=True)
        self.values = self.base[self.positions, self.ids]

    def strengths(self) -> Float[Tensor, " feature"]:
        """The length of what each neuron writes."""
        assert self.space is not None
        every = torch.arange(self.space.n_features, device=self.ids.device)
        lengths: Tensor = self.space.decoder(every).float().norm(dim=-1)
        return self.values.abs() * lengths[self.ids]

    def contracted(self, gradient: Float[Tensor, "target pos d_mlp"]) -> Float[Tensor, "target feature"]:
        """What each neuron adds: its activation times the gradient there."""
        return gradient[:, self.positions, self.ids] * self.values

    def explained(self) -> Float[Tensor, "pos d_mlp"]:
        """The neurons' own activations."""
        found = torch.zeros_like(self.base)
        found[self.positions, self.ids] = self.values
        return found

    def vectors(self, chosen: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen d_mlp"]:
        """Each chosen neuron's unit vector."""
        return torch.nn.functional.one_hot(self.ids[chosen], self.base.shape[1]).float()

    def read_again(self, read: Float[Tensor, "batch pos d_mlp"]) -> Float[Tensor, "batch feature"]:
        """The neurons of the other activation."""
        return read[:, self.positions, self.ids]

    def _rows(self, chosen: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen d_mlp"]:
        return self.vectors(chosen)


class DictionaryParts(LayerParts):
    """Latents of a transcoder, or of an SAE at the MLP's output; an active one is linear in what it reads.

    Encoder and decoder are SAELens'; a run-time normalisation of the input is held as norms are.

    Raises:
        UserError: latents are no linear function of the input where they are active.
    """

    def __init__(
        self,
        space: Dictionary,
        read: Float[Tensor, "pos d_reads"],
        written: Float[Tensor, "pos d_writes"],
    ) -> None:
        self._sae: Any = space.sae
        self._read = read.float()
        skipped = self.skip(self._read[None])
        base = written.float() if skipped is None else written.float() - skipped[0]
        super().__init__(space.target.layer, space.target, base)
        self.space, self.reads = space, space.site
        self.needs_rule = space.site == space.target
        latents = space.encode(read).float()
        self.positions, self.ids = latents.nonzero(as_tuple=True)
        self.values = latents[self.positions, self.ids]
        self._in_scale, self._centred = _input_scale(self._sae, self._read)
        self._out_scale = _output_scale(space, read)
        self.fixed = self._out_scale * self._sae.b_dec.float()
        self._vectors: Tensor | None = None

    def keep(self, chosen: Bool[Tensor, " feature"]) -> None:
        """Keeps some of the latents."""
        super().keep(chosen)
        self._vectors = None

    def strengths(self) -> Float[Tensor, " feature"]:
        """The length of what each latent writes."""
        return self.values.abs() * self._out_scale[self.positions, 0] * self._lengths()[self.ids]

    def skip(self, read: Float[Tensor, "batch pos d_reads"]) -> Float[Tensor, "batch pos d_writes"] | None:
        """What a transcoder's skip connection writes."""
        matrix = getattr(self._sae, "W_skip", None)
        return None if matrix is None else read @ matrix.to(read.dtype).T

    def vectors(self, chosen: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen d_writes"]:
        """The chosen latents' decoder rows, at each token's scale."""
        if self._vectors is None:
            assert self.space is not None
            self._vectors = self.space.decoder(self.ids).float() * self._out_scale[self.positions]
        return self._vectors[chosen]

    def read_again(self, read: Float[Tensor, "batch pos d_reads"]) -> Float[Tensor, "batch feature"]:
        """The latents as they are where active, and with a run-time normalisation held."""
        change = read.float() - self._read
        found = self.values.repeat(len(read), 1)
        for position in torch.unique(self.positions).tolist():
            at = (self.positions == position).nonzero()[:, 0]
            found[:, at] += change[:, position] @ self._rows(at).T
        return found

    def _rows(self, chosen: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen d_reads"]:
        ids = self.ids[chosen]
        rows = self._sae.W_enc[:, ids].T.float()
        if (magnitude := getattr(self._sae, "r_mag", None)) is not None:  # gated
            rows = rows * magnitude[ids].float().exp()[:, None]
        if getattr(self._sae.cfg, "rescale_acts_by_decoder_norm", False):
            rows = rows * self._lengths(of=self._sae.W_dec)[ids, None]
        if self._centred:
            rows = rows - rows.mean(-1, keepdim=True)
        scaled: Tensor = rows / self._in_scale[self.positions[chosen]]
        return scaled

    def _lengths(self, of: Tensor | None = None) -> Float[Tensor, " latent"]:
        assert self.space is not None
        every = torch.arange(self.space.n_features, device=self.ids.device)
        lengths: Tensor = (self.space.decoder(every) if of is None else of).float().norm(dim=-1)
        return lengths


def _input_scale(sae: Any, read: Float[Tensor, "pos d_reads"]) -> tuple[Float[Tensor, "pos 1"], bool]:
    """What a run-time normalisation divides the input by, and whether it takes the mean away."""
    kind = sae.cfg.normalize_activations
    if kind in ("none", "expected_average_only_in"):
        return read.new_ones(len(read), 1), False
    centred = kind == "layer_norm"
    inside = read - read.mean(-1, keepdim=True) if centred else read
    normalised = sae.run_time_activation_norm_fn_in(read.to(sae.dtype)).float()
    scale: Tensor = inside.norm(dim=-1, keepdim=True) / normalised.norm(dim=-1, keepdim=True)
    return scale, centred


def _output_scale(space: Dictionary, read: Float[Tensor, "pos d_reads"]) -> Float[Tensor, "pos 1"]:
    """What a run-time normalisation multiplies the decoder's output by."""
    if isinstance(space, TranscoderLatents):
        return read.new_ones(len(read), 1, dtype=torch.float32)
    first = space.decoder(torch.zeros(1, dtype=torch.long, device=read.device))
    along = space.pull_back(read, first.expand_as(read))[:, :1]
    scale: Tensor = (along / first.square().sum()).float()
    return scale


def layer_of(space: ReadableFeatures) -> int:
    """The layer whose MLP a space explains.

    Raises:
        UserError: it explains none, or its features are not linear where they are active.
    """
    if isinstance(space, MlpNeurons):
        return space.site.layer
    if isinstance(space, TranscoderLatents | SaeLatents) and space.target.kind == "mlp_out":
        kind = space.sae.cfg.architecture()
        normalised = space.sae.cfg.normalize_activations
        if kind == "matching_pursuit" or normalised == "covariance_whitening":
            raise UserError(
                f"latents of a dictionary ({kind}, {normalised}) are no linear function of what they read",
                space.name,
                "use one with an encoder matrix",
            )
        return space.target.layer
    raise UserError(
        f"{space.name} does not explain the output of an MLP",
        "spaces of an attribution graph",
        "use MlpNeurons, a transcoder that predicts mlp_out, or an SAE at mlp_out",
    )


def parts_of(
    subject: Subject, layer: int, space: ReadableFeatures | None, activations: dict[Site, Tensor]
) -> LayerParts:
    """Makes a layer's parts from the prompt's activations [pos, width] at its sites."""
    if isinstance(space, MlpNeurons):
        return NeuronParts(space, activations[space.site])
    if isinstance(space, TranscoderLatents | SaeLatents):
        return DictionaryParts(space, activations[space.site], activations[space.target])
    site = Site("mlp_out", layer)
    return LayerParts(layer, site, activations[site])
