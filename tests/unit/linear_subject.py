"""A subject whose model is linear, so that effects can be written down: a backend on hook points."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

import interp
from interp.errors import UserError
from interp.subject import Site, Subject
from interp.subject.attention import Block
from interp.subject.hooks import Hook, attached
from interp.subject.model import Loaded
from interp.subject.reader import InputPoint, Norm
from interp.subject.text import Text
from interp.subject.writer import Writer


class LinearBackend(nn.Module):
    """Each layer adds a linear MLP of the mean over all tokens so far; no norm, no attention, no bias.

    Left padding is left out of the mean. `mlp_post` is the MLP's inside, as in a real one.
    """

    name = "linear"
    n_ctx = 256

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def weight(rows: int, columns: int) -> nn.Parameter:
            drawn = torch.randn(rows, columns, generator=generator) / rows**0.5
            return nn.Parameter(drawn, requires_grad=False)

        d_mlp = subject.d_mlp
        layers = range(subject.n_layers)
        self.embed = weight(subject.d_vocab, subject.d_model)
        self.inner = nn.ParameterList([weight(subject.d_model, d_mlp) for _ in layers])
        self.outer = nn.ParameterList([weight(d_mlp, subject.d_model) for _ in layers])
        self.to_logits = weight(subject.d_model, subject.d_vocab)
        sites = [Site(kind, layer) for kind in ("mlp_post", "resid_post") for layer in layers]
        sites.append(Site("resid_pre", 0))
        self.last = HookPoint()
        self.points = {str(site): HookPoint() for site in sites}

    def check(self, site: Site) -> None:
        if str(site) not in self.points:
            raise UserError(f"there is no {site}", "linear model", "use mlp_post or resid_post")

    def attached(self, site: Site, function: Hook) -> AbstractContextManager[None]:
        return attached(self.points[str(site)], function)

    def attention_blocked(self, layer: int, block: Block) -> AbstractContextManager[None]:
        raise NotImplementedError("this model has no attention")

    def attached_to_pattern(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        raise NotImplementedError("this model has no attention")

    def attached_to_input(self, point: InputPoint, function: Hook) -> AbstractContextManager[None]:
        raise NotImplementedError("its layers have no parts")

    def input_weight(self, point: InputPoint) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError("its layers have no parts")

    def input_norms(self, layer: int) -> list[Norm]:
        return []

    def pattern_replaced(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        raise NotImplementedError("this model has no attention")

    def norms(self) -> list[tuple[nn.Module, Norm]]:
        return []

    def mlp_factors(self, layer: int) -> list[Any]:
        raise NotImplementedError("its neurons are linear as they are")

    def before_unembedding(self, function: Hook) -> AbstractContextManager[None]:
        return attached(self.last, function)

    def forward(self, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
        real = torch.ones_like(tokens) if attention_mask is None else attention_mask
        counted = real.cumsum(1).clamp(min=1)[..., None]
        resid = self.points["resid_pre.0"](self.embed[tokens] * real[..., None])
        for layer, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            mean = (resid * real[..., None]).cumsum(1) / counted
            neurons = self.points[f"mlp_post.{layer}"](mean @ inner)
            resid = self.points[f"resid_post.{layer}"](resid + neurons @ outer)
        return self.last(resid) @ self.to_logits

    def extend(self, tokens: Tensor, attention_mask: Tensor, cache: Any | None) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def new_cache(self, rows: int) -> Any:
        raise NotImplementedError

    def select_rows(self, cache: Any, rows: Tensor) -> None:
        raise NotImplementedError

    def crop(self, cache: Any, length: int) -> bool:
        raise NotImplementedError

    def writers(self) -> list[Writer]:
        layers = enumerate(self.outer)
        return [Writer(Site("mlp_out", n), weight, -1, self, None) for n, weight in layers]

    def untied(self) -> AbstractContextManager[None]:
        return nullcontext()

    def unembedding(self) -> Tensor:
        return self.to_logits

    def final_norm(self, resid: Tensor) -> Tensor:
        return resid

    def unembed(self, normed: Tensor) -> Tensor:
        return normed @ self.to_logits


def linear_subject() -> Subject:
    """The world's tokenizer and sizes around a linear model."""
    world = interp.load("world", device="cpu")
    text = Text(world.info.folder, world.d_vocab)
    return Subject(Loaded(LinearBackend(world), world.info, torch.device("cpu"), torch.float32), text)
