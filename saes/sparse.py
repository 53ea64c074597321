"""A TopK training step that works only where latents are active: SAELens' result for less work.

SAELens' dense step makes five matrix products of size batch x d_in x d_sae and several passes over a
batch x d_sae array. Only the first product needs every latent; the others need the k that fire, which
sparse products give exactly: of CSR matrices by MKL on a CPU, and by PyTorch's embedding bags on a GPU, which
read and add up rows of the weights, and make no copy of them.
"""

import warnings
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from sae_lens.saes.topk_sae import TopKTrainingSAE
from torch import Tensor


def available(device: str, dtype: str) -> bool:
    """Whether there are sparse products: on a CPU with MKL in float32, on a GPU also in bfloat16."""
    if device.startswith("cuda"):
        return dtype in ("float32", "bfloat16")
    return device == "cpu" and dtype == "float32" and bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]


@runtime_checkable
class Products(Protocol):
    """Products of a sparse matrix A, `values` [row, k] at the columns `ids` [row, k], with dense ones."""

    def times(
        self, ids: Int[Tensor, "row k"], values: Float[Tensor, "row k"], dense: Float[Tensor, "column d"]
    ) -> Float[Tensor, "row d"]:
        """A times a matrix."""
        ...

    def transposed_times(
        self, ids: Int[Tensor, "row k"], values: Float[Tensor, "row k"], dense: Float[Tensor, "row d"], n: int
    ) -> Float[Tensor, "column d"]:
        """A transposed times a matrix, with `n` columns of A."""
        ...

    def sampled(
        self, ids: Int[Tensor, "row k"], left: Float[Tensor, "row d"], right: Float[Tensor, "column d"]
    ) -> Float[Tensor, "row k"]:
        """The inner products of rows of two matrices, where A has values."""
        ...

    def totals(
        self, ids: Int[Tensor, "row k"], values: Float[Tensor, "row k"], n: int
    ) -> Float[Tensor, " column"]:
        """The sums of A's columns."""
        ...


class CsrProducts:
    """By compressed sparse rows (MKL)."""

    def times(self, ids: Tensor, values: Tensor, dense: Tensor) -> Tensor:
        """A times a matrix."""
        return _csr(ids, values, len(dense)) @ dense

    def transposed_times(self, ids: Tensor, values: Tensor, dense: Tensor, n: int) -> Tensor:
        """A transposed times a matrix."""
        return _csr(ids, values, n).t() @ dense

    def sampled(self, ids: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Inner products where A has values."""
        place = _csr(ids, torch.ones_like(ids, dtype=left.dtype), len(right))
        found: Tensor = torch.sparse.sampled_addmm(place, left, right.T, beta=0.0).values()
        return found.view(ids.shape)

    def totals(self, ids: Tensor, values: Tensor, n: int) -> Tensor:
        """The sums of A's columns."""
        return values.new_zeros(n).index_add_(0, ids.flatten(), values.flatten())


class BagProducts:
    """By embedding bags: a row of A is a bag of the rows that it adds up."""

    def times(self, ids: Tensor, values: Tensor, dense: Tensor) -> Tensor:
        """A times a matrix."""
        return torch.nn.functional.embedding_bag(ids, dense, per_sample_weights=values, mode="sum")

    def transposed_times(self, ids: Tensor, values: Tensor, dense: Tensor, n: int) -> Tensor:
        """A transposed times a matrix: the gradient of the bags with respect to their rows."""
        bag, size, most = _bags(ids)
        found: Tensor = torch.ops.aten._embedding_bag_dense_backward(
            dense.contiguous(), ids.flatten(), bag, size, most, n, False, 0, values.flatten()
        )
        return found

    def sampled(self, ids: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Inner products where A has values: the gradient of the bags with respect to their weights."""
        bag, _, _ = _bags(ids)
        starts = torch.arange(0, ids.numel(), ids.shape[1], device=ids.device)
        found: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            left.contiguous(), right, ids.flatten(), starts, bag, 0
        )
        return found.view(ids.shape)

    def totals(self, ids: Tensor, values: Tensor, n: int) -> Tensor:
        """The sums of A's columns, in the same order each time, which `index_add` on a GPU has not."""
        return self.transposed_times(ids, values, values.new_ones(len(ids), 1), n)[:, 0]


def products_on(device: torch.device) -> Products:
    """The products that a device has."""
    return CsrProducts() if device.type == "cpu" else BagProducts()


def _bags(ids: Int[Tensor, "row k"]) -> tuple[Tensor, Tensor, Tensor]:
    """The bag of each id, the size of each bag, and, which only the mode `max` reads, a place."""
    rows, k = ids.shape
    bag = torch.arange(rows, device=ids.device).repeat_interleave(k, output_size=rows * k)
    size = torch.full((rows,), k, dtype=ids.dtype, device=ids.device)
    return bag, size, size


def _csr(ids: Int[Tensor, "batch k"], values: Float[Tensor, "batch k"], width: int) -> Tensor:
    starts = torch.arange(0, ids.numel() + 1, ids.shape[1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts, ids.flatten(), values.flatten(), (ids.shape[0], width), check_invariants=False
        )


class _Reconstruction(torch.autograd.Function):
    """sum over active latents i of relu(x W_enc[:, i] + b_enc[i]) W_dec[i], plus b_dec, for given ids."""

    @staticmethod
    def forward(
        ctx: Any,
        centred: Float[Tensor, "batch d_in"],
        ids: Int[Tensor, "batch k"],
        values: Float[Tensor, "batch k"],
        W_enc: Float[Tensor, "d_in latent"],
        b_enc: Float[Tensor, " latent"],
        W_dec: Float[Tensor, "latent d_in"],
        b_dec: Float[Tensor, " d_in"],
        subtract_bias: bool,
        by: Products,
    ) -> Float[Tensor, "batch d_in"]:
        ctx.save_for_backward(centred, ids, values, W_enc, W_dec)
        ctx.subtract_bias, ctx.by = subtract_bias, by
        return by.times(ids, values, W_dec) + b_dec

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        centred, ids, values, W_enc, W_dec = ctx.saved_tensors
        by: Products = ctx.by
        on_values = by.sampled(ids, grad, W_dec) * (values > 0)
        to_W_dec = by.transposed_times(ids, values, grad, len(W_dec))
        to_W_enc = by.transposed_times(ids, on_values, centred, len(W_dec)).T
        to_b_enc = by.totals(ids, on_values, len(W_dec))
        to_b_dec = grad.sum(0)
        if ctx.subtract_bias:
            to_b_dec = to_b_dec - W_enc @ to_b_enc
        return None, None, None, to_W_enc, to_b_enc, to_W_dec, to_b_dec, None, None


class SparseTopKTrainingSAE(TopKTrainingSAE):  # type: ignore[misc]
    """SAELens' TopK training SAE with a sparse step: same weights, same losses, same file format.

    With `rescale_acts_by_decoder_norm` the norms decide which latents are kept; they cancel in the
    reconstruction, so their gradient is zero and is not computed.
    """

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """One forward pass; `feature_acts` comes back as a sparse COO tensor, as SAELens allows."""
        x = step_input.sae_in
        subtract = bool(self.cfg.apply_b_dec_to_input)
        with torch.no_grad():
            centred = x - self.b_dec if subtract else x
            hidden = torch.addmm(self.b_enc, centred, self.W_enc)
            norms = self.W_dec.norm(dim=-1) if self.cfg.rescale_acts_by_decoder_norm else None
            if norms is not None:
                hidden *= norms
            top = hidden.topk(self.cfg.k, dim=-1, sorted=False)
            ids = top.indices.sort(dim=-1).values
            latents = hidden.gather(-1, ids).relu_()
            values = latents if norms is None else latents / norms[ids]
        sae_out: Tensor = _Reconstruction.apply(  # type: ignore[no-untyped-call]
            centred,
            ids,
            values,
            self.W_enc,
            self.b_enc,
            self.W_dec,
            self.b_dec,
            subtract,
            products_on(x.device),
        )
        mse_loss = (sae_out - x).pow(2).sum(dim=-1).mean()
        aux_loss = self._dead_latents_loss(x, sae_out, hidden, step_input.dead_neuron_mask)
        return TrainStepOutput(
            sae_in=x,
            sae_out=sae_out,
            feature_acts=_coo(ids, latents, self.cfg.d_sae),
            hidden_pre=hidden,
            loss=mse_loss + aux_loss,
            losses={"mse_loss": mse_loss, "auxiliary_reconstruction_loss": aux_loss},
        )

    def _dead_latents_loss(
        self,
        x: Float[Tensor, "batch d_in"],
        sae_out: Float[Tensor, "batch d_in"],
        hidden: Float[Tensor, "batch latent"],
        dead: Bool[Tensor, " latent"] | None,
    ) -> Float[Tensor, ""]:
        """Squared error of the strongest dead latents on the residual (`calculate_topk_aux_loss`)."""
        ids = torch.empty(0) if dead is None else dead.nonzero().flatten()
        if len(ids) == 0:
            return x.new_zeros(())
        strongest = x.shape[-1] // 2
        residual = (x - sae_out).detach()
        centred = x - self.b_dec * self.cfg.apply_b_dec_to_input
        values = centred @ self.W_enc[:, ids] + self.b_enc[ids]
        if len(ids) > strongest:
            top = hidden[:, ids].topk(strongest, dim=-1, sorted=False).indices
            values = values * torch.zeros_like(values).scatter_(-1, top, 1.0)
        recons = values @ self.W_dec[ids]
        scale = min(len(ids) / strongest, 1.0) * self.cfg.aux_loss_coefficient
        loss: Tensor = scale * (recons - residual).pow(2).sum(dim=-1).mean()
        return loss


def _coo(ids: Int[Tensor, "batch k"], values: Float[Tensor, "batch k"], width: int) -> Tensor:
    rows = torch.arange(len(ids), device=ids.device).repeat_interleave(ids.shape[1], output_size=ids.numel())
    return torch.sparse_coo_tensor(
        torch.stack([rows, ids.flatten()]),
        values.flatten(),
        (len(ids), width),
        is_coalesced=True,
        check_invariants=False,
    )
