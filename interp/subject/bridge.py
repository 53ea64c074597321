"""The `bridge` backend: the only module that knows TransformerLens' TransformerBridge."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components import AttentionBridge, NormalizationBridge
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from interp.errors import UserError
from interp.subject.attention import Block, lowered
from interp.subject.bridge_writers import writers_of, written_scale
from interp.subject.corrections import corrected, square
from interp.subject.folder import SubjectInfo
from interp.subject.hooks import Hook, attached
from interp.subject.placement import (
    as_if_in_one_place,
    device_of,
    devices_of,
    is_offloaded,
    is_placed,
    keep_small_parts,
)
from interp.subject.quantized import is_quantized
from interp.subject.reader import InputPoint, Norm
from interp.subject.replaced_softmax import softmax_replaced
from interp.subject.site import SITE_KINDS, Site
from interp.subject.stored import plain, stored
from interp.subject.writer import Writer


class BridgeBackend:
    """A TransformerBridge around a loaded Hugging Face model, which still does the computing.

    With `fold` the bridge processes its weights as HookedTransformer does by default. A quantised model, and
    one that `accelerate` has placed on several devices, stays where it is; on several devices every hook
    sees its activation on `device`, where the embedding is.

    Raises:
        UserError: the library has no bridge for this architecture, or none for its quantised weights.
    """

    name = "bridge"

    def __init__(self, hf_model: Any, info: SubjectInfo, device: str, dtype: torch.dtype, fold: bool) -> None:
        self._info, self._device, self._dtype = info, torch.device(device), dtype
        quantized, placed = is_quantized(hf_model), is_placed(hf_model)
        keep_small_parts(hf_model)
        unbiased = getattr(hf_model.get_output_embeddings(), "bias", None) is None
        try:
            with warnings.catch_warnings(), as_if_in_one_place(hf_model):
                warnings.simplefilter("ignore", DeprecationWarning)
                self.model = TransformerBridge.boot_transformers(
                    str(info.folder), hf_model=hf_model, tokenizer=_one_letter(), device=device, dtype=dtype
                )
                self.model.tokenizer = None
                if fold:
                    self.model.enable_compatibility_mode(disable_warnings=True)
                    self._compute_with_the_parameters()
        except Exception as error:  # the library raises ValueError, KeyError or AttributeError for this
            raise UserError(
                f"TransformerLens builds no bridge for {info.architecture} ({error})",
                str(info.folder),
                "load it without quantize, or device_map, which it may need plain weights for"
                if quantized or placed
                else "use an architecture that TransformerBridge supports",
            ) from error
        if placed and unbiased and is_offloaded(unembed := _inside(self.model.unembed)):
            unembed.bias = None  # the library adds zeros, which are not in the files that it is loaded from
        if not (quantized or placed):
            hf_model.to(device)
        hf_model.eval().requires_grad_(False)
        self._spread = placed and len(devices_of(hf_model)) > 1
        corrected(self.model, dtype)
        if fold and hasattr(hf_model, "logit_scale"):  # a scale folded into the weights is not applied again
            self.model.cfg.logit_scale = hf_model.logit_scale
        self._logit_scale = _slope_at_zero(self.model.adapter.apply_output_logits_transform)
        self.n_ctx = info.n_ctx
        self._points: dict[str, Any] = dict(self.model.hook_dict)

    def _compute_with_the_parameters(self) -> None:
        """Makes gated MLPs use their parameters: copies of processed weights would miss later changes."""
        for block in self.model.blocks:
            if hasattr(block.mlp, "_use_processed_weights"):
                block.mlp._use_processed_weights = False

    def check(self, site: Site) -> None:
        """Raises UserError if this model's bridge has no such site."""
        self._point(site)

    @contextmanager
    def attached(self, site: Site, function: Hook) -> Iterator[None]:
        """Attaches a function to a site; scales Granite's layer outputs to what is added to the stream."""
        point, function = self._point(site), self._at_home(function)
        scale = self._written_scale(site.layer)
        if site.kind == "resid_mid":
            with self._attached_to_resid_mid(site, function):
                yield
        elif site.kind in ("attn_out", "mlp_out") and scale != 1:
            block = self.model.blocks[site.layer]
            inner = block.attn if site.kind == "attn_out" else block.mlp
            with attached(inner.hook_out, _scaled(function, scale)):
                yield
        else:
            with attached(point, function):
                yield

    @contextmanager
    def attention_blocked(self, layer: int, block: Block) -> Iterator[None]:
        """Lowers the mask that a layer's attention is called with.

        Every architecture uses the mask; the library's hook on scores precedes the softmax only in some.
        """

        def edit(module: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, ...] | None:
            blocked = block()
            if blocked is None:
                return None
            states = args[0] if args else given["hidden_states"]
            blocked = blocked.to(states.device)
            mask = square(given.get("attention_mask"), states)
            if mask.dtype == torch.bool:  # true may mean seen or hidden; the last query always sees itself
                lowest = ~mask[..., -1:, -1:]
                return args, given | {"attention_mask": torch.where(blocked, lowest, mask)}
            return args, given | {"attention_mask": lowered(mask, blocked)}

        handle = self._attention(layer).register_forward_pre_hook(edit, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def attached_to_pattern(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function to a layer's attention pattern."""
        return attached(self._attention(layer).hook_pattern, self._at_home(function))

    def attached_to_input(self, point: InputPoint, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function to the projections' outputs, or to the MLP's input (its first matrix', if the
        library has no module for the MLP: OPT)."""
        block = self.model.blocks[point.layer]
        name = f"attn.hook_{point.part}"
        if point.part == "mlp":
            whole = block.mlp.original_component is not block.original_component
            name = "mlp.hook_in" if whole else "mlp.in.hook_in"
        return attached(self._points[f"blocks.{point.layer}.{name}"], self._at_home(function))

    def input_weight(
        self, point: InputPoint
    ) -> tuple[Float[Tensor, "head d_model d_head"], Float[Tensor, "head d_head"] | None]:
        """The weight and the bias of a projection, of key/value heads one for each group."""
        linear = _inside(getattr(self._attention(point.layer), point.part))
        weight = stored(linear, self._dtype)
        heads = weight.view(-1, self._info.d_head, weight.shape[1]).transpose(1, 2)
        bias = None if linear.bias is None else stored(linear, self._dtype, "bias")
        return heads, None if bias is None else bias.view(-1, self._info.d_head)

    def input_norms(self, layer: int) -> list[Norm]:
        """The layer's norms that are named as standing before a part; they may stand after one (OLMo 2)."""
        block = self.model.blocks[layer]
        return [_inside(getattr(block, name)) for name in ("ln1", "ln2") if hasattr(block, name)]

    def pattern_replaced(self, layer: int, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function to a layer's pattern where its output is computed from it.

        Where `transformers` computes the attention whole, the hook point comes too late: its softmax is
        replaced.
        """
        attention = self._attention(layer)
        function = self._at_home(function)
        if type(attention).forward is AttentionBridge.forward:
            return softmax_replaced(attention, function)
        return attached(attention.hook_pattern, function)

    def norms(self) -> list[tuple[nn.Module, Norm]]:
        """Every norm outside of attention.

        Raises:
            UserError: the model is on several devices: a norm held fixed stays on one.
        """
        if self._spread:
            raise UserError(
                "a model on several devices cannot be made linear",
                "device_map",
                "load it on one device, or use attribution by gradient (interp.attribute)",
            )
        parts = [getattr(block, "attn", None) for block in self.model.blocks]
        within = {id(module) for part in parts if part is not None for module in part.modules()}
        return [
            (module, _inside(module))
            for module in self.model.modules()
            if isinstance(module, NormalizationBridge) and id(module) not in within
        ]

    def mlp_factors(self, layer: int) -> list[Any]:
        """The outputs of the first matrices: of the gate, and of what it multiplies."""
        self.check(Site("mlp_post", layer))
        names = [f"blocks.{layer}.mlp.{part}.hook_out" for part in ("gate", "in")]
        return [self._points[name] for name in names if name in self._points]

    def before_unembedding(self, function: Hook) -> AbstractContextManager[None]:
        """Attaches a function after the final norm, before the unembedding or the projection to it."""
        first = "unembed" if self._projection is None else "project_out"
        return attached(self._points[f"{first}.hook_in"], self._at_home(function))

    def forward(
        self, tokens: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None
    ) -> Float[Tensor, "batch kept d_vocab"]:
        """Computes the logits of the positions that are left by edits before the unembedding."""
        masked = {} if attention_mask is None else _masked(tokens, attention_mask)
        logits: Tensor = self.model.original_model(input_ids=tokens, use_cache=False, **masked).logits
        return logits

    def extend(
        self, tokens: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch seen"], cache: Any | None
    ) -> tuple[Float[Tensor, "batch kept d_vocab"], Any]:
        """Computes logits of new tokens after those in the cache, and extends the cache."""
        out = self.model.original_model(
            input_ids=tokens, past_key_values=cache, use_cache=True, **_masked(tokens, attention_mask)
        )
        return out.logits, out.past_key_values

    def new_cache(self, rows: int) -> DynamicCache:
        """Makes a cache without tokens, with sliding windows where the model has them."""
        return DynamicCache(config=self.model.original_model.config)

    def select_rows(self, cache: DynamicCache, rows: Int[Tensor, " row"]) -> None:
        """Makes a cache hold these of its rows."""
        if not self._spread:
            cache.batch_select_indices(rows)
            return
        for layer in cache.layers:
            layer.batch_select_indices(rows.to(layer.keys.device) if layer.get_seq_length() else rows)

    def crop(self, cache: DynamicCache, length: int) -> bool:
        """Cuts a cache down to its first tokens; False where a layer has not kept all of them."""
        if not all(map(_keeps_everything, cache.layers)):
            return False
        cache.crop(length - cache.get_seq_length())  # the number of tokens to remove, negative
        return True

    def writers(self) -> list[Writer]:
        """The embeddings and every layer's output matrices, as `transformers` has them."""
        return writers_of(self.model, self._info.architecture, self._dtype)

    @contextmanager
    def untied(self) -> Iterator[None]:
        """Within the block the unembedding has a copy of the weight that it may share with the embedding."""
        unembed = _inside(self.model.unembed)
        shared = unembed.weight
        unembed.weight = torch.nn.Parameter(shared.data.clone(), requires_grad=False)
        try:
            yield
        finally:
            unembed.weight = shared

    def unembedding(self) -> Float[Tensor, "d_model d_vocab"]:
        """The unembedding, multiplied by the model's scale of logits, without the final norm."""
        unembed = _inside(self.model.unembed)
        weight: Tensor = self.model.W_U if plain(unembed) else stored(unembed, self._dtype).T
        if self._projection is not None:
            weight = stored(self._projection, self._dtype).T @ weight
        return weight if self._logit_scale == 1 else weight * self._logit_scale

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Applies the norm before the unembedding; returns the input if the model has none."""
        norm = getattr(self.model, "ln_final", None)
        normed: Tensor = resid if norm is None else norm(self._there(resid, norm))
        return normed.to(resid.device)

    def unembed(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Applies the model's own output layer, with its scale and soft cap of logits."""
        projected = normed if self._projection is None else self._projection(normed)
        logits: Tensor = self.model.adapter.apply_output_logits_transform(
            _inside(self.model.unembed)(self._there(projected, self.model.unembed))
        )
        return logits.to(normed.device)

    @property
    def _projection(self) -> Any | None:
        """The matrix between the residual stream and a narrower unembedding, if there is one (OPT-350m)."""
        bridge = getattr(self.model, "project_out", None)
        return None if bridge is None else _inside(bridge)

    def _written_scale(self, layer: int) -> float:
        """What a layer's outputs are multiplied by before they are added to the stream (Granite).

        The library's own hooks on the product pass on no gradients.
        """
        return written_scale(self.model.blocks[layer])

    def _there(self, activation: Tensor, bridge: Any) -> Tensor:
        """Moves an activation to where a part of a model on several devices computes."""
        return activation.to(device_of(_inside(bridge))) if self._spread else activation

    def _at_home(self, function: Hook) -> Hook:
        """Wraps a function so that it sees its activation on the subject's device, where its tensors are."""
        if not self._spread:
            return function

        def moved(activation: Tensor) -> Tensor | None:
            edited = function(activation.to(self._device))
            return None if edited is None else edited.to(activation.device)

        return moved

    def _attention(self, layer: int) -> Any:
        attention = getattr(self.model.blocks[layer], "attn", None)
        if attention is None:
            raise UserError(
                f"layer {layer} of {self._info.architecture} has no attention",
                "knockout",
                "block other layers",
            )
        return attention

    def _point(self, site: Site) -> Any:
        name = _hook_name(site)
        if name not in self._points:
            kinds = [kind for kind in SITE_KINDS if _hook_name(Site(kind, site.layer)) in self._points]
            raise UserError(
                f"the bridge of {self._info.architecture} has no {site.kind}",
                f"site {site}",
                f"use one of {', '.join(kinds)}",
            )
        return self._points[name]

    @contextmanager
    def _attached_to_resid_mid(self, site: Site, function: Hook) -> Iterator[None]:
        """Attaches to the MLP's input, and adds an edit's change to the skip connection after it, too."""
        changes: list[Tensor] = []

        def edit(activation: Tensor) -> Tensor | None:
            changes.clear()
            edited = function(activation)
            if edited is not None:
                changes.append(edited - activation)
            return edited

        def carry(activation: Tensor) -> Tensor | None:
            return activation + changes.pop() if changes else None

        with (
            attached(self._point(site), edit),
            attached(self._point(Site("resid_post", site.layer)), carry, first=True),
        ):
            yield


def _masked(
    tokens: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch seen"]
) -> dict[str, Int[Tensor, "batch _"]]:
    """The mask, and positions counted from each text's first real token."""
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    return {"attention_mask": attention_mask, "position_ids": positions}


def _keeps_everything(layer: Any) -> bool:
    """Whether a layer's cache has all tokens so far: one with a sliding window drops them once it is full.

    Of other kinds, such as those with a recurrent state, it is not known.
    """
    if type(layer) is DynamicSlidingWindowLayer:
        return bool(layer.get_seq_length() < layer.sliding_window)
    return type(layer) is DynamicLayer


def _scaled(function: Hook, scale: float) -> Hook:
    """Wraps a function of `scale` times an activation as a function of the activation."""

    def scaled(activation: Tensor) -> Tensor | None:
        edited = function(activation * scale)
        return None if edited is None else edited / scale

    return scaled


def _slope_at_zero(function: Callable[[Tensor], Tensor]) -> float:
    """The derivative at zero: the factor of a scale, with or without a soft cap after it."""
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(function(zero), zero)
    return float(slope)


def _one_letter() -> Any:
    """Makes a tiny tokenizer for the library, which would otherwise load the model's twice.

    That takes seconds at 262,000 words, and only `Text` tokenises and decodes.
    """
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))


def _inside(bridge: Any) -> Any:
    return bridge.original_component


def _hook_name(site: Site) -> str:
    """The site's name as in HookedTransformer, except for the input of the down projection."""
    return f"blocks.{site.layer}.mlp.out.hook_in" if site.kind == "mlp_post" else site.hook_name
