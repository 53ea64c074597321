"""Toy as a folder: a config, a job and a page on the bases that the project's experiments have."""

from interp.config import ExperimentConfig
from interp.errors import UserError
from interp.fields import CountOrZero


class Config(ExperimentConfig):
    """The toy."""

    draws: CountOrZero = 3
    """How many numbers are drawn."""


def check(config: Config) -> None:
    """Raises UserError if nothing is to be drawn."""
    if not config.draws:
        raise UserError("there is nothing to draw", "draws", "draw at least one")
