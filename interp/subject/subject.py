"""The subject: a model, its tokenizer, and every way in which the rest of the package reads and edits it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar, get_args, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.attention import blocked_in, check_pattern
from interp.subject.backend import Backend
from interp.subject.check import check_bos, check_generation, check_mask, check_tokens
from interp.subject.continuation import Before, Continuation, continuation, single_token
from interp.subject.finite import are_possible, first_not_finite, is_finite, not_finite
from interp.subject.folder import SubjectInfo
from interp.subject.forward import ForwardPass, Intervention, followed, whole
from interp.subject.frame import Frame
from interp.subject.gap import Gap
from interp.subject.generation import cached_step, continuations, whole_step
from interp.subject.hooks import Hook, Watch
from interp.subject.probe import Probe
from interp.subject.reading import KeptLogits, Reading, RunOutput
from interp.subject.scoring import (
    Scores,
    check_continuations,
    check_pairs,
    joined,
    measured,
    pairs_in_batches,
)
from interp.subject.site import SITE_KINDS, Site
from interp.subject.text import Conversation, Text
from interp.subject.unembedding import kept_back
from interp.subject.visit import EverythingSeen, Visit, Visitor
from interp.subject.writer import Writer

Edit = Callable[[Tensor], Tensor]
Result = TypeVar("Result")


class Subject:
    """A language model under study. Made by `interp.subject.load`.

    Parameters are frozen, so a forward pass builds no graph unless an edit brings in a tensor that needs one.
    Tokens are [batch, pos]; an attention mask [batch, pos] is 1 where there is text and must be given with
    left padding, which then shifts no position: rows that begin with padding are refused without one.
    Activations are [batch, pos, width], at `head_out` [batch, pos, head, d_head].
    """

    def __init__(
        self,
        backend: Backend,
        text: Text,
        info: SubjectInfo,
        device: torch.device,
        dtype: torch.dtype,
        processing: str = "none",
        skip_first: bool | None = None,
        gap: Gap | None = None,
        probe: Probe | None = None,
    ) -> None:
        self.processing = processing
        self.gap = gap
        self._faults = {} if probe is None else probe.faults
        self._adds_up = probe is None or probe.adds_up
        self._backend = backend
        self._text = text
        self.info = info
        self.name = info.name
        self.backend = backend.name
        self.n_layers = info.n_layers
        self.d_model = info.d_model
        self.d_mlp = info.d_mlp
        self.n_heads = info.n_heads
        self.d_head = info.d_head
        self.d_vocab = info.d_vocab
        self.n_ctx = backend.n_ctx
        self.device = device
        self.dtype = dtype
        self.bos_id = text.bos_id
        self.special_ids = text.special_ids
        skips = text.bos_id is None if skip_first is None else skip_first
        self.frame = Frame(text.bos_id, text.special_ids, skips)
        self.end_ids = info.end_ids | text.end_ids
        self._interventions: list[Intervention] = []
        self._pass: ForwardPass | None = None
        self._watch = Watch(info.name)

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer itself."""
        return self._text.tokenizer

    @property
    def model(self) -> Any:
        """The library's own model object (a HookedTransformer or a TransformerBridge)."""
        return getattr(self._backend, "model", None)

    def site_width(self, site: Site) -> int:
        """Size of the last axis of the activation at a site.

        Raises:
            UserError: the site does not exist, or was found not to be what it is called.
        """
        width = self.info.site_width(site)
        self._backend.check(site)
        if site in self._faults:
            raise UserError(
                f"{site} of {self.name} ({self.info.architecture}) is not what it is called in this library: "
                f"{self._faults[site]}",
                f"site {site}, backend {self.backend}",
                "use another site",
            )
        return width

    def to_tokens(self, text: str | Sequence[str], prepend_bos: bool = True) -> Int[Tensor, "batch pos"]:
        """Tokens of one text, or of several that are equally long, behind exactly one BOS.

        Raises:
            UserError: texts differ in length, so that a mask belongs to their tokens; or as `to_batch`.
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
        """Token ids of a document of any length, without a BOS: what a corpus cuts into contexts.

        Raises:
            UserError: a word is not in the vocabulary, or a token has no row in the embedding.
        """
        ids = self._text.encode(text, prepend_bos=False)
        return ids[1:] if ids[:1] == [self.bos_id] else ids

    def with_bos(self, ids: Sequence[int]) -> list[int]:
        """Token ids after exactly one BOS, if the model has one; a `Conversation` as it is.

        Every BOS is put here, or in a batch of documents (`interp.corpus.batches`).
        """
        return self._text.with_bos(ids)

    def to_batch(
        self, texts: Sequence[str], prepend_bos: bool = True
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        """Tokens and attention mask of several texts, padded on the left.

        Raises:
            UserError: a word is not in the vocabulary, or a text does not fit the context.
        """
        tokens, mask = self._text.batch(texts, prepend_bos)
        self.check(tokens, mask)
        return tokens.to(self.device), mask.to(self.device)

    def pad(
        self, rows: Sequence[Sequence[int]], prepend_bos: bool = True
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        """Tokens and attention mask of texts given as token ids, padded on the left.

        With `prepend_bos` each stands after exactly one BOS, whether it has one or not; a `Conversation`
        stays as its template gave it.

        Raises:
            UserError: a row is empty, too long for the context, or has an id outside the vocabulary.
        """
        tokens, mask = self._text.pad([self.with_bos(row) if prepend_bos else row for row in rows])
        self.check(tokens, mask)
        return tokens.to(self.device), mask.to(self.device)

    def check(self, tokens: Int[Tensor, "batch pos"], attention_mask: Tensor | None = None) -> None:
        """Whether tokens can enter the model; every way in asks this.

        Raises:
            UserError: they do not fit the context or the vocabulary, the mask has another shape, or a row
                begins with padding and there is no mask, or with two beginning-of-sequence tokens.
        """
        check_tokens(tokens, self.n_ctx, self.d_vocab, self.name)
        check_mask(tokens, attention_mask, self._text.padding_id, self.bos_id)
        check_bos(tokens, attention_mask, self.bos_id)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each token of `encode(text)` begins and ends in the text, in characters.

        Raises:
            UserError: the tokenizer does not tell.
        """
        return self._text.offsets(text)

    def continuation(
        self,
        prompt: Before,
        word: str | int,
        place: str = "target",
        spaced: bool | None = None,
    ) -> Continuation:
        """The tokens that a word is after a prompt: `interp.subject.continuation` has the rule."""
        return continuation(self._text, prompt, word, place, spaced)

    def single_token(self, word: str, place: str = "target", prompt: Before | None = None) -> int:
        """The id of a word that is exactly one token after a prompt; without one, the same after any prompt.

        `place` says in an error where the word stands.

        Raises:
            UserError: it is several tokens (says which, and what to do), or two tokens could be meant.
        """
        return single_token(self._text, word, place, prompt)

    def chat(self, messages: Sequence[dict[str, str]]) -> Int[Tensor, "1 pos"]:
        """Tokens of a conversation, up to the assistant's turn: what the chat template gives, BOS or none."""
        return torch.tensor([self.conversation(messages)], device=self.device)

    def conversation(self, messages: Sequence[dict[str, str]]) -> Conversation:
        """The same as token ids, which stay as they are where prompts are padded and read.

        Raises:
            UserError: there is no template, or it refuses these messages; or a word is not in the vocabulary.
        """
        return self._text.chat(messages)

    def decode(self, ids: Sequence[int] | Int[Tensor, " pos"]) -> str:
        """The text of these tokens."""
        return self._text.decode([int(i) for i in ids])

    def token_strings(self, ids: Sequence[int] | Int[Tensor, " pos"]) -> list[str]:
        """What each token adds to a text, its space included: laid end to end they are the text.

        Of `world`, which writes a space between any two of its words, no token has one; a token whose bytes
        are a part of a character shows U+FFFD for it.
        """
        return self._text.strings([int(i) for i in ids])

    def logits(
        self, tokens: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None = None
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """The logits after every position.

        They are the largest tensor of a pass: take `logits_at` for one position a row, and `normed` with
        `interp.subject.unembedding.in_blocks` to measure many.
        """
        return self._forward(tokens, attention_mask)

    def normed(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        prompt_length: int | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """What is unembedded after every position, the final residual behind its norm; makes no logits.

        `prompt_length` as in `logits_at`; `unembed` makes the logits.
        """
        return self._forward(tokens, attention_mask, prompt_length, unembedded=False)

    def logits_at(
        self,
        tokens: Int[Tensor, "batch pos"],
        columns: Int[Tensor, "batch *kept"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        prompt_length: int | None = None,
    ) -> Float[Tensor, "batch *kept d_vocab"]:
        """The logits after one column of each row, or several.

        Only these positions are unembedded, which is a good part of a pass where the vocabulary is large.
        The first `prompt_length` columns are the prompts that positions are relative to (all, if not said).
        """
        rows, kept = torch.arange(len(tokens), device=self.device), columns.to(self.device)
        rows, kept = rows[:, None], kept.reshape(len(tokens), -1)
        with (
            self._watch.over(lambda normed: normed[rows, kept], "the unembedding") as take,
            self._backend.before_unembedding(take),
        ):
            logits = self._forward(tokens, attention_mask, prompt_length)
        return logits.reshape(*columns.shape, -1)

    def visit(
        self,
        tokens: Int[Tensor, "batch pos"],
        visitors: Mapping[Site, Visitor],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> None:
        """Runs the model, calls each visitor with its site's activation, and stops after the last of them.

        Nothing behind the last site is computed, logits least of all. Activations are lent: they belong to
        the forward pass, so a visitor copies what it keeps and changes nothing in place.
        """
        with torch.inference_mode():
            self._visit(tokens, visitors, attention_mask)

    def read(
        self,
        tokens: Int[Tensor, "batch pos"],
        sites: Sequence[Site],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> dict[Site, Tensor]:
        """Activations at these sites, each a copy of its own."""
        found: dict[Site, Tensor] = {}

        def keep(site: Site) -> Visitor:
            def store(activation: Tensor) -> None:
                found[site] = activation.clone()

            return store

        self.visit(tokens, {site: keep(site) for site in sites}, attention_mask)
        return {site: found[site] for site in sites}

    @contextmanager
    def edited(self, edits: Mapping[Site, Edit]) -> Iterator[None]:
        """Within the block every forward pass uses `edit(activation)` at these sites.

        An edit returns a new tensor of the same shape. Edits nest (the outer one acts first) and end with the
        block, even after an exception.
        """
        with ExitStack() as hooks:
            for site, edit in edits.items():
                hooks.enter_context(self._hooked(site, edit))
            yield

    def run(
        self,
        text: str | Sequence[str] | Int[Tensor, "batch pos"],
        read: Sequence[Reading] = (),
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        logits: KeptLogits = "all",
    ) -> RunOutput:
        """One forward pass: the features of every space in `read`, and logits.

        `attention_mask` belongs to tokens that are padded. `logits` says after which positions they are
        kept: all of them, each text's last, or none; those of a text of 100 tokens over 262,144 words take
        105 MB. With "none" the pass stops behind the last site that is read.
        """
        if logits not in get_args(KeptLogits):
            raise UserError(f"{logits!r} are no logits", "logits", f"use {', '.join(get_args(KeptLogits))}")
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

    @contextmanager
    def intervene(self, *interventions: Intervention) -> Iterator[None]:
        """Within the block every forward pass and every generated token is changed by these interventions.

        They act in the order given, behind those of blocks around this one, and end with the block, even
        after an exception. `interp.intervene` has them.

        Raises:
            UserError: a site does not exist; later, before a model runs, a position that its text lacks.
        """
        with ExitStack() as hooks:
            for intervention in interventions:
                for site in intervention.sites:
                    hooks.enter_context(self._hooked(site, self._change(intervention, site)))
            count = len(self._interventions)
            self._interventions.extend(interventions)
            try:
                yield
            finally:
                del self._interventions[count:]

    @overload
    def generate(
        self,
        text: str | Int[Tensor, "1 pos"],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> str: ...

    @overload
    def generate(
        self,
        text: list[str],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> list[str]: ...

    def generate(
        self,
        text: str | list[str] | Int[Tensor, "1 pos"],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> str | list[str]:
        """The text that follows a prompt, or each of several, up to a token that ends it (`end_ids`).

        Greedy at temperature 0; else prompt `i` is sampled with `seed + i`. `use_cache=False` computes
        everything anew for each token, to the same result; so does a model whose library is wrong with a
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
        rows = self.generate_ids(tokens, mask, max_new_tokens, temperature, seed, use_cache)
        texts = [self.decode(row) for row in rows]
        return texts[0] if isinstance(text, str | Tensor) else texts

    @torch.no_grad()
    def generate_ids(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> list[list[int]]:
        """The new tokens of each prompt, without the one that ends them; arguments as for `generate`.

        Padding stands on the left.
        """
        start = tokens.shape[1]
        check_generation(start, max_new_tokens, self.n_ctx)
        self.check(tokens, attention_mask)
        if not bool(attention_mask[:, -1].all()):
            raise UserError("a prompt ends in padding", "attention_mask", "pad on the left, as to_batch does")
        tokens, mask = tokens.to(self.device), attention_mask.to(self.device)
        cached = use_cache and (self.gap is None or self.gap.cache_holds)
        make_step = cached_step if cached else whole_step
        step = make_step(self._backend, self._passing, start)
        return continuations(
            step, self.unembed, self.d_vocab, tokens, mask, max_new_tokens, temperature, seed, self.end_ids
        )

    @torch.no_grad()
    def score(
        self,
        prompts: str | Sequence[str | Sequence[int]],
        continuations: Sequence[str | Sequence[int]],
    ) -> Scores:
        """The log-probability of whole continuations, each behind its prompt, under active interventions.

        One prompt for all continuations, or one each. A word is written as it would follow its prompt
        (`Subject.continuation`); token ids are taken as they are, prompts without a beginning-of-sequence
        token. Positions of interventions are those of the prompt, and what is scored is `generated`: the
        result is what generation would say of the same tokens. Only scored positions are unembedded.

        Raises:
            UserError: prompts and continuations are not as many, one of them is empty or not in the
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
        """`score` of token ids behind prompts that are laid out already, padded on the left, in one pass."""
        self.check(tokens, attention_mask)
        check_continuations(continuations, self.d_vocab)
        prompts = whole(tokens.to(self.device), attention_mask.to(self.device))
        forced = followed(prompts, [answer[:-1] for answer in continuations])
        normed = self.normed(forced.tokens, forced.real.long(), prompts.prompt_length)
        return measured(self.unembed, self.d_vocab, normed[:, prompts.prompt_length - 1 :], continuations)

    @contextmanager
    def unedited(self) -> Iterator[None]:
        """Within the block the model runs as its weights have it; what other blocks attached does not act."""
        around, self._interventions = self._interventions, []
        try:
            with self._watch.paused():
                yield
        finally:
            self._interventions = around

    def writers(self) -> list[Writer]:
        """The weights that write to the residual stream, and what their outputs pass on the way.

        Raises:
            UserError: the stream is not the sum of what is written to it, or it is not known with what.
        """
        if not self.adds_up:
            raise UserError(
                f"the residual stream of {self.info.architecture} is not the sum of what its layers write: "
                "something, such as a norm, is done to the stream itself",
                f"weights of {self.name}",
                "use interventions, or attribution by gradient (interp.attribute)",
            )
        return self._backend.writers()

    def untied(self) -> AbstractContextManager[None]:
        """Within the block, a change of the embedding's weight leaves the unembedding alone."""
        return self._backend.untied()

    def output_weight(self, site: Site) -> Float[Tensor, "d_in d_model"]:
        """What a unit of each neuron (`mlp_post`), or of each element of all heads (`head_out`), adds to the
        residual stream: the output matrix, at the model's scale.

        Where a norm follows (Gemma 2, OLMo 2), before its scale, which all neurons of a token set together.

        Raises:
            UserError: there is no such site, as in a mixture of experts, or no output matrix follows it.
        """
        self.site_width(site)
        output = {"mlp_post": "mlp_out", "head_out": "attn_out"}.get(site.kind)
        found = [w for w in self._backend.writers() if (w.site.kind, w.site.layer) == (output, site.layer)]
        if len(found) != 1:
            raise UserError(f"no output matrix follows {site}", f"site {site}", "use mlp_post or head_out")
        return found[0].unscaled()

    def unembedding(self) -> Float[Tensor, "d_model d_vocab"]:
        """What the final norm puts out, times this, is the logits before their bias and any soft cap.

        A scale that the model gives its logits (Granite, Cohere) is in it.

        Raises:
            UserError: as `final_norm`.
        """
        self._check_readout()
        return self._backend.unembedding()

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The norm before the unembedding; where the model has none, what goes in.

        Raises:
            UserError: norm and unembedding do not turn the last residual stream into the model's own logits.
        """
        self._check_readout()
        return self._backend.final_norm(resid)

    def unembed(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """The logits of what the final norm puts out: its product with the unembedding, bias and soft cap.

        Raises:
            UserError: logits of something finite are not.
        """
        logits = self._backend.unembed(normed)
        overflow = normed.detach().isfinite().all(-1) & ~logits.detach().amax(-1).isfinite()
        if bool(overflow.any()):
            raise not_finite("the logits are", self.dtype, self.name)
        return logits

    @contextmanager
    def attention_blocked(
        self, layers: Iterable[int], blocked: Bool[Tensor, "batch 1 query key"]
    ) -> Iterator[None]:
        """Within the block queries of prompts [batch, query] do not attend to some keys in these layers.

        What is generated behind the prompts attends to everything. In every pass, what the layers did attend
        to is held against what is blocked.

        Raises:
            UserError: in a pass, a query is left with nothing to attend to, or a layer's attention cannot be
                blocked.
        """
        blocked = blocked.to(self.device)

        def block() -> Tensor | None:
            return blocked_in(blocked, self._running)

        def check(pattern: Tensor, layer: int) -> None:
            present = block()
            if present is not None:
                check_pattern(pattern, present, layer)

        with ExitStack() as hooks:
            for layer in layers:
                self.info.site_width(Site("attn_out", layer))
                place = f"the attention of layer {layer}"
                watched = hooks.enter_context(self._watch.over(block, place))
                hooks.enter_context(self._backend.attention_blocked(layer, watched))
                checked = hooks.enter_context(self._watch.over(partial(check, layer=layer), place))
                hooks.enter_context(self._backend.attached_to_pattern(layer, checked))
            yield

    @property
    def adds_up(self) -> bool:
        """Whether the residual stream is the sum of what is written to it, as far as is known.

        It is not where a norm stands on the stream itself (OPT-350m).
        """
        return self._adds_up

    def _check_readout(self) -> None:
        if self.gap is not None and not self.gap.lens_holds:
            raise UserError(
                f"what final norm and unembedding of {self.name} ({self.info.architecture}) give is not its "
                f"logits: it is off by {self.gap.lens:.2g} of their spread",
                f"backend {self.backend}",
                "use the logits themselves, not a lens",
            )

    @contextmanager
    def _hooked(self, site: Site, function: Hook) -> Iterator[None]:
        self.site_width(site)
        with self._watch.over(function, str(site)) as watched, self._backend.attached(site, watched):
            yield

    def _visit(self, tokens: Tensor, visitors: Mapping[Site, Visitor], attention_mask: Tensor | None) -> None:
        if not visitors:
            return
        visit = Visit(visitors)
        with ExitStack() as hooks:
            for site in visitors:
                hooks.enter_context(self._hooked(site, visit.hook(site)))
            try:
                self._forward(tokens, attention_mask)
            except EverythingSeen as end:
                site, activation = end.site, end.activation
            else:
                raise AssertionError("a pass reaches every site or says that it does not")
        mask = None if attention_mask is None else attention_mask.to(self.device)
        if not is_finite(activation, whole(tokens.to(self.device), mask)):
            self._forward(tokens, mask)  # which says where they ceased to be
            raise not_finite(f"activations at {site} are", self.dtype, self.name)

    def _forward(
        self,
        tokens: Tensor,
        mask: Tensor | None,
        prompt_length: int | None = None,
        unembedded: bool = True,
    ) -> Tensor:
        self.check(tokens, mask)
        tokens = tokens.to(self.device)
        mask = None if mask is None or bool(mask.all()) else mask.to(self.device)
        forward = whole(tokens, mask, prompt_length)

        def compute() -> Tensor:
            return self._backend.forward(tokens, mask)

        if unembedded:
            return self._passing(forward, compute)
        return self._passing(forward, lambda: kept_back(self._backend, compute))[0]

    def _passing(self, forward: ForwardPass, compute: Callable[[], Result]) -> Result:
        """Runs the model while interventions know which pass it is."""
        if forward.start == 0:
            for intervention in self._interventions:
                intervention.check(forward)
        fine: list[Tensor] = []

        def look(activation: Tensor) -> None:
            fine.append(is_finite(activation, forward))

        around, self._pass = self._pass, forward
        try:
            with self._backend.attached(Site("resid_post", self.n_layers - 1), look):
                result = self._watch.passing(compute)
            last = result[0] if isinstance(result, tuple) else result  # logits, or what would be unembedded
            assert isinstance(last, Tensor)
            fine.append(are_possible(last, forward))
            if not all(fine):
                raise self._overflow(forward, compute)
            return result
        finally:
            self._pass = around

    def _overflow(self, forward: ForwardPass, compute: Callable[[], Any]) -> UserError:
        first = first_not_finite(self._backend, self._sites(), forward, compute)
        what = "the logits are" if first is None else f"activations from {first} on are"
        return not_finite(what, self.dtype, self.name)

    def _sites(self) -> list[Site]:
        """All that the model has."""
        found = []
        for site in (Site(kind, layer) for layer in range(self.n_layers) for kind in SITE_KINDS):
            with suppress(UserError):
                self.site_width(site)
                found.append(site)
        return found

    @property
    def _running(self) -> ForwardPass:
        assert self._pass is not None, "an activation outside of a forward pass"
        return self._pass

    def _change(self, intervention: Intervention, site: Site) -> Hook:
        def change(activation: Tensor) -> Tensor:
            return intervention.apply(activation, site, self._running)

        return change
