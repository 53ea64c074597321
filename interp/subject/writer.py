"""The weights that write to the residual stream, independent of a library's names."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from interp.subject.frozen_norm import FrozenNorm
from interp.subject.site import Site


@dataclass(frozen=True, eq=False)
class Writer:
    """A matrix whose outputs are vectors of the residual stream.

    `weight` has them along `axis` (-2 or -1). `site` is where its output, bias included, appears: for
    embeddings `resid_pre.0`, else `attn_out` or `mlp_out` of its layer. The bias is the parameter `bias` of
    `owner`, None there if the layer has none; `bias` is None for embeddings.

    On the way to its site the output passes a `norm` (Gemma 2, OLMo 2), or is multiplied by `scale`
    (Granite). In a mixture of experts each writes a share that depends on the token (`routed`).
    """

    site: Site
    weight: nn.Parameter
    axis: int
    owner: nn.Module
    bias: str | None
    scale: float = 1.0
    norm: Callable[[Tensor], Tensor] | None = None
    routed: bool = False

    def matrix(self) -> Float[Tensor, "n_in d_model"]:
        """The weight as [n_in, d_model]; for a weight with heads, the inputs of one head after another."""
        inputs_first = self.weight.movedim(self.axis, -1)
        return inputs_first.reshape(-1, inputs_first.shape[-1])

    def offset(self) -> nn.Parameter | None:
        """The bias [d_model], or those of all experts; None if there is none."""
        return None if self.bias is None else getattr(self.owner, self.bias)

    def added(
        self, parts: Float[Tensor, "*part d_model"], inputs: Float[Tensor, "1 n_in"]
    ) -> Float[Tensor, "*part d_model"]:
        """What parts of an output add to the residual stream, with a norm's scale held at these inputs."""
        if self.norm is None:
            return self.scale * parts
        norm = self._frozen()
        return (norm.linear(parts.float()) / norm.scale(self._output(inputs))).to(parts.dtype)

    def pulled_back(
        self, direction: Float[Tensor, "item d_model"], inputs: Float[Tensor, "item n_in"]
    ) -> Float[Tensor, "item d_model"]:
        """For each item, the direction v with <direction, added(part)> = <v, part>."""
        if self.norm is None:
            return self.scale * direction
        norm = self._frozen()
        return norm.pulled_back(direction) / norm.scale(self._output(inputs))[:, None]

    def unscaled(self) -> Float[Tensor, "n_in d_model"]:
        """What one unit of each input adds to the residual stream; if a norm follows, before its scale."""
        if self.norm is not None:
            return self._frozen().linear(self.matrix().float()).to(self.weight.dtype)
        return self.matrix() if self.scale == 1 else self.scale * self.matrix()

    def constant(
        self, direction: Float[Tensor, "item d_model"], back: Float[Tensor, "item d_model"]
    ) -> Tensor:
        """What the biases add along a direction, given `back`, what it is `pulled_back` to."""
        found = direction.new_zeros(len(direction))
        if (offset := self.offset()) is not None:
            found = found + back @ offset.float()
        if self.norm is not None:
            found = found + direction @ self._frozen().bias
        return found

    def _output(self, inputs: Float[Tensor, "item n_in"]) -> Float[Tensor, "item d_model"]:
        output = inputs.to(self.weight.device).float() @ self.matrix().float()
        offset = self.offset()
        return output if offset is None else output + offset.float()

    def _frozen(self) -> FrozenNorm:
        assert self.norm is not None
        width = self.weight.shape[self.axis]
        return FrozenNorm.of(self.norm, width, self.weight.device, self.weight.dtype)
