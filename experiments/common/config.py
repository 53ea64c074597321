"""Base classes of configs: a model, its text, and how its features are mined."""

from collections.abc import Sequence
from dataclasses import replace

from interp.config import ExperimentConfig
from interp.corpus.activations import ActivationsConfig
from interp.corpus.source import CorpusSource, WorldSource
from interp.cost import SpaceSize, Stage, SubjectShape, TextSize
from interp.descriptions.cost import Describing, described_by_patterns
from interp.descriptions.sources import TextsConfig
from interp.engine.config import EngineConfig, EngineOptions
from interp.errors import UserError
from interp.mining.config import MiningConfig
from interp.mining.cost import mining_stage
from interp.subject.folder import SubjectInfo, subject_info
from interp.subject.load import SubjectConfig
from interp.subject.site import Site
from saes.config import SaeTraining
from saes.cost import evaluation_stage, kept_part, reading_kept, training_stage
from saes.spaces import SpacesConfig


class SubjectJobConfig(ExperimentConfig):
    """A job on one model."""

    subject: SubjectConfig = SubjectConfig()
    """The model that is studied."""

    def training(
        self, shape: SubjectShape, site: str, sae: SaeTraining, text: TextSize | None = None
    ) -> Stage:
        """Returns the cost of training an SAE."""
        dtype, device = self.subject.resolved_dtype(), self.subject.device
        return training_stage(shape, dtype, Site.parse(site), sae, device, text)


class CorpusJobConfig(SubjectJobConfig):
    """A job on one model and its text."""

    corpus: CorpusSource = WorldSource()
    """The text that the model reads."""


class SharedJobConfig(CorpusJobConfig):
    """A job whose long parts several processes or machines can share."""

    engine: EngineOptions = EngineConfig()
    """Where these parts are computed: `local`, or `ray` on the machines of a cluster."""


class KeepingJobConfig(CorpusJobConfig):
    """A job that reads the same activations more than once: it trains on them, mines and measures them."""

    activations: ActivationsConfig | None = None
    """How much of them is kept on disk, such as `{keep: 2 GB}`; null: the text is read each time."""

    def trained(
        self, shape: SubjectShape, text: TextSize, site: str, sae: SaeTraining, first: bool = True
    ) -> list[Stage]:
        """Returns the cost of training an SAE and measuring it; with activations kept, of what that saves.

        What is kept is read and not computed again; unless training is the `first` to read the text, all is
        kept by then.
        """
        where = Site.parse(site)
        training = self.training(shape, site, sae, text)
        measuring = evaluation_stage(shape, self.subject.resolved_dtype(), where, sae, text=text)
        if self.activations is None:
            return [training, measuring]
        kept = kept_part(shape, [where], self.activations, text)
        share = kept.bytes / max(1, kept_part(shape, [where], None, text).bytes)
        return [replace(reading_kept(training, share, first), disk=(*training.disk, kept)), measuring]


class MiningJobConfig(SharedJobConfig):
    """A job on features that are mined from text."""

    mining: MiningConfig = MiningConfig()
    """What is kept of each feature."""

    def mined(self, shape: SubjectShape, text: TextSize, *passes: Sequence[SpaceSize]) -> list[Stage]:
        """Returns the cost of mining: a stage for each pass over the corpus, given the spaces mined in it."""
        dtype = self.subject.resolved_dtype()
        return [mining_stage(shape, dtype, spaces, self.mining, text) for spaces in passes if spaces]

    def described(
        self,
        shape: SubjectShape,
        text: TextSize,
        spaces: Sequence[SpaceSize],
        features: int,
        random_windows: int,
        nulls: int,
    ) -> list[Stage]:
        """Returns the cost of describing features of some spaces by patterns, and of scoring them."""
        plan = Describing(
            features,
            spaces,
            self.mining,
            TextsConfig(random_windows=max(2, random_windows)),
            nulls,
            judges=(),
            at_once=features,
        )
        return described_by_patterns(shape, self.subject.resolved_dtype(), plan, text)


class SpacesJobConfig(MiningJobConfig):
    """A job that changes features of the spaces it names; mines them first."""

    spaces: SpacesConfig = SpacesConfig()
    """The features that are studied."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Mines the spaces."""
        return self.mined(shape, text, self.spaces.sizes(shape))


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
        check_kept_by_one(config.engine)
    return info


def check_kept_by_one(engine: EngineConfig) -> None:
    """Raises UserError if several processes would keep activations, which one process keeps."""
    if engine.kind != "local" or engine.n_shards > 1:
        raise UserError(
            "activations are kept by one process, and the work is to be shared",
            "activations, engine",
            "leave out activations, or give engine: local with one shard",
        )


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
