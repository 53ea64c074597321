"""Against SAELens itself: the sparse step's gradients, the saved format, the explained variance."""

from pathlib import Path

import pytest
import torch
from sae_lens import SAE
from sae_lens.saes.sae import TrainStepInput
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from safetensors.torch import load_file
from torch import Tensor

from saes import sparse
from saes.config import SaeTraining
from saes.fit import fit
from saes.fitting import build_trainer
from saes.measures import RunningFigures
from saes.sparse import BagProducts, CsrProducts, Products, SparseTopKTrainingSAE
from saes.train import save

ARCHITECTURES = [
    {"kind": "topk", "k": 4},
    {"kind": "standard", "l1_coefficient": 0.5},
    {"kind": "gated", "l1_coefficient": 0.5},
    {"kind": "jumprelu", "l0_coefficient": 0.1},
    {"kind": "matching_pursuit", "max_latents": 4},
]


class Planted:
    """Sparse combinations of planted directions."""

    width = 16

    def buffer(self, cursor: int) -> tuple[Tensor, int]:
        directions = torch.randn(32, self.width, generator=torch.Generator().manual_seed(7))
        generator = torch.Generator().manual_seed(cursor)
        active = (torch.rand(500, 32, generator=generator) < 0.08).float()
        return active * torch.rand(500, 32, generator=generator) @ directions + 0.5, cursor + 1


def settings(architecture: dict[str, object] = ARCHITECTURES[0], **changes: object) -> SaeTraining:
    values = {"architecture": architecture, "n_latents": 48, "training_tokens": 24 * 64, "batch_tokens": 64}
    return SaeTraining.model_validate(
        values | {"buffer_tokens": 500, "dead_after_tokens": 256, "warm_up_steps": 3} | changes
    )


needs_mkl = pytest.mark.skipif(
    not sparse.available("cpu", "float32"), reason="no MKL: SAELens' own step is used"
)


def gradients(sae: TopKTrainingSAE, x: Tensor, dead: Tensor) -> tuple[dict[str, Tensor], list[float]]:
    output = sae.training_forward_pass(TrainStepInput(x, {}, dead, 0, False))
    output.loss.backward()
    losses = [output.loss.item(), *(value.item() for value in output.losses.values())]
    active = output.feature_acts.to_dense()
    return {name: p.grad for name, p in sae.named_parameters()} | {"latents": active}, losses


@needs_mkl
@pytest.mark.parametrize("n_dead", [0, 3, 40])
@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("subtract_bias", [True, False])
@pytest.mark.parametrize("products", [CsrProducts, BagProducts])
def test_sparse_step_has_saelens_losses_latents_and_gradients(
    n_dead: int, rescale: bool, subtract_bias: bool, products: type[Products], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "products_on", lambda device: products())  # bags are a GPU's
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 24, generator=generator)
    dead = torch.zeros(64, dtype=torch.bool)
    dead[torch.randperm(64, generator=generator)[:n_dead]] = True
    pair = []
    for kind in (TopKTrainingSAE, SparseTopKTrainingSAE):
        torch.manual_seed(1)
        config = TopKTrainingSAEConfig(
            d_in=24, d_sae=64, k=6, rescale_acts_by_decoder_norm=rescale, apply_b_dec_to_input=subtract_bias
        )
        sae = kind(config)
        with (
            torch.no_grad()
        ):  # away from the symmetric start: unequal norms, biases, decoder not encoder's transpose
            for parameter in sae.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
        pair.append(gradients(sae, x, dead))
    (theirs, their_losses), (ours, our_losses) = pair
    assert our_losses == pytest.approx(their_losses, rel=1e-5)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@needs_mkl
def test_sparse_training_follows_saelens_training(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = fit(settings(), Planted())
    monkeypatch.setattr(sparse, "available", lambda device, dtype: False)
    theirs = fit(settings(), Planted())
    assert type(theirs.sae) is TopKTrainingSAE
    for name, value in theirs.sae.state_dict().items():
        torch.testing.assert_close(ours.sae.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.sparsity, theirs.sparsity)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a["kind"])
def test_saved_sae_loads_in_saelens_and_encodes_the_same(
    architecture: dict[str, object], tmp_path: Path
) -> None:
    trained = fit(settings(architecture), Planted(), metadata={"hook_name": "blocks.0.hook_resid_post"})
    save(trained, tmp_path / "sae")
    loaded = SAE.load_from_disk(tmp_path / "sae")
    x = Planted().buffer(3)[0]
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode(x), trained.sae.encode(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(loaded(x), trained.sae(x), rtol=1e-4, atol=1e-5)
    assert loaded.cfg.metadata.hook_name == "blocks.0.hook_resid_post"
    assert loaded.cfg.normalize_activations == "none"
    sparsity = load_file(tmp_path / "sae" / "sparsity.safetensors")["sparsity"]
    assert sparsity.shape == (48,)


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka"])
def test_batchtopk_is_saved_as_jumprelu_with_about_k_active(kind: str, tmp_path: Path) -> None:
    config = settings({"kind": kind, "k": 4}, training_tokens=300 * 64)
    save(fit(config, Planted()), tmp_path / "sae")
    loaded = SAE.load_from_disk(tmp_path / "sae")
    assert loaded.cfg.architecture() == "jumprelu"
    with torch.no_grad():
        l0 = (loaded.encode(Planted().buffer(3)[0]) > 0).float().sum(-1).mean()
    assert 2 < float(l0) < 8


def test_explained_variance_and_l0_are_saelens() -> None:
    trainer = build_trainer(settings(), 16)
    x = Planted().buffer(0)[0]
    output = trainer.step(x)
    theirs = trainer.build_train_step_log_dict(output, 0)
    figures = RunningFigures(16, 48)
    for piece in (slice(0, 100), slice(100, 101), slice(101, None)):
        figures.add(x[piece], output.sae_out.detach()[piece], output.feature_acts.to_dense().detach()[piece])
    assert figures.explained_variance == pytest.approx(theirs["metrics/explained_variance"], abs=1e-5)
    assert float(figures.firing_rates.sum()) == pytest.approx(theirs["metrics/l0"], rel=1e-5)
