"""A causal language model in this process, for writing and simulating descriptions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.folder import find_folder, given_name
from interp.subject.precision import Dtype
from interp.subject.pretrained import read_tokenizer, read_weights


@dataclass(frozen=True, eq=False)
class LocalModel:
    """A Hugging Face model and its tokenizer; `name` is what it was asked for by, or its folder's."""

    model: Any
    tokenizer: Any
    name: str

    @classmethod
    def load(cls, name: str | Path, device: str = "cpu", dtype: Dtype = "float32") -> "LocalModel":
        """Loads a model by a name as `interp.load` takes it; weights from safetensors only, no code is run.

        Raises:
            UserError: there is none of that name, or no model or tokenizer can be read.
        """
        folder = find_folder(name)
        tokenizer = read_tokenizer(folder)
        model = read_weights(folder, getattr(torch, dtype), attention=None)
        return cls(model.to(device).eval(), tokenizer, given_name(name, folder))

    @classmethod
    def shared(cls, name: str | Path, device: str = "cpu", dtype: Dtype = "float32") -> "LocalModel":
        """As `load`, but a model that is in use already is not loaded again: do not train it."""
        key = (str(find_folder(name).resolve()), device, dtype)
        if (found := _IN_USE.get(key)) is None:
            found = _IN_USE[key] = cls.load(name, device, dtype)
        return found

    @property
    def device(self) -> Any:
        """Where it runs."""
        return self.model.device

    @property
    def context(self) -> int:
        """The most tokens that it sees."""
        return int(self.model.config.max_position_embeddings)

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


_IN_USE: WeakValueDictionary[tuple[str, str, str], LocalModel] = WeakValueDictionary()


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


@torch.no_grad()
def logits_after(
    model: LocalModel, prefix: Sequence[int], rows: Sequence[Sequence[int]], ids: Sequence[int]
) -> Float[Tensor, "row pos id"]:
    """Computes the logits of the tokens `ids` at each token of rows that follow the same prefix.

    The prefix is computed once. Rows are padded on the right to the longest.
    """
    tokens, mask = model.pad(rows, left=False)
    with only_tokens(model.model, ids):
        head = torch.tensor([list(prefix)], device=tokens.device)
        cache = model.model(head, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(tokens))
        whole = torch.cat([mask.new_ones(len(tokens), len(prefix)), mask], 1)
        logits: Tensor = model.model(
            tokens, attention_mask=whole, past_key_values=cache, use_cache=True
        ).logits
    return logits.float()
