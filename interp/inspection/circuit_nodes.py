"""Nodes of a circuit: what taking some out does to the answers, and what is inside of one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.drawing import edge_kind, node_kind
from interp.circuits.edge_attribution import edge_scores
from interp.circuits.gradients import metric_gradients
from interp.circuits.pairs import Pairs
from interp.circuits.patched import patched_logits
from interp.circuits.written import Corrupted, Corruption, last_logits, written_in
from interp.inspection.circuit import Found, check_nodes
from interp.statistics.estimate import Estimate, ratio_interval
from interp.store.rows import Polarity
from interp.subject.passes import Edit
from interp.subject.site import Site

DRAWS, RESAMPLES, ROWS_AT_ONCE, NEURONS = 5, 2000, 32, 10


@dataclass(frozen=True)
class Taken:
    """What a number is with all of a circuit, without some nodes, and by how much that changes it."""

    before: Estimate
    after: Estimate
    change: Estimate


@dataclass(frozen=True)
class Ablation:
    """The mean logits of answers and distractors, and their difference, over `n` pairs of the report half.

    `null` is the change of the difference without as many other nodes of the same kinds, drawn `draws` times:
    mean and range. NaN where there are no others.
    """

    answers: Taken
    distractors: Taken
    difference: Taken
    null: Estimate
    draws: int
    n: int

    @property
    def is_guess(self) -> bool:
        """Whether other nodes of these kinds change the difference as much, or nothing is known of others."""
        value, ends = self.difference.change.value, self.null.ends
        return ends is None or min(0, ends[0]) <= value <= max(0, ends[1])


def ablate(
    found: Found, circuit: Circuit, nodes: Sequence[str], corruption: Corruption, seed: int = 0
) -> Ablation:
    """Takes nodes out of a circuit: all of their edges are corrupted, too, in a run of the model.

    A circuit of all edges is the whole model. Intervals are over groups of pairs.

    Raises:
        UserError: a node does not exist, or writes nothing.
    """
    check_nodes(found, nodes)
    rng = np.random.default_rng(seed)
    others = [
        name for name in circuit.nodes if name not in nodes and name in found.scores.graph.sources and nodes
    ]
    drawn = [_like(nodes, others, rng) for _ in range(DRAWS)]
    sets = [(), tuple(nodes), *dict.fromkeys(one for one in drawn if one)]
    corrupted = Corrupted(found.wiring, found.report, corruption, ROWS_AT_ONCE)
    values: list[list[Float[np.ndarray, "side batch"]]] = [[] for _ in sets]
    for batch in found.report.batches(ROWS_AT_ONCE):
        replaced = corrupted.of(batch, written_in(found.wiring, batch.clean)[0])
        for place, out in enumerate(sets):
            kept = circuit.kept & ~circuit.graph.of_nodes(out)
            logits = patched_logits(found.wiring, batch.clean, kept, replaced)
            sides = [_mean_logits(logits, ids) for ids in (batch.answers, batch.distractors)]
            values[place].append(np.stack(sides))
    before, after, *random = (np.concatenate(one, 1) for one in values)
    groups = np.unique(found.report.groups, return_inverse=True)[1]

    def mean(each: Float[np.ndarray, " pair"]) -> Estimate:
        if groups.max() == 0:
            return Estimate(float(each.mean()))
        return ratio_interval(each, np.ones_like(each), groups, RESAMPLES, seed)

    def taken(one: Float[np.ndarray, " pair"], other: Float[np.ndarray, " pair"]) -> Taken:
        return Taken(mean(one), mean(other), mean(other - one))

    moved = [float((one[0] - one[1] - before[0] + before[1]).mean()) for one in random]
    null = Estimate(float(np.mean(moved)), min(moved), max(moved)) if moved else Estimate()
    return Ablation(
        taken(before[0], after[0]),
        taken(before[1], after[1]),
        taken(before[0] - before[1], after[0] - after[1]),
        null,
        len(moved),
        len(found.report),
    )


@dataclass(frozen=True)
class Neuron:
    """A neuron of an MLP, an estimate of what corrupting it does to the metric, and its activation's sign."""

    index: int
    score: float
    polarity: Polarity


@torch.no_grad()
def neurons(found: Found, layer: int, corruption: Corruption, k: int = NEURONS) -> list[Neuron]:
    """The neurons of an MLP with the largest scores on the half that was chosen on.

    A score is (corrupted - clean activation) . gradient of the metric at the clean prompts, summed over
    positions, mean over pairs (attribution patching, Nanda 2023). The sign is that of the clean activation
    where most of the score comes from.

    Raises:
        UserError: the model's neurons cannot be read.
    """
    site, wiring, pairs = Site("mlp_post", layer), found.wiring, found.choose
    total = torch.zeros(wiring.subject.site_width(site), device=wiring.subject.device)
    signed = torch.zeros_like(total)
    for batch in pairs.batches(ROWS_AT_ONCE):
        kept: list[Tensor] = []
        logits = last_logits(wiring, batch.clean)
        gradients = metric_gradients(wiring, batch, batch.clean, logits, [site], {site: _keep(kept)})
        clean = kept[0].float()
        there = batch.clean.real[..., None]
        if corruption == "pair":
            with wiring.subject.edited({site: _keep(kept)}):
                last_logits(wiring, batch.corrupted)
            other = kept[-1].float()
        elif corruption == "zero":
            other = torch.zeros_like(clean)
        else:
            other = (clean * there).sum((0, 1)) / there.sum()
        share = torch.where(there, (other - clean) * gradients.at[site].float(), 0)
        total = total + share.sum((0, 1))
        signed = signed + (share.abs() * clean).sum((0, 1))
    mean = total / len(pairs)
    best = mean.abs().topk(min(k, len(mean))).indices.tolist()
    return [Neuron(i, float(mean[i]), -1 if signed[i] < 0 else 1) for i in best]


@dataclass(frozen=True, eq=False)
class Reading:
    """The tokens of one pair's clean and corrupted prompt, and the score at each of what a node reads there.

    For a head that is what its values are made of, for an MLP its input.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    scores: Float[np.ndarray, " pos"]


def reading(found: Found, node: str, corruption: Corruption, row: int = 0) -> Reading:
    """Scores the edges into a node at each position of one pair (`edge_scores` with positions, EAP).

    Raises:
        UserError: there is no such node, or it reads nothing.
    """
    check_nodes(found, [node])
    pair = _alone(found, row)
    graph = found.scores.graph
    scores = edge_scores(found.wiring, pair, "eap", corruption=corruption, positions=True)
    readers = graph.feeds[:, graph.nodes.index(node)]
    wanted = torch.tensor([edge_kind(f"->{name}") in ("v", "mlp") for name in graph.readers]) & readers
    values = scores.values[:, :, wanted].sum((1, 2))
    clean, corrupted = (prompts.tokens[0].tolist() for prompts in (pair.clean, pair.corrupted))
    return Reading(tuple(clean), tuple(corrupted), values.numpy())


def _alone(found: Found, row: int) -> Pairs:
    """One pair without the padding that others need."""
    one = found.pairs.select([row])
    clean, corrupted = (prompts.tokens[prompts.real][None] for prompts in (one.clean, one.corrupted))
    return Pairs.of(found.wiring.subject, clean, corrupted, one.answers, one.distractors, one.metric)


def _like(nodes: Sequence[str], others: Iterable[str], rng: np.random.Generator) -> tuple[str, ...]:
    """As many other nodes of each kind, drawn; none if there are too few."""
    left = [str(name) for name in rng.permutation(list(others))]
    found = []
    for kind in map(node_kind, nodes):
        name = next((one for one in left if node_kind(one) == kind), None)
        if name is None:
            return ()
        left.remove(name)
        found.append(name)
    return tuple(sorted(found))


def _keep(kept: list[Tensor]) -> Edit:
    def look(activation: Tensor) -> Tensor:
        kept.append(activation.detach())
        return activation

    return look


def _mean_logits(
    logits: Float[Tensor, "batch d_vocab"], ids: Sequence[Sequence[int]]
) -> Float[np.ndarray, " batch"]:
    found = [row[list(tokens)].mean() for row, tokens in zip(logits.double(), ids, strict=True)]
    values: np.ndarray = torch.stack(found).cpu().numpy()
    return values
