"""The interface to a model library that a `Subject` is built on."""

from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from interp.subject.attention import Block
from interp.subject.hooks import Hook
from interp.subject.reader import InputPoint, Norm
from interp.subject.site import Site
from interp.subject.writer import Writer


@runtime_checkable
class Backend(Protocol):
    """A loaded model: forward passes, hooks and weights; shapes as in `Subject`."""

    name: str
    n_ctx: int

    def check(self, site: Site) -> None:
        """Raises UserError if the model has no such site."""
        ...

    def attached(self, site: Site, function: Hook) -> AbstractContextManager[None]:
        """Within the block `function` sees, and may replace, the activation at a site."""
        ...

    def attention_blocked(self, layer: int, block: Block) -> AbstractContextManager[None]:
        """Within the block a layer's queries do not attend to the keys that `block()` gives in each pass."""
        ...

    def attached_to_pattern(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        """Within the block `function` sees a layer's attention pattern [batch, head, query, key]."""
        ...

    def attached_to_input(self, point: InputPoint, function: Hook) -> AbstractContextManager[None]:
        """Within the block `function` sees, and may replace, what a layer's part has read (`InputPoint`)."""
        ...

    def input_weight(self, point: InputPoint) -> tuple[Tensor, Tensor | None]:
        """The weight [head, d_model, d_head] and bias [head, d_head] of a layer's `q`, `k` or `v`."""
        ...

    def input_norms(self, layer: int) -> list[Norm]:
        """The norms that may stand before a layer's parts."""
        ...

    def pattern_replaced(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        """Within the block `function` sees, and may replace, a layer's attention pattern."""
        ...

    def norms(self) -> list[tuple[nn.Module, Norm]]:
        """Every norm outside of attention: the module that a pass calls, and the function it computes."""
        ...

    def mlp_factors(self, layer: int) -> list[Any]:
        """The hook points of what a layer's neurons are a product of: the gate's input, then what it gates.

        One point where there is no gate. Raises UserError if there are no such neurons.
        """
        ...

    def before_unembedding(self, function: Hook) -> AbstractContextManager[None]:
        """Within the block `function` may replace the input of the unembedding, also by fewer positions."""
        ...

    def forward(self, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Computes the logits after every position."""
        ...

    def extend(self, tokens: Tensor, attention_mask: Tensor, cache: Any | None) -> tuple[Tensor, Any]:
        """Computes the logits of new tokens, and extends the cache; None starts a new one."""
        ...

    def new_cache(self, rows: int) -> Any:
        """Makes a cache without tokens, which `extend` fills as far down as a pass goes."""
        ...

    def select_rows(self, cache: Any, rows: Tensor) -> None:
        """Makes a cache hold these of its rows, in this order; a row may be repeated."""
        ...

    def crop(self, cache: Any, length: int) -> bool:
        """Cuts a cache down to its first `length` tokens, of more; False, and unchanged, if it lacks them."""
        ...

    def writers(self) -> list[Writer]:
        """The embeddings and every layer's output matrices."""
        ...

    def untied(self) -> AbstractContextManager[None]:
        """Within the block the embedding and the unembedding are different tensors."""
        ...

    def unembedding(self) -> Tensor:
        """The unembedding matrix [d_model, d_vocab], without the final norm."""
        ...

    def final_norm(self, resid: Tensor) -> Tensor:
        """Applies the norm before the unembedding."""
        ...

    def unembed(self, normed: Tensor) -> Tensor:
        """Computes logits from the output of the final norm."""
        ...
