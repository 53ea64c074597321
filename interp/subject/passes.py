"""Forward passes of a model: reading, editing and interventions, with checks of every pass."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.device import sent
from interp.errors import UserError
from interp.subject.attention import blocked_in, check_pattern
from interp.subject.check import check_bos, check_mask, check_tokens
from interp.subject.forward import ForwardPass, Intervention, whole_pass
from interp.subject.frozen_norm import FrozenNorm
from interp.subject.hooks import EverythingSeen, Hook, Visit, Visitor, Watch
from interp.subject.linearised import Linearised, Rule
from interp.subject.memory import fitting
from interp.subject.model import Loaded, Model
from interp.subject.non_finite import are_possible, first_not_finite, is_finite, not_finite
from interp.subject.reader import InputPoint
from interp.subject.site import Site
from interp.subject.unembedding import kept_back

Edit = Callable[[Tensor], Tensor]
Result = TypeVar("Result")


class Passes(Model):
    """A model that runs on tokens, and can be read and changed; the second part of a `Subject`.

    `bos_id` is the token that begins a row, `padding_id` the one that pads it.
    """

    def __init__(self, loaded: Loaded, bos_id: int | None, padding_id: int | None) -> None:
        super().__init__(loaded)
        self.bos_id = bos_id
        self._padding_id = padding_id
        self._interventions: list[Intervention] = []
        self._pass: ForwardPass | None = None
        self._watch = Watch(self.name)

    def check(self, tokens: Int[Tensor, "batch pos"], attention_mask: Tensor | None = None) -> None:
        """Checks tokens before they enter the model; every method that runs it does this.

        Raises:
            UserError: they do not fit the context or the vocabulary, the mask has another shape, or a row
                begins with padding and there is no mask, or with two beginning-of-sequence tokens.
        """
        check_tokens(tokens, self.n_ctx, self.d_vocab, self.name)
        check_mask(tokens, attention_mask, self._padding_id, self.bos_id)
        check_bos(tokens, attention_mask, self.bos_id)

    def logits(
        self, tokens: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None = None
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """Computes the logits after every position.

        They are the largest tensor of a pass: use `logits_at` for one position a row, and `normed` with
        `interp.subject.unembedding.in_blocks` to measure many.
        """
        return self._forward(tokens, attention_mask)

    def normed(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        prompt_length: int | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """Computes the final norm's output, which is unembedded, at every position, without logits.

        `prompt_length` as in `logits_at`; `unembed` makes the logits.
        """
        return self._forward(tokens, attention_mask, prompt_length, unembedded=False)

    def logits_at(
        self,
        tokens: Int[Tensor, "batch pos"],
        columns: Int[Tensor, " batch *kept"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        prompt_length: int | None = None,
    ) -> Float[Tensor, "batch *kept d_vocab"]:
        """Computes the logits after one column of each row, or several.

        Only these positions are unembedded, which is a good part of a pass where the vocabulary is large.
        The first `prompt_length` columns (default: all) are the prompts that positions are relative to.
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
        checked: bool = True,
    ) -> None:
        """Runs the model, calls each visitor with its site's activation, and stops after the last of them.

        Nothing after the last site is computed, so no logits. Activations belong to the forward pass: a
        visitor copies what it keeps, and changes nothing in place. With tokens of the host and `checked`
        false the host does not wait for a GPU: visitors then see themselves that activations are finite.
        """
        with torch.inference_mode():
            self._visit(tokens, visitors, attention_mask, checked)

    @property
    def caches(self) -> bool:
        """Whether `visit_after` may be used: the library is right with a cache, and no edit is active."""
        return self.gap is not None and self.gap.cache_holds and not self._watch.attached

    def visit_after(
        self,
        shared: Int[Tensor, "prefix before"],
        prefix_of: Int[Tensor, " row"],
        tokens: Int[Tensor, "row pos"],
        visitors: Mapping[Site, Visitor],
    ) -> None:
        """As `visit`, of rows that begin with shared tokens, which are run once.

        Row i is `shared[prefix_of[i]]` then `tokens[i]`; visitors see [row, pos, ...] of `tokens` alone. Keys
        and values of the shared tokens are kept for the length of the call. Needs `caches`.
        """
        assert self.caches, "edits would change the shared tokens another way than in a whole row"
        shared, tokens = shared.to(self.device), tokens.to(self.device)
        prefix_of = prefix_of.to(self.device)
        whole = torch.cat([shared[prefix_of], tokens], 1)
        before, real = shared.shape[1], torch.ones_like(whole)
        self.check(whole, real)
        cache = self._backend.new_cache(len(shared))
        with torch.inference_mode():
            self._seen(
                {site: lambda _: None for site in visitors},
                whole_pass(shared, None),
                lambda: self._backend.extend(shared, torch.ones_like(shared), cache),
            )
            self._backend.select_rows(cache, prefix_of)
            self._seen(
                visitors,
                ForwardPass(whole, real.bool(), before, whole.shape[1]),
                lambda: self._backend.extend(tokens, real, cache),
            )

    def gradients(
        self,
        tokens: Int[Tensor, "batch pos"],
        start: Site,
        measures: Mapping[Site, Callable[[Tensor], Tensor]],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos *width"]:
        """Computes the gradient, at the activation of `start`, of a sum of measures of later sites.

        Nothing after the last of them is computed. Zero where there is no path, as from a silent latent.
        """
        leaves: list[Tensor] = []
        total: list[Tensor] = []

        def begin(activation: Tensor) -> Tensor:
            leaves.append(activation.detach().requires_grad_())
            return leaves[-1]

        def measured(site: Site) -> Visitor:
            def visit(activation: Tensor) -> None:
                total.append(measures[site](activation).sum())

            return visit

        with torch.enable_grad(), self.edited({start: begin}):
            self._visit(tokens, {site: measured(site) for site in measures}, attention_mask)
            value = torch.stack([each.double() for each in total]).sum()
        if not value.requires_grad:
            return torch.zeros_like(leaves[-1])
        with fitting("it computes gradients", self.device, f"model {self.name}"):
            (gradient,) = torch.autograd.grad(value, leaves[-1])
        return gradient

    def read(
        self,
        tokens: Int[Tensor, "batch pos"],
        sites: Sequence[Site],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> dict[Site, Tensor]:
        """Reads activations [batch, pos, ...] at these sites, as copies."""
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

    @contextmanager
    def inputs_edited(self, edits: Mapping[InputPoint, Edit]) -> Iterator[None]:
        """As `edited`, of what the layers' parts have read: queries, keys, values, the MLPs' inputs.

        A change there reaches one part, unlike one of the residual stream.
        """
        with ExitStack() as hooks:
            for point, edit in edits.items():
                watched = hooks.enter_context(self._watch.over(edit, str(point)))
                hooks.enter_context(self._backend.attached_to_input(point, watched))
            yield

    @contextmanager
    def intervene(self, *interventions: Intervention) -> Iterator[None]:
        """Within the block every forward pass and every generated token is changed by these interventions.

        They act in the order given, after those of enclosing blocks, and end with the block, even after an
        exception. `interp.intervene` defines them.

        Raises:
            UserError: a site does not exist; in a pass, before the model runs, a text lacks a position.
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

    @contextmanager
    def unedited(self) -> Iterator[None]:
        """Within the block the model runs without the edits and interventions of other blocks."""
        around, self._interventions = self._interventions, []
        try:
            with self._watch.paused():
                yield
        finally:
            self._interventions = around

    @contextmanager
    def attention_blocked(
        self, layers: Iterable[int], blocked: Bool[Tensor, "batch 1 query key"]
    ) -> Iterator[None]:
        """Within the block queries of prompts [batch, query] do not attend to some keys in these layers.

        Generated tokens attend to everything. In every pass, the layers' attention patterns are checked
        against what is blocked.

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

    @contextmanager
    def linearised(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        *,
        norms: bool = True,
        attention: bool = True,
        mlps: Mapping[int, Rule] | None = None,
    ) -> Iterator[None]:
        """Within the block passes over the same tokens are linear in the residual stream, up to their MLPs.

        One pass runs at once and is recorded; the scales of norms and the attention patterns of later passes
        are those that it had, whatever is edited (`interp.subject.linearised`). `mlps` maps layers to the
        rule by which their neurons are made linear, too; other MLPs stay as they are. Logits have their own
        soft cap; `normed` has none. Values of the prompt itself are unchanged up to rounding.
        Edit within the block: edits around it count when it is recorded, and not again.

        Raises:
            UserError: a layer's neurons or attention are not known; in a pass, tokens have another length.
        """
        for layer in mlps or ():
            self.site_width(Site("mlp_post", layer))
        with self.unedited():  # the probes of norms are no pass
            modules = self._backend.norms() if norms else []
            frozen = {m: FrozenNorm.of(f, self.d_model, self.device, self.dtype) for m, f in modules}
        parts = Linearised(self._backend, self._watch, frozen)
        places = {layer: f"the attention of layer {layer}" for layer in range(self.n_layers)}
        with torch.no_grad(), parts.recording(places if attention else {}, mlps or {}):
            self.normed(tokens, attention_mask)
        with parts.held():
            yield

    @contextmanager
    def _hooked(self, site: Site, function: Hook) -> Iterator[None]:
        self.site_width(site)
        with self._watch.over(function, str(site)) as watched, self._backend.attached(site, watched):
            yield

    def _visit(
        self,
        tokens: Tensor,
        visitors: Mapping[Site, Visitor],
        attention_mask: Tensor | None,
        checked: bool = True,
    ) -> None:
        if not visitors:
            return
        self.check(tokens, attention_mask)
        whole = attention_mask is None or bool(attention_mask.all())  # asked where it still is
        tokens = sent(tokens, self.device)
        mask = None if attention_mask is None else sent(attention_mask, self.device)
        short = None if whole else mask
        self._seen(visitors, whole_pass(tokens, mask), lambda: self._backend.forward(tokens, short), checked)

    def _seen(
        self,
        visitors: Mapping[Site, Visitor],
        forward: ForwardPass,
        compute: Callable[[], Any],
        checked: bool = True,
    ) -> None:
        visit = Visit(visitors)
        with ExitStack() as hooks:
            for site in visitors:
                hooks.enter_context(self._hooked(site, visit.hook(site)))
            try:
                self._passing(forward, compute)
            except EverythingSeen as end:
                site, activation = end.site, end.activation
            else:
                raise AssertionError("a pass reaches every site or says that it does not")
        if checked and not is_finite(activation, forward):
            self._forward(forward.tokens, forward.real.long())  # raises UserError with where they begin
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
        forward = whole_pass(tokens, mask, prompt_length)

        def compute() -> Tensor:
            return self._backend.forward(tokens, mask)

        if unembedded:
            return self._passing(forward, compute)
        return self._passing(forward, lambda: kept_back(self._backend, compute))[0]

    def _passing(self, forward: ForwardPass, compute: Callable[[], Result]) -> Result:
        """Runs the model while interventions know the pass, and checks that the result is finite."""
        if forward.start == 0 or forward.start < forward.prompt_length:
            for intervention in self._interventions:
                intervention.check(forward)
        fine: list[Tensor] = []

        def look(activation: Tensor) -> None:
            fine.append(is_finite(activation, forward))

        around, self._pass = self._pass, forward
        try:
            with (
                self._backend.attached(Site("resid_post", self.n_layers - 1), look),
                fitting("it reads text", self.device, f"model {self.name}"),
            ):
                result = self._watch.passing(compute)
            last = result[0] if isinstance(result, tuple) else result  # logits, or the final norm's output
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

    @property
    def _running(self) -> ForwardPass:
        assert self._pass is not None, "an activation outside of a forward pass"
        return self._pass

    def _change(self, intervention: Intervention, site: Site) -> Hook:
        def change(activation: Tensor) -> Tensor:
            return intervention.apply(activation, site, self._running)

        return change
