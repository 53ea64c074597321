"""The distance of a subject from `transformers`' own model, which a wrapping library may get wrong."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.backend import Backend
from interp.subject.quiet import first_line
from interp.subject.site import Site

N_TOKENS = 10
_PADDING = 2
TOLERANCES = {torch.float64: 1e-3, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
"""The largest `Gap` that rounding explains, by float type."""


@dataclass(frozen=True)
class Reference:
    """Outputs of `transformers`' own model on a few tokens, before any library wraps or converts it."""

    tokens: Int[Tensor, "1 pos"]
    logits: Float[Tensor, "pos d_vocab"]

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        hf_model: Any,
        bos_id: int | None,
        special_ids: Collection[int],
        n_ctx: int,
        device: torch.device | str = "cpu",
    ) -> "Reference":
        """Runs the model on tokens drawn from the vocabulary without special ones, after a BOS if it has one.

        `device` is where it takes tokens.

        Raises:
            UserError: `transformers` cannot run the model.
        """
        d_vocab = hf_model.get_input_embeddings().weight.shape[0]
        drawn = torch.randint(d_vocab, (20 * N_TOKENS,), generator=torch.Generator().manual_seed(0)).tolist()
        plain = [token for token in drawn if token not in special_ids] or drawn
        ids = [*([] if bos_id is None else [bos_id]), *plain][: max(1, min(N_TOKENS, n_ctx - _PADDING))]
        tokens = torch.tensor([ids])
        try:
            logits: Tensor = hf_model(input_ids=tokens.to(device), use_cache=False).logits[0]
        except Exception as error:  # an inconsistent configuration can raise anything
            raise UserError(
                f"transformers cannot run {type(hf_model).__name__} ({first_line(error)})",
                f"dtype {hf_model.dtype}".replace("torch.", ""),
                "use another dtype, or correct config.json",
            ) from error
        return cls(tokens, logits.float().cpu())


@dataclass(frozen=True)
class Gap:
    """Distances from `transformers`' logits on a short text: 0 if they are the same, 1.4 if unrelated.

    A distance is the root mean square over the vocabulary of the difference of log-probabilities, divided by
    the typical standard deviation of `transformers`' own; the largest of all positions. `plain` is of a pass
    over the text alone, by its logits and by those unembedded from its final norm's output, `padded` with
    padding on the left, `cached` in two pieces with a cache between them (infinite where the library cannot
    do it), `lens` what the final norm and the unembedding make of the last residual stream (None where that
    cannot be read). `tolerance` is what the float type allows.
    """

    plain: float
    padded: float
    cached: float
    lens: float | None
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether passes over whole texts agree with `transformers`."""
        return self.plain <= self.tolerance and self.padded <= self.tolerance

    @property
    def cache_holds(self) -> bool:
        """Whether passes with a cache agree with `transformers`."""
        return self.cached <= self.tolerance

    @property
    def lens_holds(self) -> bool:
        """Whether the last residual stream, normed and unembedded, gives the model's logits, if known."""
        return self.lens is None or self.lens <= self.tolerance


@torch.inference_mode()
def measure(
    backend: Backend,
    reference: Reference,
    n_layers: int,
    device: torch.device,
    dtype: torch.dtype,
    fix: str = "use dtype float32, or another backend",
) -> Gap:
    """Measures the gap: runs the text alone, padded, and in two pieces with a cache; `fix` is for the error.

    Raises:
        UserError: the library cannot run the model at all.
    """
    tokens = reference.tokens.to(device)
    padded = torch.nn.functional.pad(tokens, (_PADDING, 0), value=int(tokens[0, -1]))
    mask = torch.nn.functional.pad(torch.ones_like(tokens), (_PADDING, 0))
    half = padded.shape[1] // 2

    def distance(logits: Float[Tensor, "1 pos d_vocab"]) -> float:
        found = logits[0, -tokens.shape[1] :].float().cpu().log_softmax(-1)
        wanted = reference.logits.log_softmax(-1)
        error = (found - wanted).square().mean(-1).sqrt() / wanted.std(-1).square().mean().sqrt()
        return float(error.max()) if bool(error.isfinite().all()) else math.inf

    last: list[Tensor] = []
    normed: list[Tensor] = []
    try:
        with (
            backend.attached(Site("resid_post", n_layers - 1), lambda resid: last.append(resid.clone())),
            backend.before_unembedding(lambda final: normed.append(final.clone())),
        ):
            plain = distance(backend.forward(tokens, None))
        plain = max(plain, *(distance(backend.unembed(final)) for final in normed))
        whole = distance(backend.forward(padded, mask))
    except Exception as error:  # an unexpected part of a model can raise anything
        raise UserError(
            f"the model cannot be run ({first_line(error)})",
            f"backend {backend.name}",
            fix,
        ) from error
    try:
        first, cache = backend.extend(padded[:, :half], mask[:, :half], None)
        second, _ = backend.extend(padded[:, half:], mask, cache)
        cached = distance(torch.cat([first, second], 1))
    except Exception:  # as above
        cached = math.inf
    lens = distance(backend.unembed(backend.final_norm(last[0]))) if last else None
    return Gap(plain, whole, cached, lens, TOLERANCES[dtype])
