"""Effects of changes on answers: differences from the unchanged model, beside those of matched controls."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from interp.statistics.estimate import mean_interval

MEASURES: Mapping[str, str] = {"probability": "answer", "rate": "right"}
"""What is measured, and the column it is in: the answers' probability, how often one is the likeliest."""
CLEAN, TOGETHER, CONTROL = "none", "together", "control"
"""Names of the sets of features changed: none, the picked ones together, "control 0" and so on."""


def effects(outcomes: pd.DataFrame, change: str, seed: int) -> pd.DataFrame:
    """The effect of the picked features together beside that of their controls, for each group of questions.

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
