"""A forward pass made linear in the residual stream: what depends on the prompt in other ways is held.

As in attribution graphs (Ameisen et al. 2025, Circuit Tracing, "local replacement model"): the scales of
norms and the attention patterns are constants of the prompt. MLPs are nonlinear unless a rule makes them
linear.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp.errors import UserError
from interp.subject.backend import Backend
from interp.subject.frozen_norm import FrozenNorm
from interp.subject.hooks import Watch, attached
from interp.subject.site import Site

Rule = Literal["half", "gate"]
"""How neurons are made linear in their factors, whose product with an activation function they are.

`half`: each factor's share is one half (RelP: Jafari et al. 2025, arXiv 2508.21258, and the half rule of
Arras et al. 2017): a = (a0/g0) g / 2 + (a0/u0) u / 2 for a gate's input g and the other factor u, with a0,
g0, u0 of the prompt. `gate`: what the gate gives is held: a = (a0/u0) u. A neuron without a gate has one
factor.
"""


class Linearised:
    """Records what is held in one forward pass, and holds it in others of the same prompt.

    Values of the prompt itself are unchanged, up to rounding; of any other residual stream the pass is a
    linear map plus a constant. A batch may hold copies of the prompt.
    """

    def __init__(self, backend: Backend, watch: Watch, norms: Mapping[nn.Module, FrozenNorm]) -> None:
        self._backend, self._watch, self._norms = backend, watch, norms
        self._scales: dict[nn.Module, Tensor] = {}
        self._patterns: dict[int, Tensor] = {}
        self._slopes: dict[int, list[Tensor]] = {}

    @contextmanager
    def recording(self, attention: Mapping[int, str], mlps: Mapping[int, Rule]) -> Iterator[None]:
        """Within the block a pass is recorded: norms, patterns of these layers (with the place to name in
        errors), and the factors of these layers' neurons."""
        with ExitStack() as hooks:
            for module in self._norms:
                hooks.enter_context(_around(module, partial(self._record_scale, module)))
            for layer, place in attention.items():
                keep = hooks.enter_context(self._watch.over(partial(self._record_pattern, layer), place))
                hooks.enter_context(self._backend.pattern_replaced(layer, keep))
            for layer, rule in mlps.items():
                hooks.enter_context(self._at_neurons(layer, partial(self._record_slopes, layer, rule)))
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block every pass has what was recorded."""
        with ExitStack() as hooks:
            for module in self._scales:
                hooks.enter_context(_around(module, partial(self._with_scale, module)))
            for layer in self._patterns:
                hooks.enter_context(self._backend.pattern_replaced(layer, partial(self._pattern, layer)))
            for layer in self._slopes:
                hooks.enter_context(self._at_neurons(layer, partial(self._linear, layer)))
            yield

    @contextmanager
    def _at_neurons(
        self, layer: int, function: Callable[[list[Tensor], Tensor], Tensor | None]
    ) -> Iterator[None]:
        """Calls `function` with a layer's factors and neurons, and replaces the neurons."""
        factors: dict[int, Tensor] = {}
        points = self._backend.mlp_factors(layer)
        with ExitStack() as hooks:
            for number, point in enumerate(points):
                hooks.enter_context(attached(point, partial(factors.__setitem__, number)))

            def at_neurons(neurons: Tensor) -> Tensor | None:
                return function([factors[number] for number in range(len(points))], neurons)

            hooks.enter_context(self._backend.attached(Site("mlp_post", layer), at_neurons))
            yield

    def _record_scale(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        self._scales[module] = self._norms[module].scale(x.detach().flatten(0, -2))[:, None]

    def _with_scale(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        norm, scale = self._norms[module], self._scales[module]
        _fits(x.numel() // x.shape[-1] % len(scale) == 0)
        copies = x.to(norm.weight.dtype).reshape(-1, *scale.shape[:1], x.shape[-1])
        return (norm.linear(copies) / scale + norm.bias).to(y.dtype).view_as(y)

    def _record_pattern(self, layer: int, pattern: Float[Tensor, "batch head query key"]) -> None:
        self._patterns[layer] = pattern.detach()

    def _pattern(self, layer: int, pattern: Float[Tensor, "batch head query key"]) -> Tensor:
        kept = self._patterns[layer]
        _fits(pattern.shape[-2:] == kept.shape[-2:] and len(pattern) % len(kept) == 0)
        return kept.repeat(len(pattern) // len(kept), 1, 1, 1)

    def _record_slopes(self, layer: int, rule: Rule, factors: list[Tensor], neurons: Tensor) -> None:
        taking = factors if rule == "half" else factors[-1:]
        share = neurons.detach().float() / len(taking)
        slopes = [torch.where(factor == 0, 0, share / factor.detach()) for factor in taking]
        self._slopes[layer] = [*(torch.zeros_like(share) for _ in factors[len(slopes) :]), *slopes]

    def _linear(self, layer: int, factors: list[Tensor], neurons: Tensor) -> Tensor:
        terms = [slope * factor for slope, factor in zip(self._slopes[layer], factors, strict=True)]
        return torch.stack(terms).sum(0).to(neurons.dtype)


@contextmanager
def _around(module: nn.Module, function: Callable[[Tensor, Tensor], Tensor | None]) -> Iterator[None]:
    """Calls `function` with a norm's input and output, and replaces the output by the result if there is one.

    Where the library has hook points inside the norm, the input is that after all edits of the first of them,
    also of those attached later, and edits of the last one see the new output.
    """
    kept: list[Tensor] = []
    first, last = (getattr(module, f"hook_{end}", None) for end in ("in", "out"))
    after_edits: list[Any] = []

    def before(_: nn.Module, given: tuple[Any, ...]) -> None:
        kept[:] = given[:1]
        while after_edits:
            after_edits.pop().remove()
        if first is not None:
            after_edits.append(first.register_forward_hook(lambda _, inputs, output: kept.append(output)))

    def at_end(_: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return function(kept[-1], output)

    with ExitStack() as hooks:
        hooks.callback(module.register_forward_pre_hook(before).remove)
        # a plain hook of torch: the library's own reshape OPT's activations, also where they are not flat
        hooks.callback((last or module).register_forward_hook(at_end, prepend=True).remove)
        try:
            yield
        finally:
            while after_edits:
                after_edits.pop().remove()


def _fits(fits: bool) -> None:
    if not fits:
        raise UserError(
            "the tokens are not those, or copies of those, for which norms and attention are held",
            "linearised pass",
            "run the prompts that they were recorded on",
        )
