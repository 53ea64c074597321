"""Attaching a function to one of TransformerLens' hook points, for the length of a block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

SCORES = "blocks.{layer}.attn.hook_attn_scores"
Hook = Callable[[Tensor], Tensor | None]


@contextmanager
def attached(point: Any, function: Hook, first: bool = False) -> Iterator[None]:
    """Calls `function` with what passes the hook point; what it returns, if anything, passes on instead.

    Hooks act in the order in which they were attached; with `first`, before those that are there. Exactly
    this hook is taken off again, so nested blocks and hooks of others are left alone.
    """
    before = {id(handle) for handle in point.fwd_hooks}
    point.add_hook(lambda activation, hook: function(activation), prepend=first)
    (handle,) = (handle for handle in point.fwd_hooks if id(handle) not in before)
    try:
        yield
    finally:
        handle.hook.remove()
        point.fwd_hooks.remove(handle)
