"""Function vectors: a task as the sum of a few attention heads' outputs at the end of its examples.

Todd et al. 2023, "Function Vectors in Large Language Models" (arXiv 2310.15213).
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.causal.outcome import ask
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.intervene.by_rows import ByRows
from interp.intervene.edit import PositionEdit
from interp.intervene.positions import Positions
from interp.subject.forward import ForwardPass, Intervention
from interp.subject.read_at import read_at
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.vector import Vector

Head = tuple[int, int]
"""A layer and a head in it, both from 0."""


class ReplaceHeads(PositionEdit):
    """Sets some heads of one layer to the outputs `values` ([d_head] by head); the others stay as they are.

    Raises:
        UserError: the layer or a head does not exist, or a value has another width.
    """

    def __init__(
        self,
        subject: Subject,
        layer: int,
        values: Mapping[int, Float[Tensor, " d_head"]],
        positions: Positions = "last",
    ) -> None:
        site = Site("head_out", layer)
        width = subject.site_width(site)
        check_heads(subject, [(layer, head) for head in values])
        for head, value in values.items():
            if tuple(value.shape) != (width,):
                raise UserError(
                    f"an output of shape {tuple(value.shape)} does not fit head {head}",
                    f"{site}",
                    f"give one of width {width}",
                )
        super().__init__([site], positions)
        self.heads = list(values)
        self.values = torch.stack(list(values.values()))

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns a copy of `head_out` with the chosen heads replaced."""
        changed = activation.clone()
        changed[:, :, self.heads] = self.values.to(activation)
        return changed


def check_heads(subject: Subject, heads: list[Head]) -> None:
    """Raises UserError if the subject lacks one of the heads."""
    for layer, head in heads:
        if not (0 <= layer < subject.n_layers and 0 <= head < subject.n_heads):
            raise UserError(
                f"there is no head {head} in layer {layer}",
                f"model {subject.name}",
                f"use layers 0 to {subject.n_layers - 1} and heads 0 to {subject.n_heads - 1}",
            )


HeadOutputs = Float[Tensor, "layer head d_head"]
TOKENS_PER_PASS = 8192  # heads share a pass up to this many


def mean_head_outputs(subject: Subject, prompts: Sequence[Sequence[int]]) -> HeadOutputs:
    """Averages every head's output (`hook_z`, before the output projection) at prompts' last tokens."""
    sites = [Site("head_out", layer) for layer in range(subject.n_layers)]
    found = read_at(subject, prompts, sites)
    return torch.stack([found[site][:, 0].double().mean(0).float() for site in sites])


def indirect_effects(
    subject: Subject, corrupted: Sequence[Question], means: HeadOutputs
) -> Float[Tensor, "layer head"]:
    """Measures how much each head's mean output raises the answer's probability after misleading examples.

    Mean over the questions of p(answer | z of that head replaced at the last token) - p(answer), equations 4
    and 5 of the paper; `corrupted` are prompts with shuffled answers. Heads of a layer share passes.
    """
    pairs = [(question, ids) for question in corrupted for ids in question.answers]
    clean = float(torch.from_numpy(ask(subject, corrupted).answer).mean())
    tokens = len(pairs) * max(len(question.prompt) + len(ids) for question, ids in pairs)
    together = max(1, TOKENS_PER_PASS // tokens)
    effects = torch.empty(subject.n_layers, subject.n_heads)
    for layer in range(subject.n_layers):
        for first in range(0, subject.n_heads, together):
            heads = range(first, min(first + together, subject.n_heads))
            groups: list[tuple[int, Sequence[Intervention]]] = [
                (len(pairs), [ReplaceHeads(subject, layer, {head: means[layer, head]})]) for head in heads
            ]
            p = _probabilities(subject, pairs, groups).sum(1) / len(corrupted)
            effects[layer, list(heads)] = (p - clean).float()
    return effects


def _probabilities(
    subject: Subject,
    pairs: Sequence[tuple[Question, tuple[int, ...]]],
    groups: Sequence[tuple[int, Sequence[Intervention]]],
) -> Float[Tensor, "group pair"]:
    """Computes the probability of each question's answer under each group's interventions, in one pass."""
    tokens, mask = subject.pad([question.prompt for question, _ in pairs])
    rows = len(groups)
    with subject.intervene(ByRows(groups)):
        scores = subject.score_ids(
            tokens.repeat(rows, 1), mask.repeat(rows, 1), [ids for _, ids in pairs] * rows
        )
    return scores.total.exp().view(rows, -1)


def top_heads(effects: Float[Tensor, "layer head"], count: int) -> list[Head]:
    """The heads with the largest effects, largest first."""
    n_heads = effects.shape[1]
    order = effects.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return [(place // n_heads, place % n_heads) for place in order]


def set_heads(subject: Subject, heads: Sequence[Head], means: HeadOutputs) -> list[Intervention]:
    """Makes interventions that set these heads to their mean outputs at the last token of the prompt.

    Raises:
        UserError: a head does not exist.
    """
    check_heads(subject, list(heads))
    return [
        ReplaceHeads(subject, layer, {head: means[layer, head] for at, head in heads if at == layer})
        for layer in sorted({layer for layer, _ in heads})
    ]


def function_vector(
    subject: Subject, heads: Sequence[Head], means: HeadOutputs, name: str, layer: int | None = None
) -> Vector:
    """Sums z @ W_O over heads, to be added after one layer at the last token (by default at n_layers / 3).

    Equation 6 of the paper, without the output projection's bias, which belongs to no head. Where a norm
    follows attention (Gemma 2, OLMo 2), its scale is held at what the layer's mean outputs give it.

    Raises:
        UserError: a head does not exist, no head is given, or attention's output weights are not known.
    """
    if not heads:
        raise UserError("no head is given", f"function vector {name}", "give at least one")
    check_heads(subject, list(heads))
    total = torch.zeros(subject.d_model, dtype=torch.float64)
    writers = {writer.site: writer for writer in subject.writers()}
    for at, head in heads:
        writer = writers[Site("attn_out", at)]
        matrix = writer.matrix().detach()
        of_head = slice(head * subject.d_head, (head + 1) * subject.d_head)
        part = means[at, head].to(matrix.device).double() @ matrix[of_head].double()
        total += writer.added(part, means[at].flatten()[None]).cpu()
    where = subject.n_layers // 3 if layer is None else layer
    made = {"method": "function vector", "heads": [list(head) for head in heads]}
    return Vector(name, Site("resid_post", where), total, subject.name, positions="last", provenance=made)


def layer_average(subject: Subject, prompts: Sequence[Sequence[int]], name: str) -> list[Vector]:
    """Averages `resid_post` at the last token of the examples, for each layer: the baseline, to be added."""
    sites = [Site("resid_post", layer) for layer in range(subject.n_layers)]
    found = read_at(subject, prompts, sites)
    made = {"method": "layer average", "prompts": len(prompts)}
    return [
        Vector(
            name, site, found[site][:, 0].double().mean(0), subject.name, positions="last", provenance=made
        )
        for site in sites
    ]
