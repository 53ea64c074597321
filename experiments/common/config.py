"""Base classes of configs: a model, its text, and how its features are mined."""

from collections.abc import Sequence

from interp.config import ExperimentConfig
from interp.corpus.activations import ActivationsConfig
from interp.corpus.source import CorpusSource, WorldSource
from interp.cost import SpaceSize, Stage, SubjectShape
from interp.errors import UserError
from interp.mining.config import MiningConfig
from interp.mining.cost import mining_stage
from interp.subject.folder import SubjectInfo, subject_info
from interp.subject.load import SubjectConfig
from interp.subject.site import Site
from saes.config import SaeTraining
from saes.cost import training_stage
from saes.spaces import SpacesConfig


class SubjectJobConfig(ExperimentConfig):
    """A job on one model."""

    subject: SubjectConfig = SubjectConfig()
    """The model that is studied."""

    def training(self, shape: SubjectShape, site: str, sae: SaeTraining) -> Stage:
        """Returns the cost of training an SAE."""
        return training_stage(shape, self.subject.dtype, Site.parse(site), sae, self.subject.device)


class CorpusJobConfig(SubjectJobConfig):
    """A job on one model and its text."""

    corpus: CorpusSource = WorldSource()
    """The text that the model reads."""


class KeepingJobConfig(CorpusJobConfig):
    """A job that reads the same activations more than once: it trains on them, mines and measures them."""

    activations: ActivationsConfig | None = None
    """How much of them is kept on disk, such as `{keep: 2 GB}`; null: the text is read each time."""


class MiningJobConfig(CorpusJobConfig):
    """A job on features that are mined from text."""

    mining: MiningConfig = MiningConfig()
    """What is kept of each feature."""

    def mined(self, shape: SubjectShape, tokens: int, *passes: Sequence[SpaceSize]) -> list[Stage]:
        """Returns the cost of mining: a stage for each pass over the corpus, given the spaces mined in it."""
        dtype = self.subject.dtype
        return [mining_stage(shape, dtype, spaces, self.mining, tokens) for spaces in passes if spaces]


class SpacesJobConfig(MiningJobConfig):
    """A job that changes features of the spaces it names; mines them first."""

    spaces: SpacesConfig = SpacesConfig()
    """The features that are studied."""

    def stages(self, shape: SubjectShape, tokens: int) -> Sequence[Stage]:
        """Mines the spaces."""
        return self.mined(shape, tokens, self.spaces.sizes(shape))


def check_subject(config: SubjectJobConfig) -> SubjectInfo:
    """Raises UserError if the model is not there."""
    return subject_info(config.subject.name)


def check_subject_and_corpus(config: CorpusJobConfig) -> SubjectInfo:
    """Raises UserError if the model or the text is not there, or the text is not for this model."""
    info = check_subject(config)
    config.corpus.check(info)
    return info


def check_mining(config: MiningJobConfig, **context_sizes: int) -> SubjectInfo:
    """Raises UserError as `check_subject_and_corpus`, or if a context is longer than the model's.

    Checks the context of `mining`, and those of `context_sizes` by their section in the config. They must be
    one where activations are kept.
    """
    info = check_subject_and_corpus(config)
    sizes = {"mining": config.mining.context_size, **context_sizes}
    check_context(info, sizes)
    if isinstance(config, KeepingJobConfig) and config.activations is not None:
        check_one_context(sizes)
    return info


def check_one_context(sizes: dict[str, int]) -> None:
    """Raises UserError if context sizes, by their section in the config, differ: none would be used."""
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{key}.context_size {size}" for key, size in sizes.items())
        raise UserError(
            f"activations that are kept are those of one context, and there is {listed}",
            "activations",
            "give both the same context_size, or leave activations out",
        )


def check_context(info: SubjectInfo, sizes: dict[str, int]) -> None:
    """Raises UserError if a context size, given by its section in the config, exceeds the model's."""
    for key, size in sizes.items():
        if size > info.n_ctx:
            raise UserError(
                f"{size} tokens do not fit the context of {info.name}, {info.n_ctx}",
                f"{key}.context_size",
                f"use at most {info.n_ctx}",
            )


def check_layers(layers: Sequence[int] | None, last: int) -> None:
    """Raises UserError if one of the config's `layers` is after `last`."""
    for layer in layers or ():
        if layer > last:
            raise UserError(f"layer {layer} is too late", "layers", f"use -1 (the embedding) to {last}")
