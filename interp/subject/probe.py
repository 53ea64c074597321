"""Checks that sites are what their names say: reads and edits each once, and compares the stream's sums."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.backend import Backend
from interp.subject.folder import SubjectInfo
from interp.subject.hooks import Hook
from interp.subject.site import SITE_KINDS, Site


@dataclass(frozen=True)
class Probe:
    """Faults of sites, in words; and whether the residual stream is a sum.

    It is a sum if every layer adds its attention's and its MLP's output to it, and nothing else changes it
    (unlike OPT-350m, which has a norm on the stream itself).
    """

    faults: Mapping[Site, str]
    adds_up: bool


def probe(backend: Backend, info: SubjectInfo, tokens: Int[Tensor, "1 pos"], tolerance: float) -> Probe:
    """Checks every site in one forward and one backward pass.

    Readings are right if resid_post = resid_pre + attn_out + mlp_out, resid_mid lies between, and resid_post
    equals the next layer's resid_pre. Edits are right if the logits have the same gradient with respect to
    all that is added to the same stream. `tolerance` is relative to the largest element.
    """
    seen = _look(backend, info, tokens, tolerance)
    wholes = [_layer_adds_up(seen, layer) for layer in range(info.n_layers)]
    return Probe(seen.faults, all(wholes))


@dataclass
class _Seen:
    """The activation at each site, the gradient of the logits with respect to it, and its fault if any."""

    tolerance: float
    values: dict[Site, Tensor] = field(default_factory=dict)
    steps: dict[Site, Tensor] = field(default_factory=dict)
    gradients: dict[Site, Tensor] = field(default_factory=dict)
    faults: dict[Site, str] = field(default_factory=dict)

    def hook(self, site: Site) -> Hook:
        """Makes a hook that keeps the activation, and adds a zero to differentiate the logits by."""

        def look(activation: Tensor) -> Tensor:
            self.values[site] = activation.detach()
            self.steps[site] = torch.zeros_like(activation, requires_grad=True)
            return activation + self.steps[site]

        return look

    def sound(self, *sites: Site) -> bool:
        """Whether the sites exist, and have no fault so far."""
        return all(site in self.gradients and site not in self.faults for site in sites)

    def close(self, left: Tensor, right: Tensor) -> bool:
        return float((left - right).abs().max()) <= self.tolerance * float(right.abs().max())

    def same_edit(self, site: Site, stream: Site) -> None:
        """Notes a fault unless the gradients show that edits of both have the same effect."""
        if self.sound(site, stream) and not self.close(self.gradients[site], self.gradients[stream]):
            self.faults[site] = f"an edit there does not do what the same edit of {stream} does"


def _look(backend: Backend, info: SubjectInfo, tokens: Int[Tensor, "1 pos"], tolerance: float) -> _Seen:
    seen, sites = _Seen(tolerance), list(_existing(backend, info))
    with torch.enable_grad(), ExitStack() as hooks:
        for site in sites:
            hooks.enter_context(backend.attached(site, seen.hook(site)))
        hooks.enter_context(backend.before_unembedding(lambda normed: normed[:, -1:]))
        logits = backend.forward(tokens, None)[0, -1].float()
        span = logits.max() - logits.min()
        found = torch.autograd.grad(span, list(seen.steps.values()), allow_unused=True)
    gradients = dict(zip(seen.steps, found, strict=True))
    for site in sites:
        width = info.site_width(site)
        if site not in seen.values:
            seen.faults[site] = "the forward pass never reaches it"
        elif seen.values[site].shape[-1] != width:
            seen.faults[site] = f"it is {seen.values[site].shape[-1]} wide, not {width}"
        elif (gradient := gradients[site]) is None:
            seen.faults[site] = "an edit there does not reach the logits"
        else:
            seen.gradients[site] = gradient
    return seen


def _layer_adds_up(seen: _Seen, layer: int) -> bool:
    """Notes the faults of a layer's sites; returns whether its stream is a sum."""
    pre, attention, mlp = Site("resid_pre", layer), Site("attn_out", layer), Site("mlp_out", layer)
    middle, post, after = Site("resid_mid", layer), Site("resid_post", layer), Site("resid_pre", layer + 1)
    values = seen.values
    whole = seen.sound(pre, attention, mlp, post) and seen.close(
        values[pre] + values[attention] + values[mlp], values[post]
    )
    if seen.sound(pre, attention, middle) and not seen.close(values[pre] + values[attention], values[middle]):
        seen.faults[middle] = f"it is not {pre} + {attention}: something is done to the stream in between"
    if seen.sound(post, after) and not seen.close(values[post], values[after]):
        seen.faults[post] = f"it is not what {after} is"
    seen.same_edit(post, after)
    if whole:
        seen.same_edit(mlp, post)
        seen.same_edit(attention, middle if seen.sound(middle) else post)
    return whole


def _existing(backend: Backend, info: SubjectInfo) -> Iterator[Site]:
    for kind in SITE_KINDS:
        for layer in range(1 if kind == "embed" else info.n_layers):
            try:
                info.site_width(Site(kind, layer))
                backend.check(Site(kind, layer))
            except UserError:
                continue
            yield Site(kind, layer)
