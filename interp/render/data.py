"""Plain values for what every page says about the studied model and the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StudiedModel:
    """The model that was studied. `note` is one sentence a reader must know, such as a training-time mask."""

    name: str
    architecture: str
    parameters: int
    layers: int
    d_model: int
    vocabulary: int
    context_size: int
    backend: str
    note: str = ""


@dataclass(frozen=True)
class RunInfo:
    """The run that made the report. `config` is the resolved YAML, `manifest` versions and hardware.

    `text` says what was unusual in the corpus; empty if nothing was.
    `notes` are sentences on how its figures were made.
    """

    name: str
    command: str
    date: str
    seed: int
    config: str
    manifest: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    notes: Sequence[str] = ()
