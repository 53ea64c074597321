"""A model's wiring: the weights and norms with which its parts write to and read from the residual stream."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.graph import Graph
from interp.errors import UserError
from interp.subject.frozen_norm import FrozenNorm
from interp.subject.passes import Edit
from interp.subject.reader import InputPoint, Part, Reader
from interp.subject.site import Site, SiteKind
from interp.subject.subject import Subject
from interp.subject.writer import Writer

START = Site("resid_pre", 0)
PARTS: tuple[Part, ...] = ("q", "k", "v", "mlp")
PROBE_LENGTH = 6  # tokens; any text shows how the parts are wired


@dataclass(frozen=True, eq=False)
class Wiring:
    """A subject's graph, what its heads write with, and what its readers read through.

    `heads` is one writer for each layer; `readers` has the four parts of each layer. The stream that the
    logits read is `resid_post` of the last layer.
    """

    subject: Subject
    graph: Graph
    heads: tuple["HeadWriter", ...]
    readers: Mapping[InputPoint, Reader]

    @classmethod
    @torch.no_grad()
    def of(cls, subject: Subject) -> "Wiring":
        """Finds a model's wiring, and holds it to the model's own activations in one short pass.

        A layer's attention reads `resid_pre`, its MLP `resid_mid` or, in parallel layers, `resid_pre`,
        through a norm of the layer or none: what gives the model's own input is the reader.

        Raises:
            UserError: the residual stream is no sum; or an input, or what the heads write, is not explained.
        """
        writers = {
            writer.site.layer: writer for writer in subject.writers() if writer.site.kind == "attn_out"
        }
        inputs, streams = _one_pass(subject)
        readers = {}
        for point, own in inputs.items():
            candidates = _candidates(subject, point, streams)
            found = next((one for one in candidates if _gives(one, streams, own)), None)
            if found is None:
                raise _unexplained(subject, f"how {point} reads the residual stream is not known")
            readers[point] = found
        heads = []
        for layer in range(subject.n_layers):
            heads.append(HeadWriter.of(writers[layer], subject.n_heads))
            z, out = streams[Site("head_out", layer)], streams[Site("attn_out", layer)]
            written = heads[-1].vectors(heads[-1].scaled(z)).sum(2) + heads[-1].constant(z)
            if not _close(written, out):
                raise _unexplained(subject, f"the heads of layer {layer} do not add up to its attention")
        mlps = [readers[InputPoint("mlp", layer)] for layer in range(subject.n_layers)]
        groups = readers[InputPoint("k", 0)].n_heads
        parallel = mlps[0].site.kind == "resid_pre"
        alike = all((one.site.kind == "resid_pre") == parallel for one in mlps)
        grouped = all(r.n_heads == groups for p, r in readers.items() if p.part in ("k", "v"))
        if not (alike and grouped and subject.n_heads % groups == 0):
            raise _unexplained(subject, "its layers are not alike")
        graph = Graph(subject.n_layers, subject.n_heads, groups, parallel)
        return cls(subject, graph, tuple(heads), readers)

    @property
    def end(self) -> Site:
        """The stream that the logits read."""
        return Site("resid_post", self.subject.n_layers - 1)


@dataclass(frozen=True, eq=False)
class HeadWriter:
    """What a layer's heads add to the residual stream: z / scale @ `weight`, [head, d_head, d_model].

    z is the activation at `head_out`. The scale is 1, or that of a norm after the output matrix (Gemma 2 and
    3, OLMo 2), which in a given run is a number for each token, so that the heads' shares add up.
    """

    writer: Writer
    weight: Float[Tensor, "head d_head d_model"]
    norm: FrozenNorm | None

    @classmethod
    def of(cls, writer: Writer, n_heads: int) -> "HeadWriter":
        """Takes the output matrix of a layer's attention."""
        matrix, norm = writer.unscaled(), None
        if writer.norm is not None:
            norm = FrozenNorm.of(writer.norm, matrix.shape[1], matrix.device, matrix.dtype)
        return cls(writer, matrix.view(n_heads, -1, matrix.shape[1]), norm)

    def scaled(self, z: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos head d_head"]:
        """Divides the heads' outputs by the scale of the norm after them."""
        return z if self.norm is None else (z.float() / self._scale(z)[..., None, None]).to(z.dtype)

    def vectors(
        self, scaled: Float[Tensor, "batch pos head d_head"]
    ) -> Float[Tensor, "batch pos head d_model"]:
        """Computes what each head adds to the residual stream."""
        return torch.einsum("bphe,hed->bphd", scaled, self.weight)

    def constant(self, z: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "*batch d_model"]:
        """What the layer's biases add to the residual stream; no head's."""
        offset = self.writer.offset()
        added = z.new_zeros(self.weight.shape[-1]) if offset is None else offset
        if self.norm is None:
            return self.writer.scale * added
        return self.norm.linear(added.float()) / self._scale(z)[..., None] + self.norm.bias

    def _scale(self, z: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos"]:
        assert self.norm is not None
        offset = self.writer.offset()
        output = z.flatten(2).float() @ self.writer.matrix().float()
        output = output if offset is None else output + offset.float()
        return self.norm.scale(output.flatten(0, 1)).view(z.shape[:2])


def _one_pass(subject: Subject) -> tuple[dict[InputPoint, Tensor], dict[Site, Tensor]]:
    """Runs a few tokens, and keeps what every part has read and what is at the sites around it."""
    inputs: dict[InputPoint, Tensor] = {}
    streams: dict[Site, Tensor] = {}
    points = [InputPoint(part, layer) for layer in range(subject.n_layers) for part in PARTS]
    sites = [
        Site(kind, layer)
        for layer in range(subject.n_layers)
        for kind in ("resid_pre", "resid_mid", "head_out", "attn_out")
        if kind != "resid_mid" or _has(subject, Site(kind, layer))
    ]

    def keep(kept: dict[Any, Tensor], place: InputPoint | Site) -> Edit:
        def look(activation: Tensor) -> Tensor:
            kept[place] = activation
            return activation

        return look

    ordinary = [i for i in range(subject.d_vocab) if i not in subject.special_ids][:PROBE_LENGTH]
    tokens = torch.tensor([subject.with_bos(ordinary)])
    with (
        subject.unedited(),
        subject.inputs_edited({point: keep(inputs, point) for point in points}),
        subject.edited({site: keep(streams, site) for site in sites}),
    ):
        subject.logits_at(tokens, torch.tensor([tokens.shape[1] - 1]))
    return inputs, streams


def _candidates(subject: Subject, point: InputPoint, streams: Mapping[Site, Tensor]) -> Iterator[Reader]:
    """Yields the ways in which a part may read the residual stream."""
    weight, bias = (None, None) if point.part == "mlp" else subject.input_weight(point)
    kinds: tuple[SiteKind, ...] = ("resid_mid", "resid_pre") if point.part == "mlp" else ("resid_pre",)
    for site in (Site(kind, point.layer) for kind in kinds):
        if site in streams:
            for norm in subject.input_norms(point.layer):
                frozen = FrozenNorm.of(norm, subject.d_model, subject.device, subject.dtype)
                yield Reader(point, site, norm, frozen, weight, bias)
            yield Reader(point, site, None, None, weight, bias)


def _gives(reader: Reader, streams: Mapping[Site, Tensor], model_input: Tensor) -> bool:
    """Whether a reader computes the model's own input."""
    stream = streams[reader.site]
    read = reader.read(stream[:, :, None].expand(*stream.shape[:2], reader.n_heads, -1))
    return read.shape == model_input.shape and _close(read, model_input)


def _close(found: Tensor, own: Tensor) -> bool:
    tolerance: float = torch.finfo(own.dtype).eps ** 0.5
    return float((found - own).abs().max()) <= tolerance * float(own.abs().max())


def _has(subject: Subject, site: Site) -> bool:
    try:
        return subject.site_width(site) > 0
    except UserError:
        return False


def _unexplained(subject: Subject, what: str) -> UserError:
    return UserError(
        f"{what} in {subject.info.architecture}",
        f"circuits of {subject.name}",
        "use the other backend, or attribution (interp.attribute), which needs no graph",
    )
