"""The attribution graph of one prompt: what its features add to each other and to the next token's logits."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interp.circuits.attribution_graphs.build import attribution_graph
from interp.circuits.attribution_graphs.graph import AttributionGraph, Node
from interp.circuits.attribution_graphs.interventions import intervene
from interp.circuits.attribution_graphs.layers import layer_of
from interp.circuits.attribution_graphs.neuronpedia import GraphFile, graph_file
from interp.circuits.attribution_graphs.pruning import GraphScores, Pruned, prune, scores
from interp.circuits.attribution_graphs.supernodes import described
from interp.circuits.diagram import Arrow, Box, Diagram
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.space import ReadableFeatures
from interp.fields import Line, Listed, PositiveFraction, Section, Text
from interp.inspection.lens import text_ids
from interp.monitor.bench import Bench
from interp.render.characters import shortened
from interp.render.digits import significant
from interp.statistics.estimate import Estimate
from interp.store.rows import FeatureRow
from interp.track.progress import Progress

Kind = Literal["neurons", "latents"]
MOST_FEATURES, MOST_DRAWN, DRAWS, KEPT = 2000, 80, 5, 4
"""Features of a graph, those of them that are drawn, random draws beside an intervention, graphs kept."""
MOST_OF_A_LABEL = 20


class GraphQuestion(Section):
    """A prompt, words whose logits are explained (none: the likeliest), the features, and how many of them.

    `share` is the share of all influence on the logits that the nodes shown have.
    """

    prompt: Text
    targets: Annotated[Listed[Annotated[Line, Field(min_length=1, max_length=200)]], Field(max_length=8)] = ()
    kind: Kind = "neurons"
    share: PositiveFraction = 0.8


@dataclass(frozen=True, eq=False)
class FoundGraph:
    """A graph with descriptions, what is left of it after pruning, and how much features explain of it.

    `share` is the share of influence that the nodes left have: less than asked if that were too many nodes.
    """

    spaces: tuple[ReadableFeatures, ...]
    graph: AttributionGraph
    pruned: Pruned
    scores: GraphScores
    share: float

    @property
    def kept(self) -> list[int]:
        """The places of the nodes that are left."""
        return [int(place) for place in self.pruned.nodes.nonzero()[:, 0]]


@dataclass(frozen=True)
class LogitChange:
    """A logit on the prompt, with some features removed, and what the graph's edges say it would be.

    Less the mean of all logits. `null` is the range of changes without as many other features of the graph.
    """

    word: str
    before: float
    after: float
    predicted: float
    null: Estimate

    @property
    def is_guess(self) -> bool:
        """Whether other features change it as much."""
        ends = self.null.ends
        return ends is None or min(0, ends[0]) <= self.after - self.before <= max(0, ends[1])


@dataclass
class FeatureGraphs:
    """Makes attribution graphs on a bench, and keeps the last few."""

    bench: Bench
    _kept: OrderedDict[str, FoundGraph] = field(default_factory=OrderedDict)

    @property
    def kinds(self) -> dict[Kind, tuple[ReadableFeatures, ...]]:
        """The spaces that can explain MLPs, one for each layer: its neurons, and the first dictionary."""
        found: dict[Kind, dict[int, ReadableFeatures]] = {"neurons": {}, "latents": {}}
        for space in self.bench.all_spaces:
            try:
                layer = layer_of(space)
            except UserError:
                continue
            kind: Kind = "neurons" if isinstance(space, MlpNeurons) else "latents"
            found[kind].setdefault(layer, space)
        return {kind: tuple(spaces.values()) for kind, spaces in found.items() if spaces}

    def find(self, question: GraphQuestion, progress: Progress | None = None) -> FoundGraph:
        """Makes the graph of a prompt, prunes it, and looks its features up in the stores.

        Raises:
            UserError: there are no such features, or the prompt or a target does not fit the model.
        """
        key = question.model_dump_json()
        if key not in self._kept:
            self._kept[key] = self._find(question, progress)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _find(self, question: GraphQuestion, progress: Progress | None) -> FoundGraph:
        spaces = self.kinds.get(question.kind)
        if not spaces:
            raise UserError(
                f"no {question.kind} here explain what MLPs write",
                "features",
                "serve the model with neurons, transcoders, or SAEs at mlp_out",
            )
        subject = self.bench.subject
        text_ids(subject, question.prompt, False)  # raises what is wrong with the text
        graph = attribution_graph(
            subject, question.prompt, spaces, targets=question.targets or None, max_logits=5,
            max_features=MOST_FEATURES, progress=progress,
        )  # fmt: skip
        known = described(graph, self.bench.knowledge)
        share = question.share
        while True:
            pruned = prune(known, nodes=share)
            n_features = int((pruned.nodes & known.of_kind("feature", "error")).sum())
            if n_features <= MOST_DRAWN:
                return FoundGraph(spaces, known, pruned, scores(known), share)
            share *= 0.9

    def remove(self, found: FoundGraph, keys: Sequence[str], seed: int = 0) -> list[LogitChange]:
        """Sets features to zero on the prompt, in the model itself; all else follows from that.

        Raises:
            UserError: a key is no node, or no feature.
        """
        graph = found.graph
        others = [n.key for n in graph.nodes if n.kind == "feature" and n.key not in keys]
        rng = np.random.default_rng(seed)
        sets = [list(keys)]
        if keys and len(others) >= len(keys):
            sets += [[str(key) for key in rng.choice(others, len(keys), False)] for _ in range(DRAWS)]
        effects = intervene(
            self.bench.subject, found.spaces, graph, [dict.fromkeys(one, 0.0) for one in sets]
        )
        actual, total = (effects.logits(part).tolist() for part in ("actual", "total"))
        logits = [node for node in graph.nodes if node.kind == "logit"]
        return [
            LogitChange(
                node.label,
                node.value,
                node.value + actual[0][place],
                node.value + total[0][place],
                _null([row[place] for row in actual[1:]]),
            )
            for place, node in enumerate(logits)
        ]


def file_of(found: FoundGraph) -> GraphFile:
    """The graph as a file of Neuronpedia's."""
    return graph_file(found.pruned, "graph")


def diagram(found: FoundGraph) -> Diagram:
    """Draws what is left of a graph: layers are rows, the prompt's tokens columns."""
    graph, kept = found.graph, found.kept
    n_layers = max(graph.nodes[place].layer for place in kept)
    boxes = [_box(graph.nodes[place]) for place in kept]
    targets, sources = found.pruned.edges.nonzero(as_tuple=True)
    arrows = []
    for target, source in zip(targets.tolist(), sources.tolist(), strict=True):
        one, other, effect = (
            graph.nodes[source], graph.nodes[target], float(graph.adjacency[target, source])
        )  # fmt: skip
        says = f"{said(one)} adds {significant(effect)} to {said(other)}"
        arrows.append(Arrow(f"{one.key}->{other.key}", one.key, other.key, "edge", effect, says))
    rows = ("tokens", *(f"layer {layer}" for layer in range(n_layers)), "logits")
    return Diagram(boxes, arrows, rows)


def stored_key(node: Node) -> str:
    """A feature's key in stores: of its negative side where its activation is negative."""
    return FeatureRow(node.space, node.feature, -1 if node.value < 0 else 1).key


def said(node: Node) -> str:
    """A node in words: its description or its key."""
    match node.kind:
        case "feature":
            key = stored_key(node)
            return f"{key} “{node.label}”" if node.label else key
        case "error":
            return f"what the features of layer {node.layer} leave out at token {node.position}"
        case "embedding":
            return f"the token “{node.label.strip()}”"
    return f"the logit of “{node.label.strip()}”"


def _box(node: Node) -> Box:
    label = node.label.strip() or node.key
    role, label = {
        "feature": ("b", node.label or stored_key(node)),
        "error": ("null", "error"),
    }.get(node.kind, ("muted", label))
    if node.kind == "feature" and node.space.startswith("mlp."):
        role = "a"
    says = said(node) + ("" if node.kind in ("error", "embedding") else f": {significant(node.value)}")
    row = 0 if node.kind == "embedding" else node.layer + 1
    return Box(node.key, shortened(label, MOST_OF_A_LABEL), row, node.kind, 0, node.position, says, role)


def _null(values: Sequence[float]) -> Estimate:
    if not values:
        return Estimate()
    return Estimate(float(np.mean(values)), min(values), max(values))
