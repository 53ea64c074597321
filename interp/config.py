"""What every experiment's config has."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import StringConstraints

from interp.cost import Stage, SubjectShape, TextSize
from interp.fields import Line, Section, Seed, Text, Word

__all__ = ["ExperimentConfig", "WandbOptions"]

ProjectName = Annotated[str, StringConstraints(pattern=r"^[^/\\#?%:\x00-\x1f\x7f-\x9f]{1,128}$")]
"""A name that W&B accepts for a project: without / \\ # ? % and :"""


class WandbOptions(Section):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online if you are logged in, otherwise offline; nothing ever asks for a key."""
    project: ProjectName = "interp"
    """The W&B project."""


class ExperimentConfig(Section):
    """What every experiment's config has; an experiment's `Config` derives from it."""

    experiment: Word
    """Which module of experiments/ runs this config."""
    purpose: Text = ""
    """One line that says what the run is for."""
    name: Line = ""
    """Name of the run and of its folder; the name of the config file if left out."""
    seed: Seed = 0
    """Seed of everything random."""
    wandb: WandbOptions = WandbOptions()
    """Weights & Biases."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """The stages that take memory, time, disk or money once the subject is loaded; pages are left out."""
        return ()
