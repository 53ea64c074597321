"""Effects of changes on answers, compared with controls: differences from the unchanged model, and flips."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from interp.corpus.questions import Question
from interp.statistics.estimate import by_item, mean_interval, share_of_items

MEASURES: Mapping[str, str] = {"probability": "answer", "rate": "right"}
"""Measures and their columns: the answers' probability, and how often an answer is the likeliest token."""
RANDOM = "random"
CLEAN, TOGETHER, CONTROL = "none", "together", "control"
"""Names of the changed sets of features: none, all picked ones, and (as a prefix) "control 0" and so on."""


def effects(outcomes: pd.DataFrame, change: str, seed: int) -> pd.DataFrame:
    """Computes the effect of all picked features and of their controls, for each group of questions.

    `outcomes` has a row for each question under each change: columns `group`, `question`, `set` (the name of
    the features changed), `answer`, `right`, and how they were changed in the column that `change` names.
    An effect is the mean over questions of the change in a measure, paired with the unchanged model; its
    interval is a bootstrap over questions. `control` is the mean over all controls, `control_low` and
    `control_high` the range of the controls' means; `beyond`, `beyond_low` and `beyond_high` are the effect
    less the mean control's, question by question.
    """
    rows = []
    for (group, how), part in outcomes[outcomes["set"] != CLEAN].groupby(["group", change], sort=False):
        clean = outcomes[(outcomes["set"] == CLEAN) & (outcomes["group"] == group)].set_index("question")
        for measure, column in MEASURES.items():
            table = part.pivot(index="question", columns="set", values=column).astype(float)
            moved = table.sub(clean[column].astype(float), axis=0)
            controls = moved[[name for name in moved if str(name).startswith(CONTROL)]]
            own, other = moved[TOGETHER].to_numpy(), controls.mean(axis=1).to_numpy()
            value, low, high = mean_interval(own, seed)
            beyond = mean_interval(own - other, seed)
            rows.append(
                {
                    "group": group,
                    change: how,
                    "measure": measure,
                    "value": value,
                    "low": low,
                    "high": high,
                    "control": float(np.mean(other)),
                    "control_low": float(controls.mean().min()),
                    "control_high": float(controls.mean().max()),
                    "beyond": beyond[0],
                    "beyond_low": beyond[1],
                    "beyond_high": beyond[2],
                    "questions": len(own),
                }
            )
    return pd.DataFrame(rows)


def foils_of_group(questions: Sequence[Question], top: Int[np.ndarray, " question"]) -> list[bool]:
    """Whether each token begins a foil, and no answer, of any question of the same group."""
    answers: dict[str, set[int]] = {}
    foils: dict[str, set[int]] = {}
    for question in questions:
        answers.setdefault(question.group, set()).add(question.answers[0][0])
        foils.setdefault(question.group, set()).update(foil[0] for foil in question.foils)
    return [
        token in foils[question.group] - answers[question.group]
        for token, question in zip(top.tolist(), questions, strict=True)
    ]


def flips(outcomes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Computes shifts and flips of every change on every group of questions; controls are pooled.

    `outcomes` has a row for each question under each change: `of` (whose features), `how` (what was done),
    `set` (those features or controls), `question`, `group`, `answer` and `foil` (probabilities), `flips`
    (whether the foil is likelier than the answer), `top_flips` (whether the likeliest token is a foil).

    Columns of the result: `answer` and `foil` are mean changes of log-probability in nats, against the
    unchanged model, with bootstrap intervals over questions; `flips` and `top_flips` are shares of the
    questions that the unchanged model answers, with intervals over these (`share_of_items`). For controls, a
    question's values are means over the sets.
    """
    clean = outcomes[outcomes["set"] == CLEAN].set_index("question")
    changed = outcomes[outcomes["set"] != CLEAN].copy()
    changed["set"] = np.where(changed["set"] == TOGETHER, TOGETHER, RANDOM)
    rows = []
    for (of, how, name, group), part in changed.groupby(["of", "how", "set", "group"], sort=False):
        row: dict[str, object] = {"of": of, "how": how, "set": name, "group": group}
        question = part["question"].to_numpy()
        before = clean.loc[question]
        for column in ("answer", "foil"):
            nats = np.log(part[column].to_numpy()) - np.log(before[column].to_numpy())
            row |= mean_interval(by_item(nats, question), seed).named(column)
        for column in ("flips", "top_flips"):
            held = ~before[column].to_numpy(dtype=bool)
            changed = part[column].to_numpy(dtype=bool)[held]
            row |= share_of_items(changed, question[held], seed).named(column)
        rows.append(row | {"questions": int(part["question"].nunique())})
    return pd.DataFrame(rows)
