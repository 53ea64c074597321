"""Training dictionaries on a subject: activations streamed through SAELens' trainer, saved in its format."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_lens.constants import SAE_CFG_FILENAME, SPARSITY_FILENAME
from safetensors.torch import save_file
from torch import Tensor

from interp.corpus.activations import KeptActivations
from interp.document import Corpus
from interp.errors import UserError
from interp.json_text import to_json
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.files import publish_folder, write_text, writing_explained
from interp.track.progress import Progress
from saes import memory
from saes.architecture import Transcoder
from saes.config import SaeTraining
from saes.cost import check_training_fits
from saes.fit import learn_together
from saes.fitting import Evaluate, Fitting, Log, Trained
from saes.load import Latents, load
from saes.stream import SubjectActivations, activation_width


@dataclass(frozen=True)
class Plan:
    """One dictionary to train: its name (also of its folder), the site it reads, and its settings."""

    name: str
    site: Site
    training: SaeTraining

    @property
    def sites(self) -> tuple[Site, ...]:
        """The site it reads and, for a transcoder, the one it predicts."""
        architecture = self.training.architecture
        return (self.site, architecture.target) if isinstance(architecture, Transcoder) else (self.site,)


def train(
    subject: Subject,
    site: Site,
    corpus: Corpus,
    config: SaeTraining,
    folder: str | Path,
    *,
    checkpoint: Path | None = None,
    log: Log | None = None,
    evaluate: Evaluate | None = None,
    progress: Progress | None = None,
    kept: KeptActivations | None = None,
) -> Latents:
    """Trains a dictionary at a site of the subject, writes it to `folder` in SAELens' format and returns it.

    With a `checkpoint` path, a run that was killed continues from the file and ends with the same bits;
    the file is removed at the end. `folder` appears whole or not at all. Needs neither the main thread
    nor W&B: `log` receives named numbers and the training tokens seen so far (see `saes.fitting.Fitting`),
    every `log_every_steps`; `evaluate` is called with the SAE so far every `evaluate_every_steps`.
    Activations that `kept` has are read from there, and the others are kept.

    Raises:
        UserError: the folder exists, the site is impossible, the corpus is empty, the disk is full, or
            the checkpoint is damaged or of another run; memory does not suffice (says what to lower).
    """
    folder = Path(folder)
    plan = Plan(folder.name, site, config)
    _train([plan], subject, corpus, folder.parent, [checkpoint], [log], [evaluate], progress, kept)
    return load(subject, folder)


def train_together(
    subject: Subject,
    plans: Sequence[Plan],
    corpus: Corpus,
    folder: str | Path,
    *,
    checkpoints: Path | None = None,
    log: Callable[[str, dict[str, float], int], None] | None = None,
    evaluate: Callable[[Plan], Evaluate | None] | None = None,
    progress: Progress | None = None,
    kept: KeptActivations | None = None,
) -> dict[str, Path]:
    """Trains several dictionaries, at any sites, while the subject reads the corpus once for all of them.

    Each becomes the folder `folder`/name, with the same bits as if it were trained alone. With `checkpoints`,
    a folder, a killed run continues. `log` gets the dictionary's name first. Memory: a buffer of every site.
    `kept` as for `train`.

    Raises:
        UserError: as for `train`; two have one name, or they differ in what shapes the stream (seed, splits,
            context_size, buffer_tokens).
    """
    folder = Path(folder)
    named: list[Log | None] = [_named_log(log, plan.name) for plan in plans]
    probes = [evaluate(plan) if evaluate else None for plan in plans]
    files = [checkpoints / f"{plan.name}.safetensors" if checkpoints else None for plan in plans]
    _train(plans, subject, corpus, folder, files, named, probes, progress, kept)
    return {plan.name: folder / plan.name for plan in plans}


def _train(
    plans: Sequence[Plan],
    subject: Subject,
    corpus: Corpus,
    folder: Path,
    checkpoints: Sequence[Path | None],
    logs: Sequence[Log | None],
    probes: Sequence[Evaluate | None],
    progress: Progress | None,
    kept: KeptActivations | None,
) -> None:
    check_plans(plans)
    for plan in plans:
        if (folder / plan.name).exists():
            raise UserError(
                f"{folder / plan.name} exists already",
                "SAE",
                "choose another folder, or remove it to train again",
            )
    for plan in plans:
        check_training_fits(subject, plan.site, plan.training)
    stream = plans[0].training
    source = SubjectActivations(
        subject,
        sorted({site for plan in plans for site in plan.sites}),
        corpus,
        seed=stream.seed,
        splits=stream.splits,
        context_size=stream.context_size,
        buffer_tokens=stream.buffer_tokens,
        kept=kept,
    )

    def read(cursor: int) -> tuple[list[list[Tensor]], int]:
        buffers, following = source.buffers(cursor)
        return [[buffers[site] for site in plan.sites] for plan in plans], following

    with memory.explained("training"):
        fittings = [
            Fitting(
                plan.training,
                [activation_width(subject, site) for site in plan.sites],
                device=str(subject.device),
                metadata=_metadata(plan, subject, corpus),
                checkpoint=checkpoint,
                log=log,
                evaluate=probe,
            )
            for plan, checkpoint, log, probe in zip(plans, checkpoints, logs, probes, strict=True)
        ]
        learn_together(fittings, read, progress)
    for plan, fitting in zip(plans, fittings, strict=True):
        save(fitting.result(), folder / plan.name)
    for checkpoint in checkpoints:
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)


def save(trained: Trained, folder: Path) -> None:
    """Writes `cfg.json`, `sae_weights.safetensors` and `sparsity.safetensors`, all or nothing.

    Raises:
        UserError: the disk is full.
    """
    with writing_explained(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent
        ) as temporary:
            inside = Path(temporary) / folder.name
            trained.sae.save_inference_model(inside)
            # SAELens writes the keys in the order of a set, which differs from process to process
            config = json.loads((inside / SAE_CFG_FILENAME).read_text(encoding="utf-8"))
            write_text(inside / SAE_CFG_FILENAME, to_json(config, sort_keys=True))
            save_file({"sparsity": trained.sparsity.cpu()}, inside / SPARSITY_FILENAME)
            publish_folder(inside, folder)


def _check_order(plan: Plan) -> None:
    """Raises UserError if a transcoder predicts something that comes before what it reads."""
    if len(plan.sites) == 2 and not plan.sites[0].before(plan.sites[1]):
        raise UserError(
            f"a transcoder cannot read {plan.sites[0]} and predict {plan.sites[1]}, which comes before it",
            f"{plan.name}: architecture.to",
            f"predict a later site, such as mlp_out.{plan.site.layer}",
        )


def check_plans(plans: Sequence[Plan]) -> None:
    """Raises UserError if these dictionaries cannot be trained together."""
    for plan in plans:
        _check_order(plan)
    names = [plan.name for plan in plans]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two dictionaries are called {name}", "dictionaries", "give each its own name")
    for key in ("seed", "splits", "context_size", "buffer_tokens"):
        values = {getattr(plan.training, key) for plan in plans}
        if len(values) > 1:
            raise UserError(
                f"dictionaries that share a stream differ in {key}: {', '.join(map(str, values))}",
                f"sae.{key}",
                f"give all the same {key}, or train them apart",
            )


def _named_log(log: Callable[[str, dict[str, float], int], None] | None, name: str) -> Log | None:
    return None if log is None else lambda values, tokens: log(name, values, tokens)


def _metadata(plan: Plan, subject: Subject, corpus: Corpus) -> dict[str, Any]:
    training = plan.training
    output = {"hook_name_out": plan.sites[1].hook_name} if len(plan.sites) == 2 else {}
    return {
        "model_name": subject.name,
        "hook_name": plan.site.hook_name,
        **output,
        "dataset_path": corpus.name,
        "context_size": training.context_size,
        "prepend_bos": subject.bos_id is not None,
        **({"seqpos_slice": [1, None]} if subject.row_layout.skip_first else {}),
        "processing": subject.processing,
        "training_tokens": training.n_steps * training.batch_tokens,
        "training_splits": list(training.splits),
        "seed": training.seed,
    }
