"""The models that come with the package, and what a reader must know of each."""

from dataclasses import dataclass
from pathlib import Path

from interp.bundled.planted import PLANTED_NOTE, planted_folder
from interp.bundled.pydoc import TEXT_NOTE, pydoc_folder
from interp.bundled.world import TRAINING_NOTE, world_folder


@dataclass(frozen=True)
class Bundled:
    """One shipped model: its folder, and a sentence or two that every reader of its figures needs."""

    folder: Path
    note: str


def bundled_models() -> dict[str, Bundled]:
    """The shipped models by name."""
    return {
        "world": Bundled(world_folder(), TRAINING_NOTE),
        "pydoc": Bundled(pydoc_folder(), TEXT_NOTE),
        "planted": Bundled(planted_folder(), PLANTED_NOTE),
    }
