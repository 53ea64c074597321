"""The `hooked` backend: the only module that knows TransformerLens' HookedTransformer."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache
from transformer_lens.components import LayerNorm, LayerNormPre, RMSNorm, RMSNormPre
from transformer_lens.pretrained import weight_conversions
from transformer_lens.utilities.activation_functions import apply_softcap

from interp.errors import UserError
from interp.subject.architectures import architecture_of
from interp.subject.attention import Block, lowered
from interp.subject.hooks import PATTERN, SCORES, Hook, attached, attached_to_argument
from interp.subject.reader import InputPoint, Norm
from interp.subject.site import Site
from interp.subject.writer import Writer


class HookedBackend:
    """A HookedTransformer built from a loaded Hugging Face model by the library's own weight conversion.

    With `fold` the weights are processed as the library does by default (layer norms folded, writing weights
    and unembedding centred, value biases folded), which changes activations but not log-probabilities.

    Raises:
        UserError: the architecture is not one that can be built here.
    """

    name = "hooked"

    def __init__(self, hf_model: Any, architecture: str, device: str, dtype: torch.dtype, fold: bool) -> None:
        family = architecture_of(architecture)
        config = HookedTransformerConfig(
            **family.settings(hf_model.config),
            original_architecture=architecture,
            model_name=architecture,
            device=device,
            dtype=dtype,
            init_weights=False,
            tokenizer_prepends_bos=False,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "HookedTransformer is deprecated", DeprecationWarning)
            self.model = HookedTransformer(config)
        with torch.no_grad():
            converted = getattr(weight_conversions, family.converter)(hf_model, self.model.cfg)
        weights = {key: tensor.detach().to(device) for key, tensor in converted.items()}
        missing = [key for key, _ in self.model.named_parameters() if key not in weights]
        if silent := [key for key in missing if key != "unembed.b_U"]:
            raise UserError(
                f"the weight conversion leaves {len(silent)} tensors unset, such as {silent[0]}",
                f"backend hooked, {architecture}",
                "use backend: bridge",
            )
        if missing:
            weights["unembed.b_U"] = torch.zeros_like(self.model.b_U)
        # Centring the unembedding shifts all logits of a position, which changes the result of a soft cap.
        capped = config.output_logits_soft_cap > 0
        self.model.load_and_process_state_dict(
            weights,
            fold_ln=fold,
            center_writing_weights=fold,
            center_unembed=fold and not capped,
            fold_value_biases=fold,
        )
        _lay_out_for_speed(self.model)
        self.model.eval().requires_grad_(False)
        self.n_ctx = int(self.model.cfg.n_ctx)

    def check(self, site: Site) -> None:
        """Checks nothing: the architectures that are built here have every site."""

    def attached(self, site: Site, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function to a site's hook point."""
        return attached(self.model.hook_dict[site.hook_name], function)

    def attention_blocked(self, layer: int, block: Block) -> AbstractContextManager[None]:
        """Lowers a layer's attention scores."""

        def edit(scores: Tensor) -> Tensor | None:
            blocked = block()
            return None if blocked is None else lowered(scores, blocked)

        return attached(self.model.hook_dict[SCORES.format(layer=layer)], edit)

    def attached_to_pattern(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function to a layer's attention pattern."""
        return attached(self.model.hook_dict[PATTERN.format(layer=layer)], function)

    def attached_to_input(self, point: InputPoint, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function to the projections' outputs, or to the MLP's call: it has no hook there."""
        if point.part == "mlp":
            return attached_to_argument(self.model.blocks[point.layer].mlp, function)
        return attached(self.model.hook_dict[f"blocks.{point.layer}.attn.hook_{point.part}"], function)

    def input_weight(
        self, point: InputPoint
    ) -> tuple[Float[Tensor, "head d_model d_head"], Float[Tensor, "head d_head"]]:
        """The weight and the bias of a projection, of key/value heads one for each group."""
        attention, part = self.model.blocks[point.layer].attn, point.part.upper()
        own = dict(attention.named_parameters(recurse=False))
        grouped = "_" if f"_W_{part}" in own else ""
        return own[f"{grouped}W_{part}"], own[f"{grouped}b_{part}"]

    def input_norms(self, layer: int) -> list[Norm]:
        """The layer's two norms; parallel layers may have one."""
        block = self.model.blocks[layer]
        return [getattr(block, name) for name in ("ln1", "ln2") if hasattr(block, name)]

    def pattern_replaced(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function to a layer's attention pattern, from which its output is computed."""
        return self.attached_to_pattern(layer, function)

    def norms(self) -> list[tuple[nn.Module, Norm]]:
        """Every norm outside of attention."""
        within = {id(module) for block in self.model.blocks for module in block.attn.modules()}
        kinds = (LayerNorm, LayerNormPre, RMSNorm, RMSNormPre)
        found = [module for module in self.model.modules() if isinstance(module, kinds)]
        return [(module, module.forward) for module in found if id(module) not in within]

    def mlp_factors(self, layer: int) -> list[Any]:
        """The hook points before the activation function, and of what it is multiplied by."""
        mlp = self.model.blocks[layer].mlp
        return [mlp.hook_pre, mlp.hook_pre_linear] if self.model.cfg.gated_mlp else [mlp.hook_pre]

    def before_unembedding(self, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function between the final norm and the unembedding."""
        return attached(self.model.unembed.hook_in, function)

    def forward(
        self, tokens: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None
    ) -> Float[Tensor, "batch kept d_vocab"]:
        """Computes the logits of the positions that are left by edits before the unembedding."""
        logits: Tensor = self.model(tokens, attention_mask=attention_mask)
        return logits

    def extend(
        self, tokens: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch seen"], cache: Any | None
    ) -> tuple[Float[Tensor, "batch kept d_vocab"], Any]:
        """Computes logits of new tokens after those in the cache, and extends the cache."""
        if cache is None:
            cache = self.new_cache(len(tokens))
        new = attention_mask[:, -tokens.shape[1] :]
        logits: Tensor = self.model(tokens, attention_mask=new, past_kv_cache=cache)
        return logits, cache

    def new_cache(self, rows: int) -> TransformerLensKeyValueCache:
        """Makes a cache without tokens."""
        return TransformerLensKeyValueCache.init_cache(self.model.cfg, self.model.cfg.device, rows)

    def select_rows(self, cache: TransformerLensKeyValueCache, rows: Int[Tensor, " row"]) -> None:
        """Makes a cache hold these of its rows."""
        cache.previous_attention_mask = cache.previous_attention_mask[rows]
        for entry in cache.entries:
            entry.past_keys, entry.past_values = entry.past_keys[rows], entry.past_values[rows]

    def crop(self, cache: TransformerLensKeyValueCache, length: int) -> bool:
        """Cuts a cache down to its first tokens: also with sliding windows, it has kept all of them."""
        cache.previous_attention_mask = cache.previous_attention_mask[:, :length]
        for entry in cache.entries:
            entry.past_keys, entry.past_values = entry.past_keys[:, :length], entry.past_values[:, :length]
        return True

    def writers(self) -> list[Writer]:
        """The embeddings and every layer's output matrices."""
        start = Site("resid_pre", 0)
        found = [Writer(start, self.model.embed.W_E, -1, self.model.embed, None)]
        if self.model.cfg.positional_embedding_type == "standard":
            found.append(Writer(start, self.model.pos_embed.W_pos, -1, self.model.pos_embed, None))
        for layer, block in enumerate(self.model.blocks):
            after = [getattr(block, name, None) for name in ("ln1_post", "ln2_post")]
            attention, mlp = Site("attn_out", layer), Site("mlp_out", layer)
            found.append(Writer(attention, block.attn.W_O, -1, block.attn, "b_O", norm=after[0]))
            found.append(Writer(mlp, block.mlp.W_out, -1, block.mlp, "b_out", norm=after[1]))
        return found

    def untied(self) -> AbstractContextManager[None]:
        """Does nothing: the library has separate tensors."""
        return nullcontext()

    def unembedding(self) -> Float[Tensor, "d_model d_vocab"]:
        """The unembedding, without the final norm."""
        weight: Tensor = self.model.W_U
        return weight

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Applies the norm before the unembedding, to any batch shape."""
        shaped = resid if resid.ndim == 3 else resid.reshape(1, -1, resid.shape[-1])
        normed: Tensor = self.model.ln_final(shaped)
        return normed.reshape(resid.shape)

    def unembed(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Multiplies by the unembedding, adds its bias, and applies the soft cap."""
        logits: Tensor = normed @ self.model.W_U + self.model.b_U
        capped: Tensor = apply_softcap(logits, self.model.cfg.output_logits_soft_cap)
        return capped


def _lay_out_for_speed(model: HookedTransformer) -> None:
    """Stores weights in the memory order of the library's forward pass, which else copies them in each pass.

    Shapes and values do not change.
    """
    for block in model.blocks:
        for weight in (block.mlp.W_in, getattr(block.mlp, "W_gate", None), block.mlp.W_out):
            if weight is not None:
                weight.data = weight.data.T.contiguous().T
        for name, weight in block.attn.named_parameters(recurse=False):
            if name.lstrip("_") in ("W_Q", "W_K", "W_V"):  # [head, d_model, d_head]
                weight.data = weight.data.transpose(1, 2).contiguous().transpose(1, 2)
            elif name == "W_O":  # [head, d_head, d_model]
                weight.data = weight.data.permute(2, 0, 1).contiguous().permute(1, 2, 0)
