"""Gradients of a metric at what parts read, or at what they write, in one pass forward and one back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.passes import check_gradient, gradients_by
from interp.circuits.pairs import Pairs
from interp.circuits.wiring import Wiring
from interp.circuits.written import last_logits
from interp.subject.forward import ForwardPass
from interp.subject.passes import Edit
from interp.subject.reader import InputPoint
from interp.subject.site import Site


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of the sum of a batch's metrics, in the shapes of the activations; and the streams there.

    `streams` are the residual streams that parts read, by site.
    """

    at: dict[InputPoint | Site, Tensor]
    streams: dict[Site, Tensor]


@torch.enable_grad()
def metric_gradients(
    wiring: Wiring,
    pairs: Pairs,
    prompts: ForwardPass,
    clean_logits: Float[Tensor, "batch d_vocab"],
    points: Sequence[InputPoint | Site],
    edits: Mapping[Site, Edit] | None = None,
) -> Gradients:
    """Runs prompts forward, under edits, and back from the pairs' metric to the points.

    A gradient counts every path from its point to the metric. Zero where there is none.

    Raises:
        UserError: a gradient is not finite.
    """
    kept: dict[InputPoint | Site, Tensor] = {}
    streams: dict[Site, Tensor] = {}

    def keep(point: InputPoint | Site) -> Edit:
        def look(activation: Tensor) -> Tensor:
            inside = activation.requires_grad
            kept[point] = activation.view_as(activation) if inside else activation.detach().requires_grad_()
            return kept[point]

        return look

    def stream(site: Site) -> Edit:
        def look(activation: Tensor) -> Tensor:
            streams[site] = activation.detach()
            return activation

        return look

    subject = wiring.subject
    inputs = [point for point in points if isinstance(point, InputPoint)]
    read = {wiring.readers[point].site for point in inputs}
    with (
        subject.edited(edits or {}),
        subject.edited({site: stream(site) for site in read}),
        subject.edited({point: keep(point) for point in points if isinstance(point, Site)}),
        subject.inputs_edited({point: keep(point) for point in inputs}),
    ):
        value = pairs.value(last_logits(wiring, prompts), clean_logits)
    found = dict(zip(kept, gradients_by(value, list(kept.values())), strict=True))
    for point, gradient in found.items():
        check_gradient(subject, str(point), gradient, prompts)
    return Gradients(found, streams)


def moved(change: Float[Tensor, "batch pos d_model"], share: float) -> Edit:
    """The edit that adds a share of a change."""
    return lambda activation: activation + share * change
