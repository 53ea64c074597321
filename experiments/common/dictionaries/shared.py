"""Dictionaries that the workers of an engine train, each some of them."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from interp.document import Corpus
from interp.engine.engine import Engine
from interp.subject import Site, Subject
from interp.track.files import publish_folder, write_bytes
from interp.track.step import Step
from saes.evaluation import training_probe
from saes.fitting import Evaluate
from saes.train import Plan, train_together

Point = tuple[str, dict[str, float], int]
"""The name of a dictionary, named numbers, and the training tokens that it has seen."""
Trained = dict[str, dict[str, bytes]]
"""The files of each dictionary, by name."""


def train_shared(
    engine: Engine,
    subject: Subject,
    plans: Sequence[Plan],
    corpus: Corpus,
    step: Step,
    log: Callable[[str, dict[str, float], int], None],
) -> None:
    """Trains dictionaries into saes/NAME of the step; what a stopped run finished is not trained again.

    What a dictionary logs comes when it is trained.

    Raises:
        UserError: as `train_together`, or as `Engine.each`.
    """
    done = step.scratch / "saes"
    done.mkdir(exist_ok=True)
    left = [plan for plan in plans if not (done / plan.name).exists()]
    cut = np.array_split(range(len(left)), engine.n_workers)
    parts = [part.tolist() for part in cut if len(part)]
    with step.progress.task("training", total=len(plans), unit="dictionaries") as advance:
        advance(len(plans) - len(left))

        def found(_: int, result: tuple[Trained, list[Point]]) -> None:
            trained, points = result
            for point in points:
                log(*point)
            for name, files in trained.items():
                partial_folder = step.scratch / f".{name}.tmp"
                for file, content in files.items():
                    write_bytes(partial_folder / file, content)
                publish_folder(partial_folder, done / name)
                advance(1)

        work = partial(_train, subject, corpus, left)
        engine.each(work, parts, found, lambda part: ", ".join(left[place].name for place in parts[part]))
    publish_folder(done, step.folder / "saes")


def probed(subject: Subject, corpus: Corpus, plans: Sequence[Plan]) -> Callable[[Plan], Evaluate]:
    """Returns what measures each dictionary while it is trained, on one set of activations a site."""
    context_size = plans[0].training.context_size
    probes: dict[tuple[Site, ...], Evaluate] = {
        sites: training_probe(subject, sites[0], corpus, target=sites[-1], context_size=context_size)
        for sites in {plan.sites for plan in plans}
    }
    return lambda plan: probes[plan.sites]


def _train(
    subject: Subject, corpus: Corpus, plans: Sequence[Plan], part: Sequence[int]
) -> tuple[Trained, list[Point]]:
    chosen = [plans[place] for place in part]
    points: list[Point] = []
    with tempfile.TemporaryDirectory(prefix="interp-") as folder:
        folders = train_together(
            subject, chosen, corpus, folder,
            log=lambda *point: points.append(point), evaluate=probed(subject, corpus, chosen),
        )  # fmt: skip
        files = {
            name: {file.name: file.read_bytes() for file in where.iterdir()}
            for name, where in folders.items()
        }
    return files, points
