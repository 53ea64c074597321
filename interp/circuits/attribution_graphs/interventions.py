"""Changes what nodes of a graph write, and compares what happens with what the graph predicts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.agreement import AgreementReport, agreement
from interp.circuits.attribution_graphs.graph import AttributionGraph
from interp.circuits.attribution_graphs.layers import LayerParts
from interp.circuits.attribution_graphs.replacement import Replacement
from interp.circuits.attribution_graphs.targets import logits_of
from interp.errors import UserError
from interp.features.space import ReadableFeatures
from interp.subject.passes import Edit
from interp.subject.site import Site
from interp.subject.subject import Subject

Hold = Literal["everything", "attention", "nothing"]
"""What an intervention leaves as it was on the prompt.

`everything`: attention, norms' scales, and what all MLPs write, so that only direct effects are seen.
`attention`: the attention patterns. `nothing`: the model itself answers.
"""


@dataclass(frozen=True, eq=False)
class Effects:
    """How features and logits of a graph changed, for each intervention.

    `places` are the nodes in the graph, first features and then logits. `actual` is their change: of
    features' activations (with everything held: of the linear function that is one where it is active), of
    logits less the mean of all, before a soft cap. `direct` is the change that the graph's edges from the
    changed nodes predict, `total` that of all paths, with features that stay linear. `changed` marks the
    nodes that were changed themselves; their own entries say what they would have been.
    """

    graph: AttributionGraph
    places: tuple[int, ...]
    actual: Float[Tensor, "intervention node"]
    direct: Float[Tensor, "intervention node"]
    total: Float[Tensor, "intervention node"]
    changed: Float[Tensor, "intervention node"]

    def logits(self, part: Literal["actual", "direct", "total"]) -> Float[Tensor, "intervention logit"]:
        """The changes of the logits alone."""
        n = int(self.graph.of_kind("logit").sum())
        found: Tensor = getattr(self, part)[:, -n:]
        return found

    def agreement(
        self,
        part: Literal["direct", "total"] = "total",
        *,
        logits_only: bool = False,
        seed: int = 0,
        draws: int = 200,
    ) -> AgreementReport:
        """Compares predicted with actual changes of all nodes but those changed themselves, or of logits.

        Intervals resample interventions `draws` times; the null is the prediction in random order. Entries
        that the graph says cannot change, such as those of earlier layers, are left out.

        Raises:
            UserError: fewer than two entries are left.
        """
        predicted = getattr(self, part)
        counts = (predicted != 0) & (self.changed == 0)
        if logits_only:
            counts &= self.graph.of_kind("logit")[list(self.places)]
        rows = torch.arange(len(counts))[:, None].expand_as(counts)
        return agreement(
            predicted[counts].double().numpy(),
            self.actual[counts].double().numpy(),
            cluster=rows[counts].numpy().astype(np.int64),
            seed=seed,
            draws=draws,
        )


def predicted_changes(
    graph: AttributionGraph, factors: Sequence[Mapping[str, float]]
) -> tuple[Float[Tensor, "intervention node"], Float[Tensor, "intervention node"]]:
    """What the graph predicts if nodes write `factor` times what they do: directly, and along all paths.

    Effects are linear: a source that writes f times as much adds (f - 1) times its edge. On a path, a
    feature's relative change is that of its value; changed nodes keep what they were set to.

    Raises:
        UserError: the graph has no such node, or it is a logit or the biases.
    """
    change = torch.zeros(len(factors), len(graph.nodes))
    for row, one in enumerate(factors):
        for key, factor in one.items():
            place = graph.place(key)
            if graph.nodes[place].kind in ("logit", "bias"):
                raise UserError(
                    f"{key} writes nothing that can be changed", "intervention", "change features"
                )
            change[row, place] = factor - 1
    adjacency = graph.adjacency
    direct = change @ adjacency.T
    relative = torch.where(graph.of_kind("feature"), 1 / graph.values, 0).nan_to_num(0, 0, 0)
    step, total = direct, torch.zeros_like(direct)
    for _ in range(len(graph.nodes)):
        if not step.any():
            break
        total = total + step
        step = (step * relative * (change == 0)) @ adjacency.T
    return direct, total


def intervene(
    subject: Subject,
    spaces: Sequence[ReadableFeatures],
    graph: AttributionGraph,
    factors: Sequence[Mapping[str, float]],
    *,
    hold: Hold = "nothing",
    batch_size: int = 64,
) -> Effects:
    """Makes nodes write `factor` times what they do on the prompt, once for each mapping of keys to factors.

    0 removes a feature, -2 writes it the other way round, twice. With everything held, errors and
    embeddings can be changed, too, and actual changes are those that the edges say, up to rounding.
    Otherwise a feature is set to `factor` times its activation on the prompt, in the model itself, and all
    else follows from that: later features, attention (unless held), and norms.

    `spaces` and `subject` are those that the graph was made with.

    Raises:
        UserError: they are others, or a node is unknown, or cannot be changed this way.
    """
    if hold not in get_args(Hold):
        raise UserError(f"{hold!r} says not what to hold", "hold", f"use one of {', '.join(get_args(Hold))}")
    direct, total = predicted_changes(graph, factors)
    kinds = {graph.nodes[graph.place(key)].kind for one in factors for key in one}
    if hold != "everything" and kinds - {"feature"}:
        raise UserError("only features can be set in the model itself", "hold", "hold everything")
    model = _replacement(subject, spaces, graph)
    change = torch.zeros(len(factors), len(graph.nodes))
    for row, one in enumerate(factors):
        for key, factor in one.items():
            change[row, graph.place(key)] = factor - 1
    places = graph.of_kind("feature", "logit").nonzero()[:, 0]
    apply = _Held(model, graph) if hold == "everything" else _Free(model, graph, hold == "attention")
    with torch.no_grad(), apply.block():
        clean = apply.values(torch.zeros(1, len(graph.nodes)))
        parts = [apply.values(part) - clean for part in torch.split(change, batch_size)]
    return Effects(
        graph,
        tuple(places.tolist()),
        torch.cat(parts),
        direct[:, places],
        total[:, places],
        change[:, places],
    )


def _replacement(
    subject: Subject, spaces: Sequence[ReadableFeatures], graph: AttributionGraph
) -> Replacement:
    """The graph's replacement model, with the graph's features alone."""
    if [space.name for space in spaces] != list(graph.settings["spaces"]) or subject.name != graph.model:
        raise UserError("subject or spaces are not those of the graph", "intervention", "give the same")
    tokens = torch.tensor([graph.tokens])
    model = Replacement(
        subject, tokens, spaces, rule=graph.settings["rule"], first=graph.settings["constant_positions"]
    )
    for part in model.parts:
        wanted = {
            (n.position, n.feature) for n in graph.nodes if n.kind == "feature" and n.layer == part.layer
        }
        pairs = zip(part.positions.tolist(), part.ids.tolist(), strict=True)
        part.keep(torch.tensor([pair in wanted for pair in pairs], dtype=torch.bool, device=part.ids.device))
    if sum(len(part.ids) for part in model.parts) != int(graph.of_kind("feature").sum()):
        raise UserError(
            "features of the graph are not active on its prompt", "intervention", "give the same spaces"
        )
    return model


class _Applied:
    """Runs interventions; features of `model` are the graph's, in its order."""

    def __init__(self, model: Replacement, graph: AttributionGraph) -> None:
        self.model, self.graph = model, graph
        ids = [node.feature for node in graph.nodes if node.kind == "logit"]
        self.logits = logits_of(model.subject, model.tokens, model.normed[-1], ids, len(ids), 1.0)
        self.of_feature = graph.of_kind("feature").nonzero()[:, 0]
        self.counts = [len(part.ids) for part in model.parts]

    def by_part(
        self, change: Float[Tensor, "row node"]
    ) -> Iterator[tuple[LayerParts, Float[Tensor, "row feature"]]]:
        """The relative changes of each layer's features."""
        features = change[:, self.of_feature].to(self.model.embedded.device)
        yield from zip(self.model.parts, torch.split(features, self.counts, dim=1), strict=True)

    def joined(self, found: Sequence[Tensor], normed: Tensor) -> Float[Tensor, "row place"]:
        """Features' and logits' values, in the order of the graph."""
        return torch.cat([*(each.float() for each in found), self.logits.of(normed[:, -1])], 1).cpu()


class _Held(_Applied):
    def block(self) -> AbstractContextManager[None]:
        return self.model.held()

    def values(self, change: Float[Tensor, "row node"]) -> Float[Tensor, "row place"]:
        graph, model, device = self.graph, self.model, self.model.embedded.device
        written = {}
        first = graph.settings["constant_positions"]
        errors = change[:, graph.of_kind("error")].view(len(change), len(model.parts), -1).to(device)
        embeddings = change[:, graph.of_kind("embedding")].to(device)
        for part, features in self.by_part(change):
            rows, places = features.nonzero(as_tuple=True)
            added = part.base.new_zeros(len(change), *part.base.shape)
            error = part.base - part.explained() - part.fixed
            added[:, first:] += errors[:, part.layer, :, None] * error[first:]
            if len(rows):
                scaled = (features[rows, places] * part.values[places])[:, None] * part.vectors(places)
                added.index_put_((rows, part.positions[places]), scaled, accumulate=True)
            written[part.layer] = part.base + added
        run = model.run(model.embedded * (1 + embeddings[..., None]), written)
        parts = [part for part in model.parts if part.space is not None]
        return self.joined([part.read_again(run.reads[part.layer].float()) for part in parts], run.normed)


class _Free(_Applied):
    def __init__(self, model: Replacement, graph: AttributionGraph, attention: bool) -> None:
        super().__init__(model, graph)
        self._attention = attention

    def block(self) -> AbstractContextManager[None]:
        subject, tokens = self.model.subject, self.model.tokens
        return subject.linearised(tokens, norms=False) if self._attention else nullcontext()

    def values(self, change: Float[Tensor, "row node"]) -> Float[Tensor, "row place"]:
        subject, reads = self.model.subject, dict[int, Tensor]()
        with ExitStack() as edits:
            for part, features in self.by_part(change):
                if part.space is not None:
                    edits.enter_context(subject.edited(_setting(part, features, reads)))
            normed = subject.normed(self.model.tokens.expand(len(change), -1))
        parts = [part for part in self.model.parts if part.space is not None]
        return self.joined([_now(part, reads[part.layer]) for part in parts], normed)


def _now(part: LayerParts, read: Float[Tensor, "row pos d_reads"]) -> Float[Tensor, "row feature"]:
    """The activations of a layer's features in another pass."""
    assert part.space is not None
    return part.space.encode(read)[:, part.positions, part.ids]


def _setting(
    part: LayerParts, change: Float[Tensor, "row feature"], reads: dict[int, Tensor]
) -> dict[Site, Edit]:
    """Edits that set changed features to their activation on the prompt times one plus the change."""
    rows, places = change.nonzero(as_tuple=True)
    wanted = part.values[places] * (1 + change[rows, places])

    def keep(activation: Tensor) -> Tensor:
        reads[part.layer] = activation
        return activation

    def write(activation: Tensor) -> Tensor:
        if part.reads == part.writes:
            reads[part.layer] = activation
        if not len(rows):
            return activation
        assert part.space is not None
        at = part.positions[places]
        read = reads[part.layer][rows, at]
        now = part.space.encode(read).gather(-1, part.ids[places, None])[:, 0].float()
        added = (wanted - now)[:, None] * part.vectors(places)
        return activation.index_put((rows, at), added.to(activation.dtype), accumulate=True)

    found: dict[Site, Edit] = {} if part.reads == part.writes else {part.reads: keep}
    return found | {part.writes: write}
