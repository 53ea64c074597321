"""The weights that write to the residual stream, independent of a library's names."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from interp.subject.frozen_norm import FrozenNorm
from interp.subject.site import Site
from interp.subject.stored import stored


@dataclass(frozen=True, eq=False)
class Writer:
    """A matrix whose outputs are vectors of the residual stream.

    `weight` has them along `axis` (-2 or -1). `site` is where its output, bias included, appears: for
    embeddings `resid_pre.0`, else `attn_out` or `mlp_out` of its layer. The bias is the parameter `bias` of
    `owner`, None there if the layer has none; `bias` is None for embeddings.

    On the way to its site the output passes a `norm` (Gemma 2, OLMo 2), or is multiplied by `scale`
    (Granite). In a mixture of experts each writes a share that depends on the token (`routed`).

    Where a model keeps its weight packed into few bits, or off its device, `read` gives a copy as numbers,
    and changing it would change nothing; None elsewhere.
    """

    site: Site
    weight: nn.Parameter
    axis: int
    owner: nn.Module
    bias: str | None
    scale: float = 1.0
    norm: Callable[[Tensor], Tensor] | None = None
    routed: bool = False
    read: Callable[[], Tensor] | None = None

    def values(self) -> Tensor:
        """The weight as numbers, in its own layout."""
        return self.weight if self.read is None else self.read()

    def matrix(self) -> Float[Tensor, "n_in d_model"]:
        """The weight as [n_in, d_model]; for a weight with heads, the inputs of one head after another."""
        inputs_first = self.values().movedim(self.axis, -1)
        return inputs_first.reshape(-1, inputs_first.shape[-1])

    def offset(self) -> Tensor | None:
        """The bias [d_model], or those of all experts; None if there is none."""
        if self.bias is None or getattr(self.owner, self.bias) is None:
            return None
        return stored(self.owner, self.weight.dtype, self.bias)

    def added(
        self, parts: Float[Tensor, "*part d_model"], inputs: Float[Tensor, "1 n_in"]
    ) -> Float[Tensor, "*part d_model"]:
        """What parts of an output add to the residual stream, with a norm's scale held at these inputs."""
        if self.norm is None:
            return self.scale * parts
        matrix = self.matrix()
        norm = self._frozen(matrix)
        return (norm.linear(parts.float()) / norm.scale(self._output(matrix, inputs))).to(parts.dtype)

    def pulled_back(
        self, direction: Float[Tensor, "item d_model"], inputs: Float[Tensor, "item n_in"]
    ) -> Float[Tensor, "item d_model"]:
        """For each item, the direction v with <direction, added(part)> = <v, part>."""
        if self.norm is None:
            return self.scale * direction
        matrix = self.matrix()
        norm = self._frozen(matrix)
        return norm.pulled_back(direction) / norm.scale(self._output(matrix, inputs))[:, None]

    def unscaled(self) -> Float[Tensor, "n_in d_model"]:
        """What one unit of each input adds to the residual stream; if a norm follows, before its scale."""
        matrix = self.matrix()
        if self.norm is not None:
            return self._frozen(matrix).linear(matrix.float()).to(matrix.dtype)
        return matrix if self.scale == 1 else self.scale * matrix

    def constant(
        self, direction: Float[Tensor, "item d_model"], back: Float[Tensor, "item d_model"]
    ) -> Tensor:
        """What the biases add along a direction, given `back`, what it is `pulled_back` to."""
        found = direction.new_zeros(len(direction))
        if (offset := self.offset()) is not None:
            found = found + back @ offset.float()
        if self.norm is not None:
            found = found + direction @ self._frozen(self.matrix()).bias
        return found

    def _output(
        self, matrix: Float[Tensor, "n_in d_model"], inputs: Float[Tensor, "item n_in"]
    ) -> Float[Tensor, "item d_model"]:
        output = inputs.to(matrix.device).float() @ matrix.float()
        offset = self.offset()
        return output if offset is None else output + offset.float()

    def _frozen(self, matrix: Float[Tensor, "n_in d_model"]) -> FrozenNorm:
        assert self.norm is not None
        return FrozenNorm.of(self.norm, matrix.shape[1], matrix.device, matrix.dtype)
