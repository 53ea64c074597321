"""Distil descriptions: teach a small model to write and simulate them, and compare it with its teacher."""

from pydantic import Field

from interp.distil.train import ExplainerTuning, Tuning, check_installed
from interp.errors import UserError
from interp.fields import Count, CountOrZero, FilePath, OpenFraction, Several

from ..common.config import MiningJobConfig, check_mining


class Config(MiningJobConfig):
    """Which features are described by the teacher, and how the students are trained and scored."""

    features: Count = Field(500, ge=20)
    """Neurons (each polarity is a feature) that the teacher, pattern tries, describes."""
    held_out: OpenFraction = 0.2
    """The share of these features that no student is trained on."""
    student: FilePath | None = None
    """The model to fine-tune, a Hugging Face folder; the bundled `pydoc` model if left out."""
    excerpts: Count = 8
    """Exemplars in the prompt of the explainer."""
    before: CountOrZero = 10
    """Tokens of an exemplar that are shown before its peak."""
    after: CountOrZero = 1
    """Tokens of an exemplar that are shown after its peak."""
    texts: Several = 12
    """Windows of each feature that the simulator is trained on, half of them strong ones."""
    random_windows: Several = 20
    """Random windows of the report split, on which all are scored beside the strongest ones."""
    scored: Several = 80
    """The largest number of held-out features that are scored."""
    explainer: ExplainerTuning = ExplainerTuning(steps=300, batch_size=8)
    """How the explainer is trained."""
    simulator: Tuning = Tuning(steps=600)
    """How the simulator is trained."""


def check(config: Config) -> None:
    """Raises UserError for a missing extra, model or corpus, before anything is written."""
    check_installed()
    check_mining(config)
    if config.student is not None and not (config.student / "config.json").exists():
        raise UserError("there is no model", str(config.student), "give a Hugging Face folder")
