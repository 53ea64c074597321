"""Training an SAE on a subject: activations streamed through SAELens' trainer, saved in SAELens' format."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from sae_lens.constants import SPARSITY_FILENAME
from safetensors.torch import save_file

from interp.corpus.document import Corpus
from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.files import full_disk_explained, publish_folder
from interp.track.progress import Progress
from saes.config import SaeTraining
from saes.fit import Log, Reconstruct, Trained, fit
from saes.latents import SaeLatents
from saes.load import load
from saes.stream import SubjectActivations


def train(
    subject: Subject,
    site: Site,
    corpus: Corpus,
    config: SaeTraining,
    folder: str | Path,
    *,
    checkpoint: Path | None = None,
    log: Log | None = None,
    evaluate: Callable[[Reconstruct], dict[str, float]] | None = None,
    progress: Progress | None = None,
) -> SaeLatents:
    """Trains an SAE at a site of the subject, writes it to `folder` in SAELens' format and returns it.

    With a `checkpoint` path, a run that was killed continues from the file and ends with the same bits;
    the file is removed at the end. `folder` appears whole or not at all. Needs neither the main thread
    nor W&B: `log` receives named numbers and the training tokens seen so far (see `saes.fit.fit`), every
    `log_every_steps`; `evaluate` is called with the SAE as it stands every `evaluate_every_steps`.

    Raises:
        UserError: the folder exists, the site is impossible, the corpus is empty, the disk is full, or
            the checkpoint is damaged or of another run.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(
            f"{folder} exists already", "SAE", "choose another folder, or remove it to train again"
        )
    source = SubjectActivations(
        subject,
        site,
        corpus,
        seed=config.seed,
        splits=config.splits,
        context_size=config.context_size,
        buffer_tokens=config.buffer_tokens,
    )
    metadata = {
        "model_name": subject.name,
        "hook_name": site.hook_name,
        "dataset_path": corpus.name,
        "context_size": config.context_size,
        "prepend_bos": subject.bos_id is not None,
        "processing": subject.processing,
        "training_tokens": config.n_steps * config.batch_tokens,
        "training_splits": list(config.splits),
        "seed": config.seed,
    }
    trained = fit(
        config,
        source,
        device=str(subject.device),
        metadata=metadata,
        checkpoint=checkpoint,
        log=log,
        evaluate=evaluate,
        progress=progress,
    )
    save(trained, folder)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return load(subject, folder)


def save(trained: Trained, folder: Path) -> None:
    """Writes `cfg.json`, `sae_weights.safetensors` and `sparsity.safetensors`, all or nothing.

    Raises:
        UserError: the disk is full.
    """
    with full_disk_explained(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent
        ) as temporary:
            inside = Path(temporary) / folder.name
            trained.sae.save_inference_model(inside)
            save_file({"sparsity": trained.sparsity.cpu()}, inside / SPARSITY_FILENAME)
            publish_folder(inside, folder)
