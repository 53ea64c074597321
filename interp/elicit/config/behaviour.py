"""The config section of a behaviour: its judge, in words, and examples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from interp.descriptions.local_model import LocalModel
from interp.descriptions.sources import check_named
from interp.elicit.behaviour import Behaviour, Exchange, Judge
from interp.elicit.judges.classifier import ClassifierJudge, read_examples
from interp.elicit.judges.internal import InternalJudge, Reading, Where
from interp.elicit.judges.rubric import EndpointRubric, LocalRubric
from interp.elicit.judges.rule import LabelJudge, RegexJudge
from interp.elicit.target import Target
from interp.embed.source import SentenceSource, TfidfSource
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace
from interp.fields import (
    Device,
    FilePath,
    Finite,
    Flag,
    Line,
    Listed,
    OpenFraction,
    PathText,
    PositiveFraction,
    Section,
    Word,
)
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.subject.folder import SubjectInfo, find_folder
from interp.vectors.file import load_vectors

Ordinary = Callable[[], Sequence[Exchange]]
"""Makes ordinary exchanges, from which a threshold is taken."""


class _JudgeSource(Section):
    def check(self, info: SubjectInfo, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if it names something that is not there."""


class RegexSource(_JudgeSource):
    """Shows where a regular expression is found in the reply."""

    kind: Literal["regex"]
    pattern: Word
    """The expression; letters match in either case."""
    absent: Flag = False
    """Whether it shows where the expression is not found instead."""

    def check(self, info: SubjectInfo, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if it is no regular expression."""
        RegexJudge(self.pattern, self.absent)

    def open(self, target: Target, clients: Mapping[str, Client], ordinary: Ordinary) -> Judge:
        """The judge."""
        return RegexJudge(self.pattern, self.absent)


class LabelSource(_JudgeSource):
    """Shows where enough of the reply's words carry a concept of the world."""

    kind: Literal["label"]
    concept: Word
    """One of the world's concepts, such as lang_zorvic."""
    share: PositiveFraction = 0.5
    """The share of the reply's tokens that have to carry it."""

    def check(self, info: SubjectInfo, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if there is no such concept, or the model does not speak the world's language."""
        LabelJudge(self.concept, self.share)
        if not info.speaks_world:
            raise UserError(
                f"{info.name} has another vocabulary than the world, whose words carry the concepts",
                "behaviour.judge",
                "use kind regex, classifier or rubric",
            )

    def open(self, target: Target, clients: Mapping[str, Client], ordinary: Ordinary) -> Judge:
        """The judge."""
        return LabelJudge(self.concept, self.share)


class ClassifierSource(_JudgeSource):
    """Shows where a classifier, trained on your examples, says so."""

    kind: Literal["classifier"]
    examples: FilePath
    """JSON lines {"text": ..., "shows": true or false}, at least ten of each kind."""
    embedder: TfidfSource | SentenceSource = Field(TfidfSource(), discriminator="kind")
    """What turns texts into the vectors that it reads."""

    def check(self, info: SubjectInfo, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if the file is not there or has a line that is no example."""
        read_examples(self.examples)

    def open(self, target: Target, clients: Mapping[str, Client], ordinary: Ordinary) -> Judge:
        """Trains the judge."""
        showing, others = read_examples(self.examples)
        return ClassifierJudge(showing, others, self.embedder.open([*showing, *others]))


class RubricSource(_JudgeSource):
    """Shows where an endpoint finds that the reply fits a rubric."""

    kind: Literal["rubric"]
    rubric: Word
    """What the reply has to be, in words."""
    endpoint: Line = "main"
    """The name of one of `endpoints`."""

    def check(self, info: SubjectInfo, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if there is no such endpoint."""
        check_named(self.endpoint, endpoints)

    def open(self, target: Target, clients: Mapping[str, Client], ordinary: Ordinary) -> Judge:
        """The judge; what it spends counts to the target's budget."""
        return EndpointRubric(clients[self.endpoint], self.rubric, target.meter)


class LocalRubricSource(_JudgeSource):
    """Shows where a model in this process finds it likelier that the reply fits a rubric than not."""

    kind: Literal["local_rubric"]
    rubric: Word
    """What the reply has to be, in words."""
    model: PathText
    """A causal language model: `gemma-3-270m`, a Hugging Face folder, a GGUF file, or a hub name."""
    device: Device = "cpu"
    """The device that it runs on."""

    def check(self, info: SubjectInfo, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if there is no such model."""
        find_folder(self.model)

    def open(self, target: Target, clients: Mapping[str, Client], ordinary: Ordinary) -> Judge:
        """The judge; its passes count to the target's budget."""
        return LocalRubric(LocalModel.shared(self.model, self.device), self.rubric, target.meter)


class _ReadingSource(_JudgeSource):
    where: Where = "reply"
    """Where it is read: in the `reply`, in all that was `asked`, or at the `last` token before the reply."""
    threshold: Finite | None = None
    """The reading from which on it shows; null: a quantile of what ordinary replies have."""
    quantile: OpenFraction = 0.99
    """That quantile."""

    def _judge(self, target: Target, reading: Reading, ordinary: Ordinary) -> InternalJudge:
        judge = InternalJudge(target.subject, reading, self.threshold or 0.0, self.where, target.meter)
        return judge if self.threshold is not None else judge.calibrated(ordinary(), self.quantile)


class FeatureSource(_ReadingSource):
    """Shows where a feature is active: what the model represents while it replies."""

    kind: Literal["feature"]
    feature: Word
    """SPACE/ID with + or -, such as mlp.3/17+, of one of the run's `spaces`."""

    def open_among(self, target: Target, spaces: Sequence[FeatureSpace], ordinary: Ordinary) -> Judge:
        """The judge.

        Raises:
            UserError: there is no such feature.
        """
        return self._judge(target, Reading.feature(FeatureRef.parse(self.feature, spaces)), ordinary)


class VectorSource(_ReadingSource):
    """Shows where activations point along a vector."""

    kind: Literal["vector"]
    path: FilePath
    """A file of one vector."""

    def check(self, info: SubjectInfo, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if there is no such file."""
        load_vectors(self.path)

    def open(self, target: Target, clients: Mapping[str, Client], ordinary: Ordinary) -> Judge:
        """The judge.

        Raises:
            UserError: the file holds several vectors, or they were made on another model.
        """
        vectors = load_vectors(self.path, target.subject)
        if len(vectors) != 1:
            raise UserError(
                f"the file holds {len(vectors)} vectors", str(self.path), "give a file with one vector"
            )
        return self._judge(target, Reading.vector(vectors[0]), ordinary)


JudgeSource = Annotated[
    RegexSource
    | LabelSource
    | ClassifierSource
    | RubricSource
    | LocalRubricSource
    | FeatureSource
    | VectorSource,
    Field(discriminator="kind"),
]


class BehaviourConfig(Section):
    """A behaviour to look for. Only what does no harm should be looked for in a model of someone else."""

    name: Line = ""
    """A short name; made of the judge if left out."""
    words: Line = ""
    """What the behaviour is, in a sentence, for models that propose prompts."""
    judge: JudgeSource
    """What says whether a reply shows it."""
    examples: Listed[Word] = ()
    """Replies that show it: what likelihoods, gradients, vectors and fine-tuning aim at."""

    def check(self, info: SubjectInfo, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if the judge names something that is not there."""
        self.judge.check(info, endpoints)

    def open(
        self,
        target: Target,
        clients: Mapping[str, Client] | None = None,
        spaces: Sequence[FeatureSpace] = (),
        ordinary: Ordinary = list,
    ) -> Behaviour:
        """The behaviour.

        Raises:
            UserError: as the judge; or the model does not know a word of an example.
        """
        source = self.judge
        if isinstance(source, FeatureSource):
            judge = source.open_among(target, spaces, ordinary)
        else:
            judge = source.open(target, clients or {}, ordinary)
        for example in self.examples:
            target.reply_ids(example)
        return Behaviour(self.name or judge.name, judge, self.words, self.examples)
