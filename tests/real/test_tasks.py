"""Tasks by example and neurons that cause on Gemma: chosen on some questions, held to controls on others."""

from pathlib import Path
from pydoc_data.topics import topics

import pytest

import interp
from interp.attribution.baseline import Statistics
from interp.causal.interventions import ablations
from interp.causal.outcome import ask, halves
from interp.causal.selection import by_attribution, matched_controls
from interp.corpus.questions import QuestionFile
from interp.features.statistics import FeatureStatistics
from interp.subject import Subject
from interp.vectors.control import random_like
from interp.vectors.task import added_task_vectors
from interp.vectors.tasks import TaskFiles, TaskFormat, task_prompts
from interp.vectors.vector import Vector

DATA = Path(interp.__file__).parent / "data"
LAYER = 11
"""Chosen on the part `choose` of the antonyms, on which nothing is reported here."""


def test_what_examples_leave_at_the_last_token_does_their_task_alone(gemma: Subject) -> None:
    paths = tuple(DATA / "tasks" / f"{name}.json" for name in ("antonym", "translation"))
    layout = TaskFormat(pair="{question} -> {answer}", separator="\n")
    tasks = TaskFiles(paths=paths, answers="first", format=layout).open(gemma)
    found: list[Vector] = []
    for task in tasks:
        prompts = task_prompts(gemma, task, 12, 5)
        alone = [question.prompt for question in task.questions(gemma, task.drawn(12, 0))]
        found.append(added_task_vectors(gemma, prompts, alone, task.name)[LAYER])
    (antonym, _), (own, other) = tasks, found
    asked = antonym.questions(gemma, antonym.report)
    shares = {"unchanged": ask(gemma, asked).right.mean()}
    shares["prompted"] = ask(gemma, antonym.questions(gemma, antonym.report, 5)).right.mean()
    for name, vector in (("own", own), ("wrong task", other), ("random", random_like(own, 0))):
        with gemma.intervene(vector.intervention(gemma)):
            shares[name] = ask(gemma, asked).right.mean()
    assert len(asked) == 26 and shares["prompted"] >= 0.6
    assert shares["own"] >= 0.5
    assert max(shares[name] for name in ("unchanged", "wrong task", "random")) <= 0.2


@pytest.fixture(scope="module")
def statistics(gemma: Subject) -> Statistics:
    """Of all neurons over the beginning of a text; quantiles are not needed."""
    spaces = [interp.MlpNeurons(gemma, layer) for layer in range(gemma.n_layers)]
    run = gemma.run(topics["assignment"][:1500], read=spaces)
    read = {name: values[0, 1:].float() for name, values in run.features.items()}
    return {
        name: FeatureStatistics(name, (0.5,), values.median(0).values[:, None], values.mean(0), values)
        for name, values in read.items()
    }


@pytest.mark.parametrize("file", sorted(path.name for path in (DATA / "questions").iterdir()))
def test_every_file_of_questions_opens(gemma: Subject, file: str) -> None:
    asked = QuestionFile(path=DATA / "questions" / file, choice=True).open(gemma)
    assert len(asked) >= 90 and all(len(ids) == 1 for one in asked for ids in (*one.answers, *one.foils))


def test_neurons_to_which_is_is_attributed_decide_agreement_more_than_others(
    gemma: Subject, statistics: Statistics
) -> None:
    spaces = [interp.MlpNeurons(gemma, layer) for layer in range(gemma.n_layers)]
    asked = QuestionFile(path=DATA / "questions" / "is_are.jsonl", choice=True).open(gemma)
    to_pick_on, reported = halves([one for one in asked if one.group == "singular, is"], 0)
    picked = [feature for feature, _ in by_attribution(gemma, spaces, to_pick_on, statistics, 10)]

    def margin() -> float:
        outcome = ask(gemma, reported)
        return float((outcome.log_answer - outcome.log_foil).mean())

    clean, moved = margin(), []
    for features in (picked, *matched_controls(picked, statistics, 3, 0)):
        with gemma.intervene(*ablations(features, "zero", statistics)):
            moved.append(margin() - clean)
    assert moved[0] < -0.8 and max(map(abs, moved[1:])) < 0.5
