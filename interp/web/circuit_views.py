"""What the page Circuits is told, as plain JSON values."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from interp.circuits.drawing import circuit_json, node_kind, to_svg
from interp.inspection.circuit import FEWEST_GROUPS, LEVEL, Found
from interp.inspection.circuit_nodes import Ablation, Neuron, Reading
from interp.inspection.feature_graph import FoundGraph, LogitChange, diagram, said, stored_key
from interp.monitor.knowledge import Knowledge
from interp.statistics.estimate import Estimate
from interp.store.rows import FeatureRow
from interp.subject.subject import Subject
from interp.web.views import Json, known_view

EXAMPLES = 3
WIDE = 620
"""Pixels of a drawing."""


def found_view(subject: Subject, found: Found) -> Json:
    """What was found: the curve, the size that was chosen, and some of the pairs."""
    pairs = found.report
    return {
        "n_choose": len(found.choose),
        "n_report": len(pairs),
        "alike": found.alike,
        "fewest": FEWEST_GROUPS,
        "level": LEVEL,
        "n_edges": found.wiring.graph.n_edges,
        "sizes": list(found.sizes),
        "size": found.size,
        "curve": found.rows,
        "metric": {"name": pairs.metric, **found.metric},
        "method": found.scores.method,
        "examples": [_pair(subject, found, row) for row in range(min(EXAMPLES, len(found.pairs)))],
        "top": found.scores.table(12).to_dict("records"),
    }


def _pair(subject: Subject, found: Found, row: int) -> Json:
    pairs = found.pairs
    prompts = {
        name: subject.decode(one.tokens[row][one.real[row]].tolist()[int(bool(subject.with_bos([]))) :])
        for name, one in (("clean", pairs.clean), ("corrupted", pairs.corrupted))
    }
    words = {
        name: [text.strip() for text in subject.token_strings(list(ids[row])[:10])]
        for name, ids in (("answers", pairs.answers), ("distractors", pairs.distractors))
    }
    return {**prompts, **words}


def circuit_view(found: Found, size: int, width: int = WIDE) -> Json:
    """The circuit of a size: its nodes and edges, and its drawing."""
    circuit = found.circuit(size)
    return {
        "size": size,
        "svg": str(to_svg(circuit, found.scores, width=width)),
        **circuit_json(circuit, found.scores),
    }


def ablation_view(found: Ablation) -> Json:
    """What taking nodes out did."""
    return {
        **{name: _taken(getattr(found, name)) for name in ("answers", "distractors", "difference")},
        "null": estimate_view(found.null),
        "guess": found.is_guess,
        "draws": found.draws,
        "n": found.n,
    }


def _taken(taken: Any) -> Json:
    return {name: estimate_view(getattr(taken, name)) for name in ("before", "after", "change")}


def estimate_view(estimate: Estimate) -> list[float | None]:
    """The value and the ends of its interval; None where they are unknown."""
    ends = estimate.ends or (None, None)
    return [estimate.point, *ends]


def reading_view(subject: Subject, node: str, found: Reading) -> Json:
    """Tokens of a pair with the score of what a node reads at each."""
    texts = subject.token_strings(list(found.clean)), subject.token_strings(list(found.corrupted))
    return {
        "kind": node_kind(node),
        "tokens": [
            {"id": one, "text": text, "instead": other, "special": one in subject.special_ids}
            for one, text, other in zip(found.clean, *texts, strict=True)
        ],
        "scores": [float(f"{value:.4g}") for value in found.scores],
    }


def neurons_view(knowledge: Knowledge, space: str, found: Sequence[Neuron]) -> list[Json]:
    """Neurons with their scores and what the stores know of them."""
    keys = [FeatureRow(space, one.index, one.polarity).key for one in found]
    known = knowledge.of(keys)
    return [
        {"key": key, "effect": one.score, **known_view(known[key])}
        for key, one in zip(keys, found, strict=True)
    ]


def graph_view(found: FoundGraph) -> Json:
    """An attribution graph: the nodes that are left, with their edges and the drawing."""
    graph, kept = found.graph, found.kept
    edges = found.pruned.edges.nonzero().tolist()
    drawing = diagram(found)
    return {
        "words": list(graph.words),
        "n_active": graph.n_active,
        "n_features": int(graph.of_kind("feature").sum()),
        "share": found.share,
        "scores": asdict(found.scores),
        "svg": str(drawing.layout(WIDE).svg(f"An attribution graph of {len(kept)} nodes")),
        "nodes": [
            {
                "name": node.key,
                "kind": node.kind,
                "layer": node.layer,
                "position": node.position,
                "value": node.value,
                "probability": node.probability,
                "says": said(node),
                "key": stored_key(node) if node.kind == "feature" else None,
            }
            for node in (graph.nodes[place] for place in kept)
        ],
        "edges": [
            {
                "source": graph.nodes[source].key,
                "target": graph.nodes[target].key,
                "score": float(f"{float(graph.adjacency[target, source]):.4g}"),
            }
            for target, source in edges
        ],
    }


def removed_view(found: Sequence[LogitChange]) -> list[Json]:
    """Logits before and after features were removed."""
    return [
        {
            "word": one.word,
            "before": one.before,
            "after": one.after,
            "predicted": one.predicted,
            "null": estimate_view(one.null),
            "guess": one.is_guess,
        }
        for one in found
    ]
