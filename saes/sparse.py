"""A TopK training step that works only where latents are active: SAELens' result for less work.

SAELens' dense step makes five matrix products of size batch x d_in x d_sae and several passes over a
batch x d_sae array. Only the first product needs every latent; the others need the k that fire, which
sparse products (CSR) give exactly.
"""

import warnings
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from sae_lens.saes.topk_sae import TopKTrainingSAE
from torch import Tensor


def available(device: str, dtype: str) -> bool:
    """Whether this machine has the sparse products: a CPU with MKL, in float32."""
    return device == "cpu" and dtype == "float32" and bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]


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
    ) -> Float[Tensor, "batch d_in"]:
        active = _csr(ids, values, len(W_dec))
        ctx.save_for_backward(centred, ids, values, W_enc, W_dec)
        ctx.subtract_bias = subtract_bias
        return active @ W_dec + b_dec

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        centred, ids, values, W_enc, W_dec = ctx.saved_tensors
        active = _csr(ids, values, len(W_dec))
        on_values = torch.sparse.sampled_addmm(active, grad, W_dec.T, beta=0.0).values().view_as(values)
        on_values = on_values * (values > 0)
        changed = _csr(ids, on_values, len(W_dec))
        to_W_dec = active.t() @ grad
        to_W_enc = (changed.t() @ centred).T
        to_b_enc = grad.new_zeros(len(W_dec)).index_add_(0, ids.flatten(), on_values.flatten())
        to_b_dec = grad.sum(0)
        if ctx.subtract_bias:
            to_b_dec = to_b_dec - W_enc @ to_b_enc
        return None, None, None, to_W_enc, to_b_enc, to_W_dec, to_b_dec, None


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
            centred, ids, values, self.W_enc, self.b_enc, self.W_dec, self.b_dec, subtract
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
    rows = torch.arange(len(ids)).repeat_interleave(ids.shape[1])
    return torch.sparse_coo_tensor(
        torch.stack([rows, ids.flatten()]),
        values.flatten(),
        (len(ids), width),
        is_coalesced=True,
        check_invariants=False,
    )
