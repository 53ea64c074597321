"""What a library has to offer so that a `Subject` can stand on it."""

from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from interp.subject.hooks import Hook
from interp.subject.site import Site


@runtime_checkable
class Backend(Protocol):
    """A loaded model: forward passes, hooks and weights; shapes as in `Subject`."""

    name: str
    n_ctx: int

    def check(self, site: Site) -> None: ...  # noqa: D102

    def attached(self, site: Site, function: Hook) -> AbstractContextManager[None]: ...  # noqa: D102

    def forward(self, tokens: Tensor, attention_mask: Tensor | None) -> Tensor: ...  # noqa: D102

    def extend(self, tokens: Tensor, attention_mask: Tensor, cache: Any | None) -> tuple[Tensor, Any]: ...  # noqa: D102

    def mlp_output_weight(self, layer: int) -> Tensor: ...  # noqa: D102

    def unembedding(self) -> Tensor: ...  # noqa: D102

    def final_norm(self, resid: Tensor) -> Tensor: ...  # noqa: D102
