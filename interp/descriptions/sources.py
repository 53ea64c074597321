"""Config sections of explainers, simulators and judges, each of which checks and opens itself."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from interp.descriptions.candidate import Explainer, FeatureExplainer, Judge, Simulator
from interp.descriptions.explainers.by_text import TextExplainer
from interp.descriptions.explainers.contrastive import ContrastivePrompted
from interp.descriptions.explainers.local import LocalExplainer
from interp.descriptions.explainers.patterns import PatternExplainer
from interp.descriptions.explainers.prompted import Prompted
from interp.descriptions.scorers.judge_endpoint import EndpointJudge
from interp.descriptions.scorers.judge_local import LocalJudge
from interp.descriptions.scorers.judge_simulated import SimulatorJudge
from interp.descriptions.simulators.expected_value import ExpectedValueSimulator
from interp.descriptions.simulators.known import KnownSimulator
from interp.descriptions.simulators.likely_words import LikelyWordsSimulator
from interp.descriptions.simulators.prompt_logprobs import PromptLogprobSimulator
from interp.descriptions.simulators.structured import StructuredSimulator
from interp.document import Corpus
from interp.errors import UserError, similar_names
from interp.fields import Count, CountOrZero, Device, Flag, Line, PathText, Positive, Section, Several
from interp.llm.cache import Cache
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.llm.ledger import FILE, Ledger
from interp.subject.folder import find_folder
from interp.subject.precision import Dtype
from interp.subject.subject import Subject

Clients = Mapping[str, Client]
"""Endpoints that are connected, by their name."""


class _Source(Section):
    def check(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if it names an endpoint or a folder that is not there."""


class _Endpoint(_Source):
    endpoint: Line = "main"
    """The name of one of `endpoints`."""

    def check(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if there is no such endpoint."""
        check_named(self.endpoint, endpoints)


class _Asks(_Endpoint):
    few_shot: Flag = True
    """Whether the prompt has worked examples."""


class _Runs(_Source):
    model: PathText
    """A causal language model: `gemma-3-270m`, a Hugging Face folder, a GGUF file, or a hub name."""
    device: Device = "cpu"
    """The device that the model runs on."""
    dtype: Dtype = "float32"
    """Float type of the model's weights."""

    def check(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Raises UserError if there is no such model."""
        find_folder(self.model)


class PatternsSource(_Source):
    """Explains by pattern tries; needs no language model."""

    kind: Literal["patterns"] = "patterns"

    def open(self, subject: Subject, clients: Clients) -> FeatureExplainer:
        """The explainer."""
        return PatternExplainer(subject)


class PromptedSource(_Asks):
    """Explains by an endpoint, from a prompt with highlighted exemplars."""

    kind: Literal["prompted"]

    def open(self, subject: Subject, clients: Clients) -> FeatureExplainer:
        """The explainer."""
        return _by_text(subject, Prompted(clients[self.endpoint], self.few_shot), clients)


class ContrastiveSource(_Asks):
    """Explains as `prompted`, with excerpts on which the feature is silent added."""

    kind: Literal["contrastive"]

    def open(self, subject: Subject, clients: Clients) -> FeatureExplainer:
        """The explainer."""
        return _by_text(subject, ContrastivePrompted(clients[self.endpoint], self.few_shot), clients)


class LocalExplainerSource(_Runs):
    """Explains by a causal language model in this process.

    One with a chat template, or fine-tuned for it, reads highlighted exemplars, in the format of the
    published 8B explainer; a base model names what the strongest words have in common.
    """

    kind: Literal["local"]

    def open(self, subject: Subject, clients: Clients) -> FeatureExplainer:
        """The explainer."""
        return _by_text(subject, LocalExplainer.load(self.model, self.device, self.dtype), clients)


class KnownSource(_Source):
    """Simulates tries by themselves and concepts by their labels; reads no words."""

    kind: Literal["known"] = "known"

    def open(self, corpus: Corpus, clients: Clients) -> Simulator:
        """The simulator."""
        return KnownSimulator(corpus)


class StructuredSource(_Asks):
    """Simulates by an endpoint that answers with activations as JSON."""

    kind: Literal["structured"]

    def open(self, corpus: Corpus, clients: Clients) -> Simulator:
        """The simulator."""
        return StructuredSimulator(clients[self.endpoint], self.few_shot)


class PromptLogprobsSource(_Endpoint):
    """Simulates by expected values from an endpoint's log-probabilities of the prompt."""

    kind: Literal["prompt_logprobs"]

    def open(self, corpus: Corpus, clients: Clients) -> Simulator:
        """The simulator."""
        return PromptLogprobSimulator(clients[self.endpoint])


class ExpectedValueSource(_Runs):
    """Simulates by expected values from the logits of a local model that was fine-tuned for it, all excerpts
    of a feature in one pass."""

    kind: Literal["expected_value"]

    def open(self, corpus: Corpus, clients: Clients) -> Simulator:
        """The simulator."""
        return ExpectedValueSimulator.load(self.model, self.device, self.dtype)


class LikelyWordsSource(_Runs):
    """Simulates by how much likelier a description makes each word, to a local base model."""

    kind: Literal["likely_words"]

    def open(self, corpus: Corpus, clients: Clients) -> Simulator:
        """The simulator."""
        return LikelyWordsSimulator.load(self.model, self.device, self.dtype)


class JudgeSource(_Asks):
    """Judges by ratings from an endpoint."""

    kind: Literal["endpoint"]

    def open(self, simulator: Simulator, clients: Clients) -> Judge:
        """The judge."""
        return EndpointJudge(clients[self.endpoint], self.few_shot)


class LocalJudgeSource(_Runs):
    """Judges by how much likelier a local base model finds yes than no, after worked examples."""

    kind: Literal["local"]

    def open(self, simulator: Simulator, clients: Clients) -> Judge:
        """The judge."""
        return LocalJudge.load(self.model, self.device, self.dtype)


class SimulatedSource(_Source):
    """Judges by the simulator's predictions."""

    kind: Literal["simulated"] = "simulated"

    def open(self, simulator: Simulator, clients: Clients) -> Judge:
        """The judge."""
        return SimulatorJudge(simulator)


ExplainerSource = Annotated[
    PatternsSource | PromptedSource | ContrastiveSource | LocalExplainerSource, Field(discriminator="kind")
]
WordSimulatorSource = Annotated[
    StructuredSource | PromptLogprobsSource | ExpectedValueSource | LikelyWordsSource,
    Field(discriminator="kind"),
]
SimulatorSource = Annotated[
    KnownSource | StructuredSource | PromptLogprobsSource | ExpectedValueSource | LikelyWordsSource,
    Field(discriminator="kind"),
]
WordJudgeSource = Annotated[JudgeSource | LocalJudgeSource, Field(discriminator="kind")]
AnyJudgeSource = Annotated[SimulatedSource | JudgeSource | LocalJudgeSource, Field(discriminator="kind")]


class TextsConfig(Section):
    """How much text descriptions are scored on."""

    random_windows: Several = 30
    """Random windows, the same for every feature."""
    texts: Several = 20
    """Number of texts with the feature, and of texts without (half of them hard negatives), per judge."""
    prompts: CountOrZero = 0
    """Number of documents whose beginnings the intervention score continues; 0 leaves it out."""
    new_tokens: Count = 16
    """Tokens generated after each of these prompts."""
    strength: Positive = 2.0
    """The value that a feature is clamped to for it, in multiples of its 1 - 1e-5 quantile."""


def check_sources(endpoints: Mapping[str, Endpoint], *sources: _Source) -> None:
    """Checks the endpoints, folders and keys of sources.

    Raises:
        UserError: a source names no endpoint, a folder does not exist, or a key is missing.
    """
    for source in sources:
        source.check(endpoints)
    for endpoint in endpoints.values():
        endpoint.check()


def check_named(name: str, endpoints: Iterable[str]) -> None:
    """Raises UserError if there is no endpoint of this name."""
    known = list(endpoints)
    if name not in known:
        near = similar_names(name, known) or known
        fix = f"use {', '.join(near)}" if near else "add it: endpoints: {main: {base_url: ..., model: ...}}"
        raise UserError(f"there is no endpoint {name!r}", "endpoints", fix)


def open_clients(endpoints: Mapping[str, Endpoint], folder: Path | None = None) -> dict[str, Client]:
    """Opens a client for each endpoint; with a run's folder they share its cache and its ledger."""
    if not endpoints:
        return {}
    if folder is None:
        return {name: Client(endpoint) for name, endpoint in endpoints.items()}
    cache, ledger = Cache(folder / "llm_answers.sqlite"), Ledger(folder / FILE)
    return {name: Client(endpoint, cache, ledger) for name, endpoint in endpoints.items()}


def _by_text(subject: Subject, explainer: Explainer, clients: Clients) -> FeatureExplainer:
    return TextExplainer(subject, explainer, tuple(clients.values()))
