"""Distil descriptions: teach a small model to write and to simulate them, and hold it against its teacher."""

from pydantic import Field

from interp.distil.train import ExplainerTuning, Tuning, check_installed
from interp.errors import UserError
from interp.fields import Count, CountOrZero, FilePath, OpenFraction, Several

from ..common.config import MiningJobConfig, check_mining


class Config(MiningJobConfig):
    """Whose descriptions are taught to which model."""

    features: Count = Field(500, ge=20)
    """Neurons, either side one feature, that the teacher (pattern tries) describes."""
    held_out: OpenFraction = 0.2
    """The share of them that no student is taught."""
    student: FilePath | None = None
    """A Hugging Face folder; the bundled `pydoc` model if left out."""
    excerpts: Count = 8
    """Exemplars in a prompt."""
    before: CountOrZero = 10
    """Tokens of an exemplar that are shown before its peak."""
    after: CountOrZero = 1
    """Tokens that are shown after it."""
    texts: Several = 12
    """Windows of a feature that the simulator is taught, half of them strong ones."""
    random_windows: Several = 20
    """Random windows of the report split that everything is scored on, beside the strongest."""
    scored: Several = 80
    """The most held-out features that are scored."""
    explainer: ExplainerTuning = ExplainerTuning(steps=300, batch_size=8)
    """How the explainer is trained."""
    simulator: Tuning = Tuning(steps=600)
    """How the simulator is trained."""


def check(config: Config) -> None:
    """Finds a missing extra, model or corpus before anything is written."""
    check_installed()
    check_mining(config)
    if config.student is not None and not (config.student / "config.json").exists():
        raise UserError("there is no model", str(config.student), "give a Hugging Face folder")
