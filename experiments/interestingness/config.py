"""Train a classifier of interesting descriptions from a labelled CSV, and say how well it does."""

from pathlib import Path

from interp.config import ExperimentConfig
from interp.descriptions.interest import read_labels
from interp.embed.source import EmbedderSource, TfidfSource
from interp.errors import UserError
from interp.fields import FilePath


class Config(ExperimentConfig):
    """Which labels, and what turns descriptions into vectors."""

    labels: FilePath = Path("labels.csv")
    """A CSV file with the columns `description` and `interesting` (1/0, yes/no, true/false)."""
    embedder: EmbedderSource = TfidfSource()
    """What turns descriptions into vectors; `describe` has to use the same."""


def check(config: Config) -> None:
    """Reads the labels before anything is written."""
    if not config.labels.exists():
        raise UserError(
            "there are no labels",
            str(config.labels),
            "labels=FILE.csv with the columns description, interesting",
        )
    read_labels(config.labels)
