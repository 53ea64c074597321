"""The models that come with the package, and what must be known of each."""

from dataclasses import dataclass
from pathlib import Path

from interp.bundled.pydoc import TEXT_NOTE, pydoc_folder
from interp.bundled.world import TRAINING_NOTE, world_folder


@dataclass(frozen=True)
class Bundled:
    """One shipped model: its folder, and a sentence or two that a reader of any figure about it needs."""

    folder: Path
    note: str


def bundled_models() -> dict[str, Bundled]:
    """The shipped models by name."""
    return {
        "world": Bundled(world_folder(), TRAINING_NOTE),
        "pydoc": Bundled(pydoc_folder(), TEXT_NOTE),
    }
