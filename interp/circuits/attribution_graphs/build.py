"""Builds an attribution graph: one forward pass, and a backward pass for each batch of targets."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.attribution_graphs.graph import AttributionGraph, Node
from interp.circuits.attribution_graphs.pruning import influence, normalised
from interp.circuits.attribution_graphs.replacement import Replacement
from interp.circuits.attribution_graphs.targets import Logits, logits_of
from interp.errors import UserError
from interp.features.space import ReadableFeatures
from interp.fields import Count, Fraction, taken
from interp.subject.linearised import Rule
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Advance, Progress, silent


def attribution_graph(
    subject: Subject,
    prompt: str | Int[Tensor, "batch pos"],
    spaces: Sequence[ReadableFeatures],
    *,
    targets: Sequence[str | int] | None = None,
    max_logits: int = 10,
    logit_mass: float = 0.95,
    max_features: int = 7500,
    max_candidates: int = 100_000,
    rule: Rule = "half",
    keep_first: bool = False,
    batch_size: int = 256,
    update_every: int = 4,
    progress: Progress | None = None,
) -> AttributionGraph:
    """Computes what the active features of a prompt add to each other and to its next token's logits.

    The graph is that of the local replacement model (Ameisen et al. 2025, Circuit Tracing; circuit-tracer):
    attention patterns and norms' scales are held, MLPs are their features (`spaces`, at most one for each
    layer: transcoder latents, SAE latents at `mlp_out`, `MlpNeurons`) plus an error for each layer and
    position. A layer without a space is an error. Neurons, and the MLP before an SAE at its output, are
    linear in their factors by `rule` (RelP: Jafari et al. 2025, arXiv 2508.21258).

    `targets` are words or ids of the next token; by default the fewest tokens, at most `max_logits`, with
    `logit_mass` of the probability. A logit is that token's less the mean of all, before a soft cap.

    Of the active features, the `max_candidates` that write the longest vectors are looked at, and the
    `max_features` that have most influence on the logits through those found before are nodes, which is
    updated after every `update_every` batches of `batch_size` targets. What all others write counts as the
    error of their layer and position, so that each row of the adjacency still sums to its target's value.

    At a special first token (of tokens, the beginning of the sequence), what MLPs write does not depend on
    the prompt: it is part of the biases, unless `keep_first`.

    Raises:
        UserError: the prompt is not one text, a target is not one token, a space explains no MLP or a layer
            that another explains, a number is out of range, or neurons of a layer are not known.
    """
    max_features = taken(Count, max_features, "max_features")
    max_candidates = taken(Count, max_candidates, "max_candidates")
    batch_size = taken(Count, batch_size, "batch_size")
    update_every = taken(Count, update_every, "update_every")
    tokens = one_prompt(subject, prompt)
    first = int(not keep_first and int(tokens[0, 0]) in subject.special_ids)
    replacement = Replacement(subject, tokens, spaces, rule=rule, first=first, most=max_candidates)
    logits = logits_of(
        subject,
        tokens,
        replacement.normed[-1],
        targets,
        taken(Count, max_logits, "max_logits"),
        taken(Fraction, logit_mass, "logit_mass"),
    )
    rows = _Rows(replacement, logits, first)
    total = min(max_features, rows.n_features)
    with (
        replacement.held(),
        (progress or silent()).task("attribution graph", total=total, unit="features") as advance,
    ):
        rows.start()
        rows.choose(total, batch_size, update_every, advance)
        rows.finish()
    settings: dict[str, object] = {
        "spaces": [space.name for space in spaces],
        "rule": rule,
        "max_features": max_features,
        "max_logits": max_logits,
        "logit_mass": logit_mass,
        "batch_size": batch_size,
        "constant_positions": first,
    }
    return rows.graph(settings)


def one_prompt(subject: Subject, prompt: str | Int[Tensor, "batch pos"]) -> Int[Tensor, "1 pos"]:
    """Tokenises one prompt, or checks the tokens of one.

    Raises:
        UserError: it is not one prompt, has unknown words, or is too long.
    """
    if isinstance(prompt, str):
        return subject.to_tokens(prompt)
    if prompt.ndim != 2 or len(prompt) != 1 or not prompt.numel():
        raise UserError(
            f"tokens of shape {tuple(prompt.shape)} are not one prompt", "prompt", "give a text, or [1, pos]"
        )
    subject.check(prompt)
    return prompt.to(subject.device)


class _Rows:
    """The adjacency while it is made: a row for each target that was computed, a column for each source.

    Columns are all candidate features by layer, then errors by layer and position, embeddings, and biases.
    """

    def __init__(self, replacement: Replacement, logits: Logits, first: int) -> None:
        self._model, self._logits, self._first = replacement, logits, first
        self._parts = replacement.parts
        counts = torch.tensor([len(part.ids) for part in self._parts])
        self._offsets = [0, *counts.cumsum(0).tolist()]
        self.n_features = self._offsets[-1]
        self._layer = torch.repeat_interleave(torch.arange(len(counts)), counts)
        self._n_pos = replacement.tokens.shape[1]
        self._n_columns = self.n_features + (len(self._parts) + 1) * self._n_pos + 1
        self._done: list[Tensor] = []  # rows [target, column], on the CPU
        self._of: list[Tensor] = []  # the features that they belong to, after the logits

    def start(self) -> None:
        """Runs the replacement model with and without gradients, and computes the logits' rows."""
        model = self._model
        self._errors = [part.base - part.explained() - part.fixed for part in self._parts]
        self._leaves = {part.layer: part.base[None].clone().requires_grad_() for part in self._parts}
        self._embedded = model.embedded[None].clone().requires_grad_()
        with torch.enable_grad():
            self._run = model.run(self._embedded, self._leaves)
        with torch.no_grad():
            nothing = torch.zeros_like(model.embedded)[None]
            self._biases = model.run(nothing, {part.layer: part.fixed[None] for part in self._parts})
        end = torch.zeros(len(self._logits.ids), 1, self._n_pos, model.subject.d_model, device=nothing.device)
        end[:, 0, -1] = self._logits.rows
        rows = self._back(self._run.normed, end, Site("resid_post", len(self._parts)))
        rows[:, -1] = self._logits.of(self._biases.normed[0, -1])
        self._done.append(rows.cpu())

    def choose(self, total: int, batch_size: int, update_every: int, advance: Advance) -> None:
        """Computes the rows of `total` features, those with the largest influence so far first."""
        waiting = torch.ones(self.n_features, dtype=torch.bool)
        done = 0
        while done < total:
            queue = min(total - done, batch_size * update_every)
            if total < self.n_features:
                found = self._influence()[: self.n_features].masked_fill(~waiting, -1)
                chosen = found.topk(queue).indices.sort().values
            else:
                chosen = waiting.nonzero()[:queue, 0]
            waiting[chosen] = False
            for batch in _batches(chosen, self._layer[chosen], batch_size):
                self._done.append(self._of_features(batch).cpu())
                self._of.append(batch)
                advance(len(batch))
            done += queue

    def finish(self) -> None:
        """Joins the rows; effects of features that were not chosen become their errors'."""
        self.chosen = torch.cat([torch.zeros(0, dtype=torch.long), *self._of])
        rows = torch.cat(self._done)
        self._done = []
        left = torch.ones(self.n_features, dtype=torch.bool)
        left[self.chosen] = False
        position = torch.cat([part.positions for part in self._parts]).cpu()
        cell = self._layer * self._n_pos + position
        others = rows[:, self.n_features :]
        others.index_add_(1, cell[left], rows[:, : self.n_features][:, left])
        order = self.chosen.argsort()
        self.chosen = self.chosen[order]
        columns = torch.cat([rows[:, self.chosen], others], 1)
        n_logits = len(self._logits.ids)
        self.rows = torch.cat([columns[n_logits:][order], columns[:n_logits]])

    def graph(self, settings: dict[str, object]) -> AttributionGraph:
        """Makes the graph; errors of constant positions are none."""
        model, subject = self._model, self._model.subject
        ids = model.tokens[0].tolist()
        words = subject.token_strings(ids)
        nodes = [*self._feature_nodes(), *self._error_nodes()]
        nodes += [
            Node("embedding", position=place, feature=token, label=word)
            for place, (token, word) in enumerate(zip(ids, words, strict=True))
        ]
        nodes += [Node("bias"), *self._logits.nodes(subject, self._n_pos - 1)]
        n_chosen, n_all = len(self.chosen), len(nodes)
        errors = torch.arange(len(self._parts) * self._n_pos).view(-1, self._n_pos)[:, self._first :]
        after = torch.arange(len(self._parts) * self._n_pos, self.rows.shape[1] - n_chosen)
        kept = torch.cat([torch.arange(n_chosen), n_chosen + errors.flatten(), n_chosen + after])
        adjacency = torch.zeros(n_all, n_all)
        is_target = torch.tensor([node.kind in ("feature", "logit") for node in nodes])
        adjacency[is_target, : len(kept)] = self.rows[:, kept]
        return AttributionGraph(
            subject.name,
            subject.decode(ids),
            tuple(ids),
            tuple(words),
            tuple(nodes),
            adjacency,
            model.n_active,
            settings,
        )

    def _feature_nodes(self) -> Iterator[Node]:
        lists = [[each.tolist() for each in (part.positions, part.ids, part.values)] for part in self._parts]
        for index in self.chosen.tolist():
            layer = int(self._layer[index])
            space, place = self._parts[layer].space, index - self._offsets[layer]
            assert space is not None
            position, feature, value = (each[place] for each in lists[layer])
            yield Node("feature", layer, position, feature, space.name, value)

    def _error_nodes(self) -> Iterator[Node]:
        for part in self._parts:
            for position in range(self._first, self._n_pos):
                yield Node("error", part.layer, position)

    def _of_features(self, batch: Int[Tensor, " target"]) -> Float[Tensor, "target column"]:
        """The rows of some features of one layer."""
        layer = int(self._layer[batch[0]])
        part = self._parts[layer]
        chosen = (batch - self._offsets[layer]).to(part.ids.device)
        rows = self._back(self._run.reads[layer], part.injected(chosen), part.reads)
        rows[:, -1] = part.read_again(self._biases.reads[layer])[0, chosen]
        return rows

    def _back(
        self, at: Tensor, gradient: Float[Tensor, "target 1 pos width"], site: Site
    ) -> Float[Tensor, "target column"]:
        """One backward pass for many targets, from `site` to what was written before it."""
        rows = gradient.new_zeros(len(gradient), self._n_columns)
        before = [part for part in self._parts if part.writes.before(site)]
        leaves = [self._leaves[part.layer] for part in before]
        back = torch.autograd.grad(
            at,
            [self._embedded, *leaves],
            gradient.to(at.dtype),
            retain_graph=True,
            is_grads_batched=True,
            allow_unused=True,
        )
        start = self.n_features
        for part, found in zip(before, back[1:], strict=True):
            if found is None:
                continue
            effect = found[:, 0].float()
            columns = slice(self._offsets[part.layer], self._offsets[part.layer + 1])
            rows[:, columns] = part.contracted(effect)
            cells = start + part.layer * self._n_pos
            rows[:, cells : cells + self._n_pos] = _along(effect, self._errors[part.layer])
        if back[0] is not None:
            end = start + len(self._parts) * self._n_pos
            embedded = self._model.embedded
            rows[:, end : end + self._n_pos] = _along(back[0][:, 0].float(), embedded)
        return rows

    def _influence(self) -> Float[Tensor, " column"]:
        """The influence of each column on the logits along the rows that are known."""
        rows = torch.cat(self._done)
        self._done = [rows]
        known = torch.cat([torch.zeros(0, dtype=torch.long), *self._of])
        shares = normalised(rows[:, :-1])
        n_logits = len(self._logits.ids)
        among = torch.cat([torch.zeros(len(rows), n_logits), shares[:, known]], 1)
        through = self._logits.probabilities.new_zeros(len(rows)).cpu()
        through[:n_logits] = self._logits.probabilities.cpu()
        return (through + influence(among, through)) @ shares


def _along(
    gradient: Float[Tensor, "target pos width"], vectors: Float[Tensor, "pos width"]
) -> Float[Tensor, "target pos"]:
    return torch.einsum("tpw,pw->tp", gradient, vectors)


def _batches(
    chosen: Int[Tensor, " feature"], layers: Int[Tensor, " feature"], size: int
) -> Iterator[Int[Tensor, " batch"]]:
    """Batches of features of one layer."""
    for layer in torch.unique(layers).tolist():
        yield from torch.split(chosen[layers == layer], size)
