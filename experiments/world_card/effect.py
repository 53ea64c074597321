"""An effect: a measured value, the control that it has to beat, and what was chosen to get it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from io import StringIO

import numpy as np
import pandas as pd

from interp.bundled.world.lexicon import DATA
from interp.statistics.estimate import mean_interval, share_interval, share_of_items


@dataclass(frozen=True)
class ItemEstimate:
    """A share or a mean with its 95% interval, of `n` items."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def share(cls, right: "Sequence[bool] | np.ndarray | pd.Series[bool]") -> "ItemEstimate":
        """Returns the share of true items, with its Wilson interval."""
        return cls(*share_interval(int(np.sum(right)), len(right)), len(right))

    @classmethod
    def over_draws(cls, right: Sequence[np.ndarray], seed: int) -> "ItemEstimate":
        """Returns the share over several draws of a control; each item counts once, by its mean."""
        item = np.tile(np.arange(len(right[0])), len(right))
        return cls(*share_of_items(np.concatenate(right), item, seed), len(right[0]))

    @classmethod
    def mean(cls, values: Sequence[float] | np.ndarray, seed: int) -> "ItemEstimate":
        """Returns the mean of values, with its bootstrap interval."""
        known = np.asarray(values, dtype=float)
        return cls(*mean_interval(known, seed), len(known))


@dataclass(frozen=True)
class Effect:
    """One line of the card.

    `at` says where it was measured, with "chosen" where a half of the items chose that; `against` says what
    `control` is. `note` is a caveat for the reader.
    """

    group: str
    name: str
    at: str
    figure: ItemEstimate
    against: str = ""
    control: ItemEstimate | None = None
    note: str = ""


@dataclass
class EffectResults:
    """The results of one kind of effect: lines of the card, and values by layer for curves.

    `profile` rows: `group`, `series`, `layer`, `value`, `low`, `high`, `n`.
    """

    effects: list[Effect] = field(default_factory=list)
    profile: list[dict[str, object]] = field(default_factory=list)

    def by_layer(self, group: str, series: str, layer: int, figure: ItemEstimate) -> None:
        """Adds one point of a curve over layers."""
        self.profile.append({"group": group, "series": series, "layer": layer, **asdict(figure)})

    def __add__(self, other: "EffectResults") -> "EffectResults":
        return EffectResults(self.effects + other.effects, self.profile + other.profile)


def effect_table(effects: Sequence[Effect]) -> pd.DataFrame:
    """Tabulates effects, a row each; the control's columns are NaN if there is none."""
    absent = ItemEstimate(np.nan, np.nan, np.nan, 0)
    rows = []
    for effect in effects:
        control = effect.control or absent
        rows.append(
            {
                "group": effect.group,
                "effect": effect.name,
                "at": effect.at,
                **asdict(effect.figure),
                "against": effect.against,
                **{f"control_{name}": value for name, value in asdict(control).items()},
                "note": effect.note,
            }
        )
    return pd.DataFrame(rows)


def recorded() -> pd.DataFrame:
    """Reads the recorded cards of other seeds and of worlds without the window, written by `world_seeds`."""
    text = (DATA / "seeds.csv").read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text), keep_default_na=True).fillna({"against": "", "note": "", "at": ""})
