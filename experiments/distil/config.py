"""Distil descriptions: teach a small model to write and to simulate them, and hold it against its teacher."""

from pydantic import Field

from experiments.common.config import check_context
from interp.config import ExperimentConfig
from interp.corpus.source import CorpusSource, WorldSource, check_corpus
from interp.distil.train import ExplainerTuning, Tuning, check_installed
from interp.errors import UserError
from interp.fields import Count, CountOrZero, FilePath, OpenFraction, Several
from interp.mining.config import MiningConfig
from interp.subject.config import SubjectConfig
from interp.subject.folder import subject_info


class Config(ExperimentConfig):
    """Whose descriptions are taught to which model."""

    subject: SubjectConfig = SubjectConfig()
    """The model whose neurons are described."""
    corpus: CorpusSource = WorldSource()
    """The text."""
    mining: MiningConfig = MiningConfig()
    """What is kept of each neuron."""
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
    """Tokens that are shown behind it."""
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
    info = subject_info(config.subject.name)
    check_corpus(config.corpus)
    check_context(info, {"mining": config.mining.context_size})
    if config.student is not None and not (config.student / "config.json").exists():
        raise UserError("there is no model", str(config.student), "give a Hugging Face folder")
