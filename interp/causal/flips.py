"""Two questions about a change: how far does it shift probabilities, and how often does the answer flip."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from interp.causal.effects import CLEAN, TOGETHER
from interp.corpus.questions import Question
from interp.statistics.estimate import by_item, mean_interval, share_of_items

RANDOM = "random"


def foils_of_group(questions: Sequence[Question], top: Int[np.ndarray, " question"]) -> list[bool]:
    """Whether each token begins a foil of any question of its question's group, and no answer of one."""
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
    """Shifts and flips of every change on every group of questions, the controls taken together.

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
            turned = part[column].to_numpy(dtype=bool)[held]
            row |= share_of_items(turned, question[held], seed).named(column)
        rows.append(row | {"questions": int(part["question"].nunique())})
    return pd.DataFrame(rows)
