"""Collects what every page says about the studied model and the run."""

import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from interp.bundled import bundled_models
from interp.bundled.gemma import GEMMA, QUANTISED_NOTE
from interp.corpus.unusual import said
from interp.render.page import RunInfo, StudiedModel
from interp.subject import Subject
from interp.subject.folder import count_parameters
from interp.track.records import read_steps
from interp.track.run import Run


def subject_facts(subject: Subject) -> StudiedModel:
    """The model's sizes, with a note if it is one that is known here."""
    notes = {name: model.note for name, model in bundled_models().items()} | {GEMMA: QUANTISED_NOTE}
    return StudiedModel(
        name=subject.name,
        architecture=subject.info.architecture,
        parameters=count_parameters(subject.info.folder),
        layers=subject.n_layers,
        d_model=subject.d_model,
        vocabulary=subject.d_vocab,
        context_size=subject.n_ctx,
        backend=subject.backend,
        note=notes.get(subject.name, ""),
    )


def run_facts(run: Run) -> RunInfo:
    """The run: its command, its resolved configuration, and the versions and hardware of its last session."""
    config = yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False)
    session = run.manifest["sessions"][-1]
    manifest = {key: _plain(session[key]) for key in ("python", "versions", "git", "hardware")}
    seed = getattr(run.config, "seed", 0)
    date = str(run.manifest.get("started", ""))[:16].replace("T", " ")
    command = f"interp run {shlex.quote(str(run.folder / 'config.yaml'))}"
    text = said(run.watched("unusual_text"))
    return RunInfo(run.name, command, date, seed, config, manifest, text, tuple(run.notes))


def step_seconds(run: Run) -> dict[str, float]:
    """Seconds that each finished step took, by its name, in the order of the steps."""
    return {record.step: record.seconds for record in read_steps(run.folder)}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return str(value)
