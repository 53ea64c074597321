"""The subject: a model and its tokenizer, with all methods to run, read and change it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, get_args, overload

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UserError
from interp.fields import Count, CountOrZero, NotNegative, Seed, taken
from interp.subject.check import check_generation
from interp.subject.continuation import Before, Continuation, continuation, single_token
from interp.subject.forward import followed, whole_pass
from interp.subject.generation import (
    Generated,
    Run,
    Written,
    cached_run,
    continuations,
    next_tokens,
    stepwise,
    whole_run,
)
from interp.subject.hooks import Visitor
from interp.subject.model import Loaded
from interp.subject.passes import Passes
from interp.subject.reading import KeptLogits, Reading, RunOutput
from interp.subject.row_layout import RowLayout
from interp.subject.scoring import (
    Scores,
    check_continuations,
    check_pairs,
    joined,
    measured,
    pairs_in_batches,
)
from interp.subject.site import Site
from interp.subject.stream import KeptPrefix, TokenRead, check_under, streamed
from interp.subject.text import Conversation, Text


class Subject(Passes):
    """A language model under study. Made by `interp.subject.load`.

    Parameters are frozen, so a forward pass builds no graph unless an edit brings in a tensor that needs one.
    Tokens are [batch, pos]; an attention mask [batch, pos] is 1 where there is text and must be given with
    left padding, which then shifts no position: rows that begin with padding are refused without one.
    Activations are [batch, pos, width], at `head_out` [batch, pos, head, d_head].
    """

    def __init__(self, loaded: Loaded, text: Text, skip_first: bool | None = None) -> None:
        super().__init__(loaded, text.bos_id, text.padding_id)
        self._text = text
        self.special_ids = text.special_ids
        skips = text.bos_id is None if skip_first is None else skip_first
        self.row_layout = RowLayout(text.bos_id, text.special_ids, skips)
        self.end_ids = loaded.info.end_ids | text.end_ids

    def __repr__(self) -> str:
        shape = f"{self.n_layers} layers of {self.d_model}, {self.d_vocab:,} tokens"
        return f"Subject({self.name}: {self.info.architecture}, {shape}, {self.backend})"

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer itself."""
        return self._text.tokenizer

    def to_tokens(self, text: str | Sequence[str], prepend_bos: bool = True) -> Int[Tensor, "batch pos"]:
        """Tokenises one text, or several of equal length, after exactly one BOS.

        Raises:
            UserError: texts differ in length, so that they need a mask (`to_batch`); or as `to_batch`.
        """
        tokens, mask = self.to_batch([text] if isinstance(text, str) else text, prepend_bos)
        if not bool(mask.all()):
            raise UserError(
                f"texts of {int(mask.sum(1).min())} to {tokens.shape[1]} tokens need padding and its mask",
                "to_tokens",
                "use to_batch, which gives the mask too, or give the texts themselves to run and generate",
            )
        return tokens

    def encode(self, text: str) -> list[int]:
        """Tokenises a document of any length, without a BOS; a corpus cuts the ids into contexts.

        Raises:
            UserError: a word is not in the vocabulary, or a token has no row in the embedding.
        """
        ids = self._text.encode(text, prepend_bos=False)
        return ids[1:] if ids[:1] == [self.bos_id] else ids

    def with_bos(self, ids: Sequence[int]) -> list[int]:
        """Token ids after exactly one BOS, if the model has one; a `Conversation` as it is.

        Every BOS is added here, or in a batch of documents (`interp.corpus.batches`).
        """
        return self._text.with_bos(ids)

    def to_batch(
        self, texts: Sequence[str], prepend_bos: bool = True
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        """Tokenises several texts, padded on the left, with their attention mask.

        Raises:
            UserError: a word is not in the vocabulary, or a text does not fit the context.
        """
        tokens, mask = self._text.batch(texts, prepend_bos)
        self.check(tokens, mask)
        return tokens.to(self.device), mask.to(self.device)

    def pad(
        self, rows: Sequence[Sequence[int]], prepend_bos: bool = True
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        """Pads rows of token ids on the left, with their attention mask.

        With `prepend_bos` each gets exactly one BOS, whether it has one or not; a `Conversation` stays as its
        template gave it.

        Raises:
            UserError: a row is empty, too long for the context, or has an id outside the vocabulary.
        """
        tokens, mask = self._text.pad([self.with_bos(row) if prepend_bos else row for row in rows])
        self.check(tokens, mask)
        return tokens.to(self.device), mask.to(self.device)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The start and end of each token of `encode(text)` in the text, in characters.

        Raises:
            UserError: the tokenizer gives no offsets (one in pure Python).
        """
        return self._text.offsets(text)

    def continuation(
        self,
        prompt: Before,
        word: str | int,
        place: str = "target",
        spaced: bool | None = None,
    ) -> Continuation:
        """Tokenises a word as it continues a prompt, by the rule of `interp.subject.continuation`."""
        return continuation(self._text, prompt, word, place, spaced)

    def single_token(self, word: str, place: str = "target", prompt: Before | None = None) -> int:
        """The id of a word that is exactly one token after a prompt; without one, the same after any prompt.

        `place` says in an error where the word was given.

        Raises:
            UserError: it is several tokens (says which, and what to do), or the token depends on the prompt.
        """
        return single_token(self._text, word, place, prompt)

    def chat(self, messages: Sequence[dict[str, str]]) -> Int[Tensor, "1 pos"]:
        """Tokenises a conversation up to the assistant's turn; only the chat template decides on a BOS."""
        return torch.tensor([self.conversation(messages)], device=self.device)

    def conversation(self, messages: Sequence[dict[str, str]]) -> Conversation:
        """Tokenises as `chat`, to a row of ids that is never changed where prompts are padded and read.

        Raises:
            UserError: there is no template, or it refuses these messages; or a word is not in the vocabulary.
        """
        return self._text.chat(messages)

    def decode(self, ids: Sequence[int] | Int[Tensor, " pos"] | Int[np.ndarray, " pos"]) -> str:
        """The text of these tokens."""
        return self._text.decode([int(i) for i in ids])

    def token_strings(self, ids: Sequence[int] | Int[Tensor, " pos"] | Int[np.ndarray, " pos"]) -> list[str]:
        """The text of each token, its space included: joined, they are the text.

        Tokens of `world`, which puts a space between any two words, have none; a token whose bytes are part
        of a character shows U+FFFD for it.
        """
        return self._text.strings([int(i) for i in ids])

    def run(
        self,
        text: str | Sequence[str] | Int[Tensor, "batch pos"],
        read: Sequence[Reading] = (),
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        logits: KeptLogits = "all",
    ) -> RunOutput:
        """Runs one forward pass, and returns the features of every space in `read`, and logits.

        `attention_mask` is needed with padded tokens. `logits` says after which positions logits are kept:
        all of them, each text's last, or none; those of a text of 100 tokens over 262,144 words take 105 MB.
        With "none" the pass stops after the last site that is read.
        """
        if logits not in get_args(KeptLogits):
            raise UserError(f"{logits!r} names no logits", "logits", f"use {', '.join(get_args(KeptLogits))}")
        if isinstance(text, Tensor):
            self.check(text, attention_mask)
            tokens, mask = text, torch.ones_like(text) if attention_mask is None else attention_mask
        else:
            tokens, mask = self.to_batch([text] if isinstance(text, str) else text)
        features: dict[str, Tensor] = {}
        at: dict[Site, list[Reading]] = {}
        for space in read:
            at.setdefault(space.site, []).append(space)

        def reader(site: Site) -> Visitor:
            def store(activation: Tensor) -> None:
                features.update({space.name: space.encode(activation) for space in at[site]})

            return store

        readers = {site: reader(site) for site in at}
        with torch.no_grad(), ExitStack() as hooks:
            if logits == "none":
                self._visit(tokens, readers, mask)
                shape = (*tokens.shape[:1], 0, self.d_vocab)
                return RunOutput(torch.empty(shape, device=self.device), features, tokens, mask)
            for site, store in readers.items():
                hooks.enter_context(self._hooked(site, store))
            if logits == "all":
                found = self.logits(tokens, mask)
            else:
                last = torch.full((len(tokens),), tokens.shape[1] - 1)
                found = self.logits_at(tokens, last, mask)[:, None]
        return RunOutput(found, features, tokens, mask)

    @overload
    def generate(
        self,
        text: str | Int[Tensor, "1 pos"],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> Generated: ...

    @overload
    def generate(
        self,
        text: list[str],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> list[Generated]: ...

    def generate(
        self,
        text: str | list[str] | Int[Tensor, "1 pos"],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> Generated | list[Generated]:
        """Generates the text after a prompt, or each of several, up to a token that ends it (`end_ids`).

        It is a string that also has the log-probability of each of its tokens, and shows them in a notebook.

        Greedy at temperature 0; otherwise prompt `i` is sampled with `seed + i`. `use_cache=False` recomputes
        all tokens at each step, with the same result; this is also done where the library is wrong with a
        cache (`gap.cached`).

        Raises:
            UserError: prompt and new tokens do not fit the context, or tokens are of several prompts.
        """
        if isinstance(text, Tensor):
            if len(text) != 1:
                raise UserError(f"{len(text)} rows of tokens are not one prompt", "text", "use generate_ids")
            self.check(text)
            tokens, mask = text, torch.ones_like(text)
        else:
            tokens, mask = self.to_batch([text] if isinstance(text, str) else text)
        rows = self.write_ids(tokens, mask, max_new_tokens, temperature, seed, use_cache)
        prompts = [row[real.bool()].tolist() for row, real in zip(tokens, mask, strict=True)]
        texts = [Generated.of(self._text, *each) for each in zip(prompts, rows, strict=True)]
        return texts[0] if isinstance(text, str | Tensor) else texts

    def generate_ids(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> list[list[int]]:
        """Generates the new tokens of each prompt, without the one that ends them; see `generate`.

        Padding is on the left. The seed is 0 to 2^32 - 1, the temperature a finite number.
        """
        written = self.write_ids(tokens, attention_mask, max_new_tokens, temperature, seed, use_cache)
        return [row.ids for row in written]

    @torch.no_grad()
    def write_ids(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> list[Written]:
        """As `generate_ids`, with the log-probability of each token, and the token that ended each row."""
        temperature = taken(NotNegative, temperature, "temperature")
        seed, max_new_tokens = taken(Seed, seed, "seed"), taken(Count, max_new_tokens, "max_new_tokens")
        start = tokens.shape[1]
        check_generation(start, max_new_tokens, self.n_ctx)
        if attention_mask.shape == tokens.shape and not bool(attention_mask[:, -1].all()):
            raise UserError("a prompt ends in padding", "attention_mask", "pad on the left, as to_batch does")
        self.check(tokens, attention_mask)
        tokens, mask = tokens.to(self.device), attention_mask.to(self.device)
        step = stepwise(self._run_after(start, use_cache and self._caches_rightly))
        steps = next_tokens(
            step, self.unembed, self.d_vocab, tokens, mask, max_new_tokens, temperature, seed, self.end_ids
        )
        return continuations(steps, len(tokens), self.end_ids)

    @property
    def _caches_rightly(self) -> bool:
        return self.gap is None or self.gap.cache_holds

    def _run_after(self, prompt_length: int, cached: bool) -> Run:
        make = cached_run if cached else whole_run
        return make(self._backend, self._passing, prompt_length)

    def stream(
        self,
        tokens: Sequence[int],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        *,
        alternatives: int = 5,
        kept: KeptPrefix | None = None,
    ) -> Iterator[TokenRead]:
        """Reads the tokens of one text, then writes on and gives each new token as soon as it is written.

        `tokens` are ids as they are, a beginning-of-sequence token included. The new ones are those that
        `generate_ids` writes, with a token that ends the text (one of `end_ids`) as the last, if one comes.
        Every token has its log-probability and the `alternatives` likeliest tokens at its place, both at
        temperature 1. What `kept` holds of the text is not computed again, as long as the cache can be cut
        there and is right (`gap.cached`); it then holds this text, as far as it was computed. Interventions
        that are active while the tokens are taken count, so take them inside the block.

        Raises:
            UserError: the text is empty, has an id outside the vocabulary or does not fit the context with
                the new tokens; the model is changed and `kept` does not say how; while tokens are taken,
                another stream goes on with `kept`.
        """
        temperature = taken(NotNegative, temperature, "temperature")
        seed, max_new_tokens = taken(Seed, seed, "seed"), taken(CountOrZero, max_new_tokens, "max_new_tokens")
        alternatives = taken(CountOrZero, alternatives, "alternatives")
        row, mask = self.pad([tokens], prepend_bos=False)
        check_generation(len(tokens), max_new_tokens, self.n_ctx)
        check_under(kept, self._watch.attached)
        cached = self._caches_rightly
        return streamed(
            self._run_after(len(tokens), cached),
            self._backend.crop,
            kept if cached and kept is not None else KeptPrefix(),
            self.unembed,
            self.d_vocab,
            row,
            mask,
            max_new_tokens,
            temperature,
            seed,
            self.end_ids,
            alternatives,
        )

    @torch.no_grad()
    def score(
        self,
        prompts: str | Sequence[str | Sequence[int]],
        continuations: Sequence[str | Sequence[int]],
    ) -> Scores:
        """Computes log-probabilities of whole continuations after their prompts, under active interventions.

        One prompt for all continuations, or one each. A word is written as it would follow its prompt
        (`Subject.continuation`); token ids are taken as they are, prompts without a beginning-of-sequence
        token. Positions of interventions are those of the prompt, and what is scored is `generated`: the
        result agrees with generation of the same tokens. Only scored positions are unembedded.

        Raises:
            UserError: the numbers of prompts and continuations differ, one of them is empty or not in the
                vocabulary, or a pair does not fit the context.
        """
        asked = [prompts] * len(continuations) if isinstance(prompts, str) else prompts
        check_pairs(len(asked), len(continuations))
        rows = [self.encode(prompt) if isinstance(prompt, str) else prompt for prompt in asked]
        answers: list[Sequence[int]] = [
            self.continuation(prompt, answer, f"continuation {number}").ids
            if isinstance(answer, str)
            else answer
            for number, (prompt, answer) in enumerate(zip(asked, continuations, strict=True))
        ]
        lengths = [(len(self.with_bos(row)), len(answer)) for row, answer in zip(rows, answers, strict=True)]
        parts = []
        batches = pairs_in_batches(lengths, self.n_ctx)
        for places in batches:
            tokens, mask = self.pad([rows[place] for place in places])
            parts.append(self.score_ids(tokens, mask, [answers[place] for place in places]))
        return joined(parts, [place for places in batches for place in places])

    @torch.no_grad()
    def score_ids(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"],
        continuations: Sequence[Sequence[int]],
    ) -> Scores:
        """Scores token ids after prompts that are already padded on the left, in one pass (see `score`)."""
        self.check(tokens, attention_mask)
        check_continuations(continuations, self.d_vocab)
        prompts = whole_pass(tokens.to(self.device), attention_mask.to(self.device))
        forced = followed(prompts, [answer[:-1] for answer in continuations])
        normed = self.normed(forced.tokens, forced.real.long(), prompts.prompt_length)
        return measured(self.unembed, self.d_vocab, normed[:, prompts.prompt_length - 1 :], continuations)
