"""What a library has to offer so that a `Subject` can stand on it."""

from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from interp.subject.attention import Block
from interp.subject.hooks import Hook
from interp.subject.site import Site
from interp.subject.writer import Writer


@runtime_checkable
class Backend(Protocol):
    """A loaded model: forward passes, hooks and weights; shapes as in `Subject`."""

    name: str
    n_ctx: int

    def check(self, site: Site) -> None:
        """Raise a UserError if the model has no such site."""
        ...

    def attached(self, site: Site, function: Hook) -> AbstractContextManager[None]:
        """Within the block `function` sees, and may replace, the activation at a site."""
        ...

    def attention_blocked(self, layer: int, block: Block) -> AbstractContextManager[None]:
        """Within the block a layer's queries do not attend to the keys that `block()` says in each pass."""
        ...

    def attached_to_pattern(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        """Within the block `function` sees what a layer attends to [batch, head, query, key]."""
        ...

    def before_unembedding(self, function: Hook) -> AbstractContextManager[None]:
        """Within the block `function` may replace what is unembedded, with fewer positions too."""
        ...

    def forward(self, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The logits after every position."""
        ...

    def extend(self, tokens: Tensor, attention_mask: Tensor, cache: Any | None) -> tuple[Tensor, Any]:
        """The logits of new tokens and the cache with them; `cache` None begins."""
        ...

    def writers(self) -> list[Writer]:
        """Everything that writes to the residual stream."""
        ...

    def untied(self) -> AbstractContextManager[None]:
        """Within the block the embedding and the unembedding are different tensors."""
        ...

    def unembedding(self) -> Tensor:
        """What turns the final residual into logits."""
        ...

    def final_norm(self, resid: Tensor) -> Tensor:
        """The norm before the unembedding."""
        ...

    def unembed(self, normed: Tensor) -> Tensor:
        """The logits of what the final norm puts out."""
        ...
