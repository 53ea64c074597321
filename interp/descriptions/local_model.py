"""A causal language model in this process, for writing and simulating descriptions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.load import Dtype
from interp.subject.pretrained import read_tokenizer, read_weights


@dataclass(frozen=True)
class LocalModel:
    """A Hugging Face model and its tokenizer; `name` is the folder's."""

    model: Any
    tokenizer: Any
    name: str

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: Dtype = "float32") -> "LocalModel":
        """Load a folder; weights are read from safetensors only, no code in it is run.

        Raises:
            UserError: there is no such folder, or no model or tokenizer can be read from it.
        """
        if not (folder / "config.json").exists():
            raise UserError("there is no model", str(folder), "give a Hugging Face folder")
        tokenizer = read_tokenizer(folder)
        model = read_weights(folder, getattr(torch, dtype), attention=None)
        return cls(model.to(device).eval(), tokenizer, folder.name)

    @property
    def device(self) -> Any:
        """Where it runs."""
        return self.model.device

    @property
    def pad_id(self) -> int:
        """The padding token; it is masked, so any token does."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id or 0) if pad is None else int(pad)

    def encode(self, text: str) -> list[int]:
        """Returns token ids, without special tokens."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def encode_with_ends(self, text: str) -> tuple[list[int], list[int]]:
        """Returns token ids and the offset, in characters, at which each ends; needs a fast tokenizer.

        Raises:
            UserError: the tokenizer gives no offsets.
        """
        if not self.tokenizer.is_fast:
            raise UserError("the tokenizer gives no offsets", self.name, "use a model with a tokenizer.json")
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = found["offset_mapping"]
        # of tokens that share a character only the last ends after it, as in an `Excerpt`
        next_starts = [*(start for start, _ in spans), len(text)][1:] if spans else []
        ends = [min(end, max(start, then)) for (start, end), then in zip(spans, next_starts, strict=True)]
        return list(found["input_ids"]), ends

    def pad(
        self, rows: Sequence[Sequence[int]], left: bool
    ) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
        """Pads rows of token ids to one length, and returns the mask of what is text."""
        width = max(map(len, rows))
        tokens = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for number, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            tokens[number, place] = torch.tensor(row)
            mask[number, place] = 1
        return tokens.to(self.device), mask.to(self.device)


@contextmanager
def only_tokens(model: Any, ids: Sequence[int]) -> Iterator[None]:
    """Makes a Hugging Face model compute logits of these tokens alone [batch, pos, token].

    Of a vocabulary of 262,144 words, eleven are read: the others are not computed.
    """
    head, rows = model.get_output_embeddings(), list(ids)

    def forward(hidden: Tensor) -> Tensor:
        return torch.nn.functional.linear(
            hidden, head.weight[rows], None if head.bias is None else head.bias[rows]
        )

    head.forward = forward
    try:
        yield
    finally:
        del head.forward


def beginning(model: LocalModel) -> list[int]:
    """Returns the token that the model's texts begin with, if it has one."""
    bos = model.tokenizer.bos_token_id
    return [] if bos is None else [int(bos)]
