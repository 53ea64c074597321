"""The Jacobian lens: a logit lens after each layer's average Jacobian to the last layer.

"Verbalizable Representations Form a Global Workspace in Language Models" (Anthropic 2026, code:
anthropics/jacobian-lens): with h_l[t] the residual stream after layer l at position t,

    J_l = E[ sum over t' >= t of d h_last[t'] / d h_l[t] ]

is the mean over source positions t of a prompt, then over prompts; unembed(final_norm(J_l h)) is read. The
first few positions (attention sinks) and the last are neither sources nor targets.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from interp.corpus.batches import Batch, Row, collate
from interp.document import Corpus
from interp.errors import UserError
from interp.json_text import json_object
from interp.lenses.jacobian import DIRECTIONS_PER_PASS, jacobian_rows
from interp.lenses.residual_stream import EMBEDDING, layer_name, stream_site
from interp.lenses.trained_lens import TrainedLens, rows_by_document
from interp.subject.frozen_norm import FrozenNorm
from interp.subject.non_finite import not_finite
from interp.subject.passes import Edit
from interp.subject.subject import Subject
from interp.tensors import check_finite
from interp.track.files import read_safetensors, write_safetensors
from interp.vectors.vector import Vector


class JacobianLens(TrainedLens):
    """The map of a layer is J_l x. `jacobian` [layer, d_model, d_model] is the identity to begin with.

    `made_of` says what it was averaged over.
    """

    name = "Jacobian lens"
    format = "interp Jacobian lens 1"

    def __init__(
        self, subject: Subject, layers: Sequence[int] | None = None, made_of: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(subject, layers)
        self.made_of = dict(made_of or {})
        identity = torch.eye(subject.d_model, device=subject.device)
        self.register_buffer("jacobian", identity.repeat(len(self.layers), 1, 1))
        self.jacobian: Float[Tensor, "layer d_model d_model"]

    @classmethod
    def for_file(cls, subject: Subject, known: Mapping[str, str], place: str) -> "JacobianLens":
        """Makes a lens of the file's layers; raises UserError if they are not those of this model."""
        made_of = json_object(known.get("made_of", ""), place, "train it again")
        layers = made_of.get("layers")
        if not isinstance(layers, list) or not all(type(layer) is int for layer in layers):
            raise UserError("the file names no layers", place, "train it again")
        return cls(subject, _checked(subject, layers), made_of)

    def metadata(self) -> dict[str, str]:
        """What a file says of the lens, beside its tensors."""
        return super().metadata() | {"made_of": json.dumps(self.made_of | {"layers": list(self.layers)})}

    def mapped(
        self, activation: Float[Tensor, "*batch d_model"], row: int
    ) -> Float[Tensor, "*batch d_model"]:
        """Multiplies by J_l, in single precision."""
        return activation.to(self.jacobian) @ self.jacobian[row].T

    def word_vector(self, word: int | str, layer: int) -> Vector:
        """Makes J_l^T u, which moves the stream after a layer to where the lens reads a token.

        u is the token's column of the unembedding, back through the final norm with its scale held fixed.
        The identity (a lens that was not trained) gives u itself.

        Raises:
            UserError: a word is not one token whatever the prompt (give its id), or the layer has no map.
        """
        subject, site = self.subject, stream_site(layer)
        token = subject.single_token(word, "word") if isinstance(word, str) else word
        shown = subject.token_strings([token])[0]
        row = self.row(site)
        norm = FrozenNorm.of(subject.final_norm, subject.d_model, subject.device, subject.dtype)
        direction = norm.pulled_back(subject.unembedding()[:, token].float())
        values = direction if row is None else direction @ self.jacobian[row]
        made_of = {"lens": self.name, **self.made_of}
        return Vector(f"{shown!r} by {self.name}", site, values, subject.name, provenance=made_of)


def random_maps(lens: JacobianLens, seed: int = 0) -> JacobianLens:
    """The control of a lens: for each layer a random orthogonal matrix of the same Frobenius norm."""
    found = JacobianLens(lens.subject, lens.layers, {"random_orthogonal_of": lens.name, "seed": seed})
    found.name = "random orthogonal"
    generator = torch.Generator().manual_seed(seed)
    for own, like in zip(found.jacobian, lens.jacobian, strict=True):
        rotation, _ = torch.linalg.qr(torch.randn(like.shape, generator=generator))
        own.copy_(rotation * (like.norm() / len(like) ** 0.5).cpu())
    return found


def train_jacobian_lens(
    subject: Subject,
    corpus: Corpus,
    *,
    prompts: int = 100,
    context_size: int = 48,
    skip_first: int = 4,
    layers: Sequence[int] | None = None,
    prompts_per_graph: int = 4,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> JacobianLens:
    """Averages Jacobians over prompts of the explain split, each a piece of another document.

    A cotangent e_i at all targets of some prompts at once gives row i of the sum over t' for every layer and
    source, so that a prompt costs d_model backward passes. Sums are in single precision.

    Args:
        subject: The model.
        corpus: The text.
        prompts: How many prompts; the paper has 1,000 of 128 tokens, and 100 are said to be usable.
        context_size: Tokens of a prompt at most, the beginning-of-sequence token included.
        skip_first: Positions at the start that are neither sources nor targets (the paper: 16 of 128).
        layers: Those that get a map; all from the embedding by default. Fewer cost less where the first
            layers are left out.
        prompts_per_graph: How many prompts share a graph.
        seed: Which prompts.
        checkpoint: A file that is written after every graph, and continued from to the same bits.
        progress: Called with the number of prompts of each graph, those of the checkpoint included.

    Raises:
        UserError: the text has too few prompts, a layer is not before the last, the checkpoint is damaged or
            of other settings, no gradient reaches a layer, or one is not finite.
    """
    lens = JacobianLens(subject, None if layers is None else _checked(subject, layers))
    lens.made_of = {
        "corpus": corpus.name, "prompts": prompts, "context_size": context_size, "skip_first": skip_first,
        "prompts_per_graph": prompts_per_graph, "seed": seed,
    }  # fmt: skip
    rows = _prompts(subject, corpus, prompts, context_size, skip_first, seed)
    total = torch.zeros_like(lens.jacobian)
    done = 0
    if checkpoint is not None and checkpoint.exists():
        total, done = _continued(checkpoint, lens)
    if progress is not None and done:
        progress(done)
    while done < prompts:
        some = rows[done : done + prompts_per_graph]
        total += _sum_over_prompts(subject, _Prompts.of(subject, some, skip_first), lens.layers)
        if not bool(total.isfinite().all()):
            raise not_finite("gradients of the last layer are", subject.dtype, subject.name)
        done += len(some)
        if checkpoint is not None:
            write_safetensors(checkpoint, {"total": total}, {**lens.metadata(), "done": str(done)})
        if progress is not None:
            progress(len(some))
    lens.jacobian.copy_(total / prompts)
    return lens


@dataclass(frozen=True, eq=False)
class _Prompts:
    """Prompts side by side, and which positions [row, pos] are sources and targets."""

    batch: Batch
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, subject: Subject, rows: Sequence[Row], skip_first: int) -> "_Prompts":
        batch = collate(rows, subject.row_layout, "explain")
        place = np.arange(batch.tokens.shape[1])
        last = batch.offset + np.array([row.length for row in rows])[:, None] - 1
        return cls(batch, batch.counts & (place >= skip_first) & (place < last))


def _prompts(
    subject: Subject, corpus: Corpus, prompts: int, context_size: int, skip_first: int, seed: int
) -> list[Row]:
    """Chooses a row at random of each document that has one with a source, shortest first."""
    rng = np.random.default_rng(seed)
    found: list[Row] = []
    for rows in rows_by_document(subject, corpus, "explain", context_size, seed, once=True):
        usable = [row for row in rows if _Prompts.of(subject, [row], skip_first).inside.any()]
        if usable:
            found.append(usable[rng.integers(len(usable))])
        if len(found) == prompts:
            return sorted(found, key=lambda row: row.length)  # little padding
    raise UserError(
        f"the explain split has {len(found)} documents with a piece of more than {skip_first + 1} tokens",
        corpus.name,
        f"ask for as many prompts at most, not {prompts}, or give more documents",
    )


def _sum_over_prompts(
    subject: Subject, prompts: _Prompts, layers: Sequence[int]
) -> Float[Tensor, "layer d_model d_model"]:
    """The sum over prompts of the mean over sources of the sum over targets, from one graph."""
    batch = prompts.batch
    row, column = (torch.from_numpy(axis).to(subject.device) for axis in prompts.inside.nonzero())
    share = torch.from_numpy(1 / prompts.inside.sum(1)).float().to(subject.device)[row]
    kept: dict[int, Tensor] = {}

    def keep(layer: int) -> Edit:
        def kept_as_is(activation: Tensor) -> Tensor:
            inside = activation.requires_grad
            kept[layer] = activation if inside else activation.detach().clone().requires_grad_()
            return kept[layer]

        return kept_as_is

    last = subject.n_layers - 1
    edits = {stream_site(layer): keep(layer) for layer in (*sorted(layers), last)}
    with torch.enable_grad(), subject.edited(edits):
        subject.normed(torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask))
    found = torch.empty(len(layers), subject.d_model, subject.d_model, device=subject.device)
    targets = kept[last][row, column]
    of_layers = [kept[layer] for layer in layers]
    for number, gradients in enumerate(jacobian_rows(subject, targets, of_layers)):
        place = slice(number * DIRECTIONS_PER_PASS, (number + 1) * DIRECTIONS_PER_PASS)
        for own, gradient in zip(found, gradients, strict=True):
            own[place] = torch.einsum("dnm,n->dm", gradient[:, row, column].float(), share)
    return found


def _checked(subject: Subject, layers: Sequence[int]) -> tuple[int, ...]:
    wanted = tuple(sorted(set(layers)))
    if not wanted or wanted[0] < EMBEDDING or wanted[-1] > subject.n_layers - 2:
        raise UserError(
            f"{subject.name} has no map from layers {', '.join(map(layer_name, wanted))} to its last",
            "layers",
            f"use some of {EMBEDDING} (the embedding) to {subject.n_layers - 2}",
        )
    return wanted


def _continued(checkpoint: Path, lens: JacobianLens) -> tuple[Tensor, int]:
    """Reads the sum so far and the number of prompts in it."""
    again = "delete it; training starts again"
    found, known = read_safetensors(checkpoint, str(lens.subject.device))
    done = known.pop("done", "")
    if known != lens.metadata():
        raise UserError(
            "the checkpoint was made with other settings, or on another model or text", str(checkpoint), again
        )
    total = found.get("total")
    if total is None or total.shape != lens.jacobian.shape or not done.isdecimal():
        raise UserError("the file holds no sum of Jacobians", str(checkpoint), again)
    check_finite(found, str(checkpoint), again)
    return total, int(done)
