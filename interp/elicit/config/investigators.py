"""The config sections of investigators, and of the guides that some of them climb."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from pydantic import Field

from interp.descriptions.sources import check_named
from interp.distil.train import check_installed
from interp.elicit.behaviour import Behaviour
from interp.elicit.config.prompts import PromptSource, as_templates
from interp.elicit.directions import needed_examples
from interp.elicit.guide import FeatureGuide, Guide, JudgeGuide, LikelihoodGuide
from interp.elicit.investigators.best_of_n import BestOfN
from interp.elicit.investigators.finetuned import FineTunedInvestigator, FineTuning
from interp.elicit.investigators.random_search import RandomSearch
from interp.elicit.investigators.steering import SteeringSearch
from interp.elicit.investigators.templates import TemplateSearch, TemplateSettings
from interp.elicit.investigators.tokens import TokenSearch, TokenSettings
from interp.elicit.prompts import PromptDistribution
from interp.elicit.search import Investigator
from interp.elicit.target import Target
from interp.elicit.writers import EndpointWriter, ModelWriter, Writer
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace
from interp.fields import (
    Count,
    CountOrZero,
    Layer,
    Line,
    Listed,
    NonEmpty,
    NotNegative,
    PathText,
    Positive,
    PositiveFraction,
    Section,
    Seed,
    Text,
    Word,
)
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.subject.folder import find_folder
from interp.subject.load import load
from interp.vectors.vector import Vector


@dataclass(frozen=True, eq=False)
class Setting:
    """What an investigator is opened with.

    `vectors` makes the behaviour's vectors, one for each layer (`behaviour_vectors`), when they are needed.
    """

    target: Target
    behaviour: Behaviour
    prompts: PromptDistribution
    source: Any
    vectors: Callable[[], Sequence[Vector]]
    clients: Mapping[str, Client] = field(default_factory=dict)
    spaces: Sequence[FeatureSpace] = ()
    folder: Path | None = None


class JudgeGuideSource(Section):
    """The judge's score: the model replies, and the text is read."""

    kind: Literal["judge"]

    def open(self, setting: Setting) -> Guide:
        """The guide."""
        return JudgeGuide(setting.target, setting.behaviour)


class LikelihoodSource(Section):
    """The log-probability of the behaviour's examples; nothing is written."""

    kind: Literal["likelihood"]
    first: Count | None = 4
    """How many of an example's first tokens count; null for all."""

    def open(self, setting: Setting) -> Guide:
        """The guide.

        Raises:
            UserError: the behaviour has no examples.
        """
        return LikelihoodGuide(setting.target, setting.behaviour, self.first)


class VectorGuideSource(Section):
    """How far the last token before the reply points along the behaviour's vector of a layer."""

    kind: Literal["vector"]
    layer: Layer | None = None
    """The layer; null: half of the way up."""

    def open(self, setting: Setting) -> Guide:
        """The guide.

        Raises:
            UserError: the behaviour has no examples, or the model no such layer.
        """
        needed_examples(setting.behaviour, "a vector")
        vectors = setting.vectors()
        layer = len(vectors) // 2 if self.layer is None else self.layer
        if layer >= len(vectors):
            raise UserError(f"there is no layer {layer}", "guide.layer", f"use 0 to {len(vectors) - 1}")
        return FeatureGuide(setting.target, vectors[layer])


class FeatureGuideSource(Section):
    """A feature's activation, at the last token before the reply or the largest over the prompt."""

    kind: Literal["feature"]
    feature: Word
    """SPACE/ID with + or -, of one of the run's `spaces`."""
    where: Literal["end", "prompt"] = "end"
    """Where it is read."""

    def open(self, setting: Setting) -> Guide:
        """The guide.

        Raises:
            UserError: there is no such feature.
        """
        return FeatureGuide(setting.target, FeatureRef.parse(self.feature, setting.spaces), self.where)


GuideSource = Annotated[
    JudgeGuideSource | LikelihoodSource | VectorGuideSource | FeatureGuideSource, Field(discriminator="kind")
]


class _InvestigatorSource(Section):
    label: Line = ""
    """What it is called in tables; its kind if left out."""

    def check(self, endpoints: Mapping[str, Endpoint], prompts: PromptSource) -> None:
        """Raises UserError if it names something that is not there, or does not fit the prompts."""


class RandomSource(_InvestigatorSource):
    """Draws from the prompts: the null of every search."""

    kind: Literal["random"]

    def open(self, setting: Setting) -> Investigator:
        """The investigator."""
        return RandomSearch(setting.prompts)


class BestOfNSource(_InvestigatorSource):
    """A model writes prompts after the best so far."""

    kind: Literal["best_of_n"]
    model: PathText | None = None
    """The model that writes, by a name as `subject.name` takes it; the subject itself if left out."""
    endpoint: Line = ""
    """Or the name of one of `endpoints`, which is told `behaviour.words`."""
    form: Text = ""
    """What a prompt stands in for a model in this process, with {prompt}; one on each line if left out, for a
    model of the world's vocabulary a user's turn."""
    new_tokens: Count = 24
    """The most tokens of a prompt."""
    temperature: NotNegative = 1.0
    """How freely it writes."""
    shots: CountOrZero = 8
    """How many of the best prompts it goes on from."""

    def check(self, endpoints: Mapping[str, Endpoint], prompts: PromptSource) -> None:
        """Raises UserError if there is no such model or endpoint, or both are named."""
        if self.model and self.endpoint:
            raise UserError("both a model and an endpoint are named", "investigators", "name one")
        if self.endpoint:
            check_named(self.endpoint, endpoints)
        if self.model:
            find_folder(self.model)

    def open(self, setting: Setting) -> Investigator:
        """The investigator.

        Raises:
            UserError: the model cannot be loaded, or the form has no place for a prompt.
        """
        return BestOfN(self._writer(setting), setting.behaviour, setting.prompts, self.shots)

    def _writer(self, setting: Setting) -> Writer:
        if self.endpoint:
            return EndpointWriter(setting.clients[self.endpoint], self.temperature)
        model = load(self.model) if self.model else setting.target.subject
        form = self.form or ("user : {prompt} assistant :" if model.info.speaks_world else "{prompt}\n")
        return ModelWriter(model, form, self.new_tokens, self.temperature)


class TemplateSource(_InvestigatorSource, TemplateSettings):
    """Templates and their fillings evolve."""

    kind: Literal["templates"]
    words: Listed[Word] = ()
    """Words that are inserted freely; those of the slots if left out."""
    guide: GuideSource | None = None
    """What children are ranked by before they are asked; null: all are asked."""

    def open(self, setting: Setting) -> Investigator:
        """The investigator.

        Raises:
            UserError: there is nothing that could change, or the model does not know a word.
        """
        settings = TemplateSettings(**{name: getattr(self, name) for name in TemplateSettings.model_fields})
        guide = None if self.guide is None else self.guide.open(setting)
        return TemplateSearch(setting.target, as_templates(setting.source), settings, self.words, guide)


class TokenSource(_InvestigatorSource, TokenSettings):
    """The prompt's tokens are searched, by swaps or by a beam, with hints of a gradient."""

    kind: Literal["tokens"]
    words: Listed[Word] = ()
    """What new tokens are drawn from with `hints: words`."""
    guide: GuideSource = LikelihoodSource(kind="likelihood")
    """What is climbed."""

    def open(self, setting: Setting) -> Investigator:
        """The investigator.

        Raises:
            UserError: the behaviour has no examples, or the guide no gradient where `hints` asks for one.
        """
        settings = TokenSettings(**{name: getattr(self, name) for name in TokenSettings.model_fields})
        return TokenSearch(self.guide.open(setting), setting.prompts, settings, self.words)


class FineTunedSource(_InvestigatorSource, FineTuning):
    """A small model learns to write prompts for a reply, then by preference to write better ones."""

    kind: Literal["finetuned"]
    model: PathText | None = None
    """The model that learns, by a name as `subject.name` takes it; the subject's own weights if left out."""
    guide: GuideSource | None = None
    """What a prompt is rewarded by; null: the judge's score."""
    seed: Seed = 0
    """What policies are trained on."""

    def check(self, endpoints: Mapping[str, Endpoint], prompts: PromptSource) -> None:
        """Raises UserError if there is no such model, or the extra `distill` is missing."""
        check_installed()
        if self.model:
            find_folder(self.model)

    def open(self, setting: Setting) -> Investigator:
        """The investigator, whose policies are kept in the setting's folder.

        Raises:
            UserError: there is no folder, or the behaviour has no examples.
        """
        if setting.folder is None:
            raise UserError("policies have no folder to be kept in", "finetuned", "run it as an experiment")
        settings = FineTuning(**{name: getattr(self, name) for name in FineTuning.model_fields})
        guide = None if self.guide is None else self.guide.open(setting)
        model = self.model or setting.target.subject.info.folder
        return FineTunedInvestigator(
            setting.target, setting.behaviour, setting.prompts, model, setting.folder / "policies", settings,
            guide, self.seed,
        )  # fmt: skip


class SteeringSource(_InvestigatorSource):
    """Directions are tried at rising strengths: what would it take?"""

    kind: Literal["steering"]
    strengths: NonEmpty[Positive] = (0.25, 0.5, 1, 2, 4)
    """Strengths, in multiples of a vector's own length or of a feature's largest activation."""
    share: PositiveFraction = 0.5
    """The share of prompts in which the behaviour has to show."""
    precision: PositiveFraction = 0.15
    """How closely the least strength is found."""
    prompts: Count = 4
    """How many prompts are asked at each strength."""

    def open(self, setting: Setting) -> Investigator:
        """The investigator, on all of the target's directions.

        Raises:
            UserError: the target has no directions.
        """
        asked = setting.prompts.sample(8 * self.prompts, Random("steering"))
        taken = [one for one in dict.fromkeys(asked) if setting.target.takes(one)][: self.prompts]
        names = list(setting.target.directions)
        return SteeringSearch(names, taken, self.strengths, self.share, self.precision)


InvestigatorSource = Annotated[
    RandomSource | BestOfNSource | TemplateSource | TokenSource | FineTunedSource | SteeringSource,
    Field(discriminator="kind"),
]
