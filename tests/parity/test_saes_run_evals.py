"""Our evaluation against SAELens' `run_evals` on the same rows, offline."""

import warnings
from pathlib import Path

import datasets
import numpy as np
import pytest
from sae_lens.evals import EvalConfig, run_evals
from sae_lens.training.activation_scaler import ActivationScaler
from sae_lens.training.activations_store import ActivationsStore

import saes
from interp.bundled.world.corpus import WorldCorpus
from interp.corpus.batches import Batch, Row, collate
from interp.document import Document
from interp.subject import Site, Subject
from interp.subject.row_layout import RowLayout
from saes.evaluation import evaluate_batches

ROWS, LENGTH = 24, 32
CONFIG = saes.SaeTraining(n_latents=128, training_tokens=20 * 512, batch_tokens=512, buffer_tokens=2048)


@pytest.fixture(scope="module")
def laid() -> list[Batch]:
    """Rows without a BOS, in which every position counts, as SAELens takes them."""
    corpus = WorldCorpus(9, 400)
    tokens = np.concatenate([corpus[index].tokens for index in range(400)])[: ROWS * LENGTH]
    rows = [Row(i, Document(part), 0, LENGTH) for i, part in enumerate(np.split(tokens, ROWS))]
    return [collate(rows[start : start + 8], RowLayout()) for start in range(0, ROWS, 8)]


@pytest.mark.parametrize("site", [Site("resid_post", 4), Site("mlp_post", 2), Site("head_out", 3)], ids=str)
def test_figures_are_those_of_run_evals(
    subject: Subject, laid: list[Batch], site: Site, tmp_path: Path
) -> None:
    latents = saes.train(subject, site, WorldCorpus(5, 2000), CONFIG, tmp_path / "sae")
    ours = evaluate_batches(subject, latents, laid, "all")

    latents.sae.cfg.metadata.prepend_bos = False
    latents.sae.cfg.metadata.context_size = LENGTH
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = ActivationsStore.from_sae(
            subject.model,
            latents.sae,
            datasets.Dataset.from_dict({"tokens": np.concatenate([batch.tokens for batch in laid]).tolist()}),
            context_size=LENGTH,
            streaming=False,
            store_batch_size_prompts=8,
            train_batch_size_tokens=64,
        )
        found, by_latent = run_evals(
            latents.sae,
            store,
            subject.model,
            ActivationScaler(),
            EvalConfig(
                batch_size_prompts=8,
                n_eval_reconstruction_batches=ROWS // 8,
                n_eval_sparsity_variance_batches=ROWS // 8,
                compute_ce_loss=True,
                compute_kl=True,
                compute_sparsity_metrics=True,
                compute_variance_metrics=True,
                compute_featurewise_density_statistics=True,
            ),
            exclude_special_tokens=False,
        )
    theirs = found["model_performance_preservation"]
    assert ours.cross_entropy_clean == pytest.approx(theirs["ce_loss_without_sae"], rel=1e-4)
    assert ours.cross_entropy_spliced == pytest.approx(theirs["ce_loss_with_sae"], rel=1e-4)
    assert ours.cross_entropy_ablated == pytest.approx(theirs["ce_loss_with_ablation"], rel=1e-4)
    assert ours.cross_entropy_recovered == pytest.approx(theirs["ce_loss_score"], rel=1e-3)
    behaviour = found["model_behavior_preservation"]
    assert ours.kl_spliced == pytest.approx(behaviour["kl_div_with_sae"], rel=1e-3)
    assert ours.kl_ablated == pytest.approx(behaviour["kl_div_with_ablation"], rel=1e-3)
    assert ours.l0 == pytest.approx(found["sparsity"]["l0"], rel=1e-4)
    assert ours.explained_variance == pytest.approx(
        found["reconstruction_quality"]["explained_variance"], rel=1e-4
    )
    assert ours.firing_rates == pytest.approx(by_latent["feature_density"], abs=1e-6)
