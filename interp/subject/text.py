"""Text and tokens: the beginning-of-sequence rule, padding, chat templates and special tokens."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UserError
from interp.outside import whole_characters
from interp.subject.pretrained import read_tokenizer
from interp.subject.template import rendered_chat


class Conversation(tuple[int, ...]):
    """Token ids of a chat template: complete, so no BOS is put before them."""


class Text:
    """A model's tokenizer with one set of rules: exactly one BOS, left padding, an error at unknown words.

    A tokenizer may have ids that the model's embedding has no row for (image tokens of Gemma 3's language
    models): texts that hold one are refused.

    Raises:
        UserError: the folder has no usable tokenizer (`read_tokenizer`).
    """

    def __init__(self, folder: Path, d_vocab: int) -> None:
        self._folder = folder
        self._d_vocab = d_vocab
        self._spelled: dict[int, str] = {}
        self.tokenizer: Any = read_tokenizer(folder)
        self.bos_id: int | None = self.tokenizer.bos_token_id
        if self.bos_id is not None and self.bos_id >= d_vocab:
            raise UserError(
                f"the beginning-of-sequence token has id {self.bos_id}, and the embedding has {d_vocab} rows",
                str(folder),
                "put the tokenizer of this model into the folder",
            )
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, self.bos_id)
        self.padding_id: int | None = next((i for i in known if i is not None and i < d_vocab), None)
        end = self.tokenizer.eos_token_id
        self.end_ids: frozenset[int] = frozenset() if end is None else frozenset([end])
        added = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        special = added | set(self.tokenizer.all_special_ids)
        self.special_ids = frozenset(i for i in special if i < d_vocab)

    def encode(self, text: str, prepend_bos: bool = True) -> list[int]:
        """Token ids of a text, after exactly one BOS if the model has one and `prepend_bos` asks for it.

        Raises:
            UserError: a word is not in the vocabulary, a token has no row in the embedding, or the text holds
                half a character.
        """
        if whole_characters(text)[1]:
            raise UserError(
                "the text holds half a character (a lone surrogate)",
                f"text {text!r:.60}",
                "take it out, or decode the text as UTF-8",
            )
        encoded = self.tokenizer(text, add_special_tokens=False)
        ids: list[int] = list(encoded["input_ids"])
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and unknown in ids:
            self._refuse_unknown(text, ids, encoded)
        if max(ids, default=0) >= self._d_vocab:
            token = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise UserError(
                f"the token {token!r} has id {max(ids)}, and the model's embedding has {self._d_vocab} rows",
                f"text {text!r:.60}",
                "leave it out; if every text is refused, the tokenizer belongs to other weights",
            )
        return self.with_bos(ids) if prepend_bos else ids

    def with_bos(self, ids: Sequence[int]) -> list[int]:
        """Token ids after exactly one BOS, if the model has one; a `Conversation` as it is."""
        if self.bos_id is None or isinstance(ids, Conversation) or list(ids[:1]) == [self.bos_id]:
            return list(ids)
        return [self.bos_id, *ids]

    def batch(
        self, texts: Sequence[str], prepend_bos: bool = True
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        """Tokens and attention mask (1 where there is text) of several texts, padded on the left."""
        if not texts:
            raise UserError("there is no text", "texts", "give at least one")
        return self.pad([self.encode(text, prepend_bos) for text in texts])

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        """Tokens and attention mask of several rows of token ids, padded on the left.

        Padding is the tokenizer's own padding token, otherwise its end- or beginning-of-text token. No text
        has it there, so a lost mask is noticed (`check_mask`).
        """
        if not rows or not all(rows):
            raise UserError("a text has no tokens", "texts", "give text, or let a BOS stand before it")
        width = max(len(row) for row in rows)
        filler = 0 if self.padding_id is None else self.padding_id
        tokens = torch.tensor([[filler] * (width - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        return tokens, mask

    def chat(self, messages: Sequence[dict[str, str]]) -> Conversation:
        """Tokenises a conversation up to the assistant's turn, exactly as the chat template gives it.

        Raises:
            UserError: there is no template, or it refuses these messages; or as `encode`.
        """
        if not self.tokenizer.chat_template:
            raise UserError(
                "the tokenizer has no chat template",
                str(self._folder),
                "use a chat model, or give plain text",
            )
        text = rendered_chat(self.tokenizer, messages, str(self._folder), add_generation_prompt=True)
        return Conversation(self.encode(text, prepend_bos=False))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The start and end of each token in the text, in characters, without a BOS.

        Raises:
            UserError: the tokenizer gives no offsets (it is one in pure Python).
        """
        if not self.tokenizer.is_fast:
            raise UserError(
                "this tokenizer does not tell where its tokens stand in a text",
                str(self._folder),
                "save it with a tokenizer.json (a fast tokenizer)",
            )
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [(int(start), int(end)) for start, end in found["offset_mapping"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens, with all its spaces (no clean-up)."""
        return self._decoded([list(ids)])[0]

    def strings(self, ids: Sequence[int]) -> list[str]:
        """The text of each token, its space included; every id is decoded once.

        Joined, they are the text, but for two cases: where a tokenizer has whole words and puts a space
        between any two (the bundled `world`), no token has one; and a token whose bytes are part of a
        character shows U+FFFD for it.
        """
        new = sorted({i for i in ids if i not in self._spelled})
        if new:
            self._spelled.update(zip(new, self._added(new), strict=True))
        return [self._spelled[i] for i in ids]

    def _added(self, ids: Sequence[int]) -> list[str]:
        """Decodes each token between two anchors, since decoders drop a space where a text begins or ends."""
        alone = self._decoded([[i] for i in ids])
        anchor = self._anchor
        if anchor is None:
            return alone
        before, pair = self._decoded([[anchor], [anchor] * 2])
        after = pair.removeprefix(before)
        found = []
        for i, own, text in zip(ids, alone, self._decoded([[anchor, i, anchor] for i in ids]), strict=True):
            apart = text.startswith(before) and text[len(before) :].endswith(after)
            found.append(
                text[len(before) : len(text) - len(after)] if apart and i not in self.special_ids else own
            )
        return found

    @cached_property
    def _anchor(self) -> int | None:
        """A token that decodes to its own letters, without a mark of a word's start or end, if there is one.

        None for a tokenizer without a decoder, which joins words by spaces.
        """
        if self.tokenizer.is_fast and self.tokenizer.backend_tokenizer.decoder is None:
            return None
        letters = (
            i
            for token, i in self.tokenizer.get_vocab().items()
            if token.isascii() and token.isalpha() and i not in self.special_ids
        )
        return min(letters, default=None)

    def _decoded(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return list(self.tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)) if rows else []

    def _refuse_unknown(self, text: str, ids: list[int], encoded: Any) -> None:
        spelled, unknown = self.tokenizer.unk_token, self.tokenizer.unk_token_id
        if self.tokenizer.is_fast:
            spans = [encoded.token_to_chars(position) for position, i in enumerate(ids) if i == unknown]
            words = [text[span.start : span.end] for span in spans if span is not None]
        else:
            words = [
                word
                for word in text.split()
                if unknown in self.tokenizer(word, add_special_tokens=False)["input_ids"]
            ]
        for word in words:
            if word == spelled:
                continue
            vocabulary = self.tokenizer.get_vocab()
            near = get_close_matches(word, vocabulary, n=3) or get_close_matches(
                word.lower(), vocabulary, n=3
            )
            nearest = f"the nearest it knows: {', '.join(near)}" if near else "use words of its vocabulary"
            raise UserError(f"the model does not know the word {word!r}", f"text {text!r}", nearest)
