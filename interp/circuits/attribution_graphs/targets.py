"""The logits that a graph explains: which tokens, and their rows of the unembedding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.attribution_graphs.graph import Node
from interp.errors import UserError
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Logits:
    """Tokens that may come next, and how their logits are read from the final norm's output.

    A logit is the token's less the mean of all, before a soft cap: `rows` [target, d_model] times the
    norm's output plus `biases`. `probabilities` are the model's own.
    """

    ids: Int[Tensor, " target"]
    probabilities: Float[Tensor, " target"]
    rows: Float[Tensor, "target d_model"]
    biases: Float[Tensor, " target"]
    values: Float[Tensor, " target"]

    def of(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch target"]:
        """Reads the logits."""
        return normed.float() @ self.rows.T + self.biases

    def nodes(self, subject: Subject, position: int) -> Iterator[Node]:
        """The nodes of a graph, at the prompt's last position."""
        words = subject.token_strings(self.ids)
        for index, word in enumerate(words):
            yield Node(
                "logit",
                subject.n_layers,
                position,
                int(self.ids[index]),
                value=float(self.values[index]),
                probability=float(self.probabilities[index]),
                label=word,
            )


@torch.no_grad()
def logits_of(
    subject: Subject,
    tokens: Int[Tensor, "1 pos"],
    normed: Float[Tensor, " d_model"],
    targets: Sequence[str | int] | None,
    most: int,
    mass: float,
) -> Logits:
    """Takes the named tokens, or the fewest, at most `most`, that have `mass` of the probability.

    Raises:
        UserError: a target is not one token, or named twice.
    """
    probabilities = subject.unembed(normed[None])[0].float().softmax(-1)
    if targets is None:
        found, ids = probabilities.topk(min(most, len(probabilities)))
        ids = ids[: int((found.cumsum(0) < mass).sum()) + 1]
    else:
        named = [_token(subject, tokens, word) for word in targets]
        if not named or len({*named}) < len(named):
            raise UserError("no target is named, or one twice", "targets", "name tokens that differ")
        ids = torch.tensor(named, device=probabilities.device)
    matrix = subject.unembedding()
    rows = (matrix[:, ids] - matrix.mean(1, keepdim=True)).T.float()
    # a soft cap leaves a logit of zero as it is, and models with one have no bias
    bias = subject.unembed(torch.zeros_like(normed)[None])[0].float()
    biases = bias[ids] - bias.mean()
    return Logits(ids, probabilities[ids], rows, biases, rows @ normed.float() + biases)


def _token(subject: Subject, tokens: Int[Tensor, "1 pos"], word: str | int) -> int:
    if isinstance(word, int):
        if not 0 <= word < subject.d_vocab:
            raise UserError(
                f"token id {word} is not in the vocabulary", "targets", f"use 0 to {subject.d_vocab - 1}"
            )
        return word
    return subject.continuation(tokens[0].tolist(), word, "targets").token("targets")
