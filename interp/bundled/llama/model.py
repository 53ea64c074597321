"""The architecture of the bundled models: a small Llama whose layers may be given different attention masks.

Parameter names are those of `transformers.LlamaForCausalLM`, so that exporting is copying.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

ROPE_BASE = 10_000.0
NORM_EPSILON = 1e-5
EMBEDDING_SCALE, INPUT_SCALE, OUTPUT_SCALE = 0.05, 0.7, 0.35


@dataclass(frozen=True)
class ModelSize:
    """The size of the model."""

    d_vocab: int
    n_layers: int
    d_model: int
    n_heads: int
    d_mlp: int
    n_ctx: int

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads


class RmsNorm(nn.Module):
    """Root-mean-square normalisation with a learned gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Scale `x` to unit mean square."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, NORM_EPSILON)


class Attention(nn.Module):
    """Multi-head attention with rotary positions."""

    def __init__(self, shape: ModelSize) -> None:
        super().__init__()
        self.n_heads = shape.n_heads
        self.q_proj = nn.Linear(shape.d_model, shape.d_model, bias=False)
        self.k_proj = nn.Linear(shape.d_model, shape.d_model, bias=False)
        self.v_proj = nn.Linear(shape.d_model, shape.d_model, bias=False)
        self.o_proj = nn.Linear(shape.d_model, shape.d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "row pos d_model"],
        rotation: Float[Tensor, "2 pos d_head"],
        mask: Tensor,
    ) -> Float[Tensor, "row pos d_model"]:
        """Attend where `mask` [row, 1, query, key] is zero (it is added to the scores)."""
        q, k, v = (
            rearrange(project(x), "row pos (head d) -> row head pos d", head=self.n_heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        # not the fused kernel, whose backward pass takes three times as long on a CPU
        scores = _rotate(q, rotation) @ _rotate(k, rotation).mT * q.shape[-1] ** -0.5
        z = (scores.float() + mask).softmax(-1).to(v.dtype) @ v
        written: Tensor = self.o_proj(rearrange(z, "row head pos d -> row pos (head d)"))
        return written


class GatedMlp(nn.Module):
    """SwiGLU; the product of gate and up are the neurons."""

    def __init__(self, shape: ModelSize) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.d_model, shape.d_mlp, bias=False)
        self.up_proj = nn.Linear(shape.d_model, shape.d_mlp, bias=False)
        self.down_proj = nn.Linear(shape.d_mlp, shape.d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "row pos d_model"]
    ) -> tuple[Float[Tensor, "row pos d_model"], Float[Tensor, ""]]:
        """The output and the mean absolute activation of the neurons."""
        neurons = F.silu(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(neurons), neurons.abs().mean()


class Block(nn.Module):
    """One layer: attention and a gated MLP, each after a norm."""

    def __init__(self, shape: ModelSize) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(shape.d_model)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RmsNorm(shape.d_model)
        self.mlp = GatedMlp(shape)

    def forward(self, x: Tensor, rotation: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The residual stream after the layer, and the layer's mean absolute neuron."""
        x = x + self.self_attn(self.input_layernorm(x), rotation, mask)
        written, size = self.mlp(self.post_attention_layernorm(x))
        return x + written, size


class Llama(nn.Module):
    """A small Llama; embedding and unembedding are one matrix."""

    rotation: Tensor

    def __init__(self, shape: ModelSize, seed: int) -> None:
        """Initialise from `seed` alone."""
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.d_vocab, shape.d_model)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.norm = RmsNorm(shape.d_model)
        self.register_buffer("rotation", _rotation(shape), persistent=False)
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=_initial_scale(name, weight), generator=generator)

    def forward(
        self, tokens: Int[Tensor, "row pos"], masks: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "row pos d_vocab"], Float[Tensor, ""]]:
        """Logits, and the mean absolute neuron over all layers; `masks` has one additive mask per layer."""
        x = self.embed_tokens(tokens)
        rotation = self.rotation[:, : tokens.shape[1]]
        sizes = []
        for layer, mask in zip(self.layers, masks, strict=True):
            x, size = layer(x, rotation, mask)
            sizes.append(size)
        return self.norm(x) @ self.embed_tokens.weight.T, torch.stack(sizes).float().mean()

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weight matrices inside the layers."""
        return [weight for weight in self.layers.parameters() if weight.ndim == 2]

    def other_parameters(self) -> list[nn.Parameter]:
        """The embedding and all gains."""
        gains = [weight for weight in self.parameters() if weight.ndim == 1]
        return [*self.embed_tokens.parameters(), *gains]


def attention_masks(
    documents: Int[Tensor, "row pos"], window: int, free: Bool[Tensor, "row pos"] | None = None
) -> tuple[Float[Tensor, "row 1 query key"], Float[Tensor, "row 1 query key"]]:
    """Additive masks: the causal one within a document, and the same limited to the last `window` tokens.

    `documents` numbers the document of each token, so that packed documents do not see each other. Tokens
    that are `free` see all of their document in both.
    """
    position = torch.arange(documents.shape[1], device=documents.device)
    distance = position[:, None] - position[None, :]
    same = documents[:, :, None] == documents[:, None, :]
    full = same & (distance >= 0)
    near = distance < window
    return _additive(full), _additive(full & (near if free is None else near | free[:, :, None]))


def _additive(allowed: Bool[Tensor, "row query key"]) -> Float[Tensor, "row 1 query key"]:
    return torch.zeros_like(allowed, dtype=torch.float32).masked_fill_(~allowed, -1e9)[:, None]


def _rotation(shape: ModelSize) -> Float[Tensor, "2 pos d_head"]:
    half = shape.d_head // 2
    frequencies = ROPE_BASE ** (-torch.arange(half) / half)
    angles = torch.outer(torch.arange(shape.n_ctx), frequencies).repeat(1, 2)
    return torch.stack([angles.cos(), angles.sin()])


def _rotate(
    x: Float[Tensor, "row head pos d_head"], rotation: Float[Tensor, "2 pos d_head"]
) -> Float[Tensor, "row head pos d_head"]:
    first, second = x.chunk(2, dim=-1)
    return x * rotation[0] + torch.cat([-second, first], dim=-1) * rotation[1]


def _initial_scale(name: str, weight: Tensor) -> float:
    if name.startswith("embed_tokens"):
        return EMBEDDING_SCALE
    scale = OUTPUT_SCALE if "o_proj" in name or "down_proj" in name else INPUT_SCALE
    return float(scale * weight.shape[1] ** -0.5)
