"""Compares conditions: answers, side effects on neutral text, and generated text under each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from interp.causal.side_effects import NeutralTexts, side_effects
from interp.causal.steering.texts import cross_entropy
from interp.corpus.questions import Question
from interp.statistics.estimate import mean_interval
from interp.subject.forward import Intervention
from interp.subject.subject import Subject
from interp.vectors.sweep import answered, rates

ALL_TASKS = "mean over tasks"


@dataclass(frozen=True, eq=False)
class Condition:
    """Questions under some interventions; `draw` numbers those of a random control."""

    name: str
    questions: Sequence[Question]
    edits: Sequence[Intervention] = ()
    draw: int = 0


def compared(
    subject: Subject, neutral: NeutralTexts, conditions: Iterable[Condition], task: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Asks the questions under every condition (as `answered`), and measures the side effects of edits.

    Both frames have the columns `task`, `condition` and `draw`.
    """
    outcomes, costs = [], []
    for one in conditions:
        names: dict[str, str | float | int] = {"task": task, "condition": one.name, "draw": one.draw}
        outcomes.append(answered(subject, one.questions, one.edits, **names))
        if one.edits:
            costs.append(side_effects(subject, neutral, one.edits, **names))
    return pd.concat(outcomes, ignore_index=True), pd.concat(costs, ignore_index=True)


def task_results(outcomes: pd.DataFrame, costs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Makes a row for each task and condition of `compared`, and for the mean over tasks (`ALL_TASKS`).

    `right` with an interval over questions (`share_of_items`), or a bootstrap interval over tasks for the
    mean; `questions`, `overflowed` (rows whose logits were not finite), and mean `kl` and `extra` in nats.
    """
    keys = ["task", "condition"]
    columns = [*keys, "right", "right_low", "right_high", "questions", "overflowed"]
    results = rates(outcomes, keys, seed)[columns]
    means = costs.groupby(keys, sort=False)[["kl", "extra"]].mean().reset_index()
    results = results.merge(means, on=keys, how="left")
    together = []
    for condition, part in results.groupby("condition", sort=False):
        ends = mean_interval(part["right"].to_numpy(dtype=float), seed)
        counted = int(part["questions"].sum()), int(part["overflowed"].sum())
        own = part[["kl", "extra"]].mean()
        together.append([ALL_TASKS, condition, *ends, *counted, own["kl"], own["extra"]])
    return pd.concat([results, pd.DataFrame(together, columns=results.columns)], ignore_index=True)


def behaviour_results(
    outcomes: pd.DataFrame, costs: pd.DataFrame, texts: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Makes a row for each behaviour and condition: the rates of answers, and side effects elsewhere.

    The columns of `rates`, in which a question under several draws of a random vector counts once; `kl` and
    `extra` in nats with intervals over texts, `others` (share right elsewhere), `shown` and `nats` of
    generated text. None where a condition has no such figure.
    """
    keys = ["behaviour", "condition"]
    found = rates(outcomes, keys, seed)
    for measure in ("kl", "extra"):
        means = costs.groupby([*keys, "text"], sort=False)[measure].mean().reset_index()
        found = found.merge(_with_interval(means, keys, measure, seed), on=keys, how="left")
    if "others" in costs:
        found = found.merge(costs.groupby(keys)["others"].mean().reset_index(), on=keys, how="left")
    written = texts.groupby(keys).agg(shown=("shown", "mean"), nats=("cross_entropy", "mean")).reset_index()
    return found.merge(written, on=keys, how="left")


def written_after(
    subject: Subject, questions: Sequence[Question], edits: Sequence[Intervention], new_tokens: int
) -> pd.DataFrame:
    """Generates a continuation of each prompt greedily, and scores it under the unchanged subject.

    `shown` says whether the text contains an answer before any foil; `cross_entropy` is in nats a token.
    """
    prompts = [question.prompt for question in questions]
    tokens, mask = subject.pad(prompts)
    with subject.intervene(*edits):
        texts = subject.generate_ids(tokens, mask, new_tokens)
    return pd.DataFrame(
        {
            "prompt": [subject.decode(prompt) for prompt in prompts],
            "text": [subject.decode(text) for text in texts],
            "shown": [question.shown_in(text) for question, text in zip(questions, texts, strict=True)],
            "cross_entropy": cross_entropy(subject, prompts, texts),
        }
    )


def _with_interval(frame: pd.DataFrame, keys: Sequence[str], measure: str, seed: int) -> pd.DataFrame:
    """Averages a column for each value of the keys, with its bootstrap interval."""
    rows = []
    for values, part in frame.groupby(list(keys), sort=False):
        ends = mean_interval(part[measure].dropna().to_numpy(dtype=float), seed)
        rows.append([*values, *ends])
    return pd.DataFrame(rows, columns=[*keys, measure, f"{measure}_low", f"{measure}_high"])
