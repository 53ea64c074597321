"""Figures that were recorded of other seeds and of worlds trained without the window."""

from io import StringIO

import pandas as pd

from interp.bundled.world.lexicon import DATA

FILE = DATA / "seeds.csv"


def recorded() -> pd.DataFrame:
    """The lines of the cards of these models, as `world_seeds` wrote them; `model` says which."""
    return pd.read_csv(StringIO(FILE.read_text(encoding="utf-8")), keep_default_na=True).fillna(
        {"against": "", "note": "", "at": ""}
    )
