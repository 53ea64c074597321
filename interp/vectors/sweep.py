"""Sweeps: asks the same questions under one setting after another, and chooses the best setting."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from interp.causal.outcome import ask
from interp.causal.side_effects import NeutralTexts, side_effects
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.statistics.estimate import by_item, mean_interval, share_of_items
from interp.subject.forward import Intervention
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent
from interp.vectors.vector import Vector

SEVERAL = -1  # stands for the layer of a setting that acts in several
NEAR_BEST = 0.02  # among settings this near to the highest share, side effects decide
Number = float | int


@dataclass(frozen=True, eq=False)
class Setting:
    """One way to change a subject: a method at a place and a strength.

    `where` names the place in words; `layer` is `SEVERAL` if it acts in several. `vectors` at a coefficient
    of 1 are equal to `edits` (empty for a method that is not made of vectors); `random` are the null's edits,
    one list for each draw.
    """

    method: str
    where: str
    layer: int
    strength: Number
    edits: tuple[Intervention, ...]
    vectors: tuple[Vector, ...] = ()
    random: tuple[tuple[Intervention, ...], ...] = ()

    @property
    def names(self) -> dict[str, str | float | int]:
        """The columns that identify its rows in a table."""
        return {
            "method": self.method, "where": self.where, "layer": self.layer, "strength": float(self.strength),
        }  # fmt: skip


KEYS = ("method", "where", "layer", "strength")


def sweep(
    subject: Subject,
    questions: Sequence[Question],
    settings: Sequence[Setting],
    progress: Progress | None = None,
    task: str = "sweeping",
) -> pd.DataFrame:
    """Asks every question under every setting; a row for each pair.

    Columns `method`, `where`, `layer`, `strength`, `question`, `group`, `answer` and `foil` (probabilities),
    `preference` = answer / (answer + foil), NaN without foils, `right` and `flips` as in `Outcome`, and
    `finite`, false where the logits overflowed.
    """
    rows = []
    with (progress or silent()).task(task, total=len(settings), unit="settings") as advance:
        for setting in settings:
            rows.append(answered(subject, questions, setting.edits, **setting.names))
            advance(1)
    return pd.concat(rows, ignore_index=True)


def answered(
    subject: Subject,
    questions: Sequence[Question],
    edits: Sequence[Intervention] = (),
    **names: str | float | int,
) -> pd.DataFrame:
    """Asks every question under some interventions; a row for each, with the columns of `sweep`."""
    with subject.intervene(*edits):
        frame = ask(subject, questions).frame(questions, **names)
    frame["finite"] = np.isfinite(frame["answer"])
    frame["right"] &= frame["finite"]
    return frame


def rates(frame: pd.DataFrame, by: Sequence[str], seed: int) -> pd.DataFrame:
    """Summarises a sweep for each value of the columns `by`.

    `right` is a share of questions with its interval (`share_of_items`), `preference` a mean with its
    bootstrap interval; a question that was asked under several draws of a random control counts once, by its
    mean. `overflowed` counts rows whose logits were not finite, `questions` the questions.
    """
    frame = frame.reset_index(drop=True)
    asked = frame.groupby([name for name in ("fold", "question") if name in frame], sort=False).ngroup()
    rows = []
    for values, part in frame.groupby(list(by), sort=False):
        row: dict[str, object] = dict(zip(by, values, strict=True))
        item = asked[part.index].to_numpy()
        share = share_of_items(part["right"].to_numpy(), item, seed)
        known = part["preference"].notna().to_numpy()
        preference = by_item(part["preference"].to_numpy(dtype=float)[known], item[known])
        mean = mean_interval(preference, seed)
        row |= dict(zip(("right", "right_low", "right_high"), share, strict=True))
        row |= dict(zip(("preference", "preference_low", "preference_high"), mean, strict=True))
        rows.append(row | {"overflowed": int((~part["finite"]).sum()), "questions": len(np.unique(item))})
    return pd.DataFrame(rows)


def choose(
    subject: Subject, settings: Sequence[Setting], frame: pd.DataFrame, neutral: NeutralTexts
) -> Setting:
    """Chooses the setting with the most right answers; of those near the best, the mildest.

    `frame` is the result of `sweep` over these settings. Mildest is the smallest mean KL on neutral text,
    among the settings whose share of right answers is within `NEAR_BEST` of the highest and whose logits are
    finite.

    Raises:
        UserError: the logits overflowed under every setting.
    """
    shares = {tuple(row[key] for key in KEYS): row for row in rates(frame, KEYS, 0).to_dict("records")}
    own = [shares[tuple(setting.names.values())] for setting in settings]
    usable = [(s, float(row["right"])) for s, row in zip(settings, own, strict=True) if not row["overflowed"]]
    if not usable:
        raise UserError("the logits overflow at every strength", settings[0].method, "use smaller strengths")
    best = max(share for _, share in usable)
    near = [setting for setting, share in usable if share >= best - NEAR_BEST]
    if len(near) == 1:
        return near[0]
    kl = [float(side_effects(subject, neutral, setting.edits)["kl"].mean()) for setting in near]
    return near[int(np.argmin(np.nan_to_num(kl, nan=np.inf)))]


def best_layer(frame: pd.DataFrame) -> tuple[int, float]:
    """The layer and strength of a sweep with the most right answers; the first of ties."""
    means = frame.groupby(["layer", "strength"], sort=True)["right"].mean()
    layer, strength = means.index[int(means.to_numpy().argmax())]
    return int(layer), float(strength)


def null_of(settings: Sequence[Setting], draw: int) -> list[Setting]:
    """Replaces each setting's edits by those of one draw of its null, to be swept and chosen from alike."""
    return [replace(setting, edits=setting.random[draw], vectors=(), random=()) for setting in settings]


def by_method(settings: Iterable[Setting]) -> Mapping[str, list[Setting]]:
    """Groups settings by method, in their order."""
    found: dict[str, list[Setting]] = {}
    for setting in settings:
        found.setdefault(setting.method, []).append(setting)
    return found
