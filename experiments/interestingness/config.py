"""Train a classifier of interesting descriptions on a labelled CSV, and measure it."""

from pathlib import Path

from interp.config import ExperimentConfig
from interp.descriptions.interest import read_labels
from interp.embed.source import EmbedderSource, TfidfSource
from interp.errors import UserError
from interp.fields import FilePath


class Config(ExperimentConfig):
    """Which labels are learned, and which embedder turns descriptions into vectors."""

    labels: FilePath = Path("labels.csv")
    """A CSV file with the columns `description` and `interesting` (1/0, yes/no, true/false)."""
    embedder: EmbedderSource = TfidfSource()
    """The embedder of descriptions; `describe` must use the same."""


def check(config: Config) -> None:
    """Raises UserError if the labels are missing or unreadable, before anything is written."""
    if not config.labels.exists():
        raise UserError(
            "there are no labels",
            str(config.labels),
            "labels=FILE.csv with the columns description, interesting",
        )
    read_labels(config.labels)
