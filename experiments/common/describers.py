"""What describes, simulates and judges: parts of a config, and how they are opened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from interp.descriptions.candidate import Explainer, Judge, Simulator
from interp.document import Corpus
from interp.errors import UserError, nearest
from interp.fields import Count, CountOrZero, Device, FilePath, Flag, Line, Positive, Section, Several
from interp.llm.cache import Cache
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.llm.ledger import FILE, Ledger
from interp.subject.load import Dtype


class _Asks(Section):
    endpoint: Line = "main"
    """Which of `endpoints`."""
    few_shot: Flag = True
    """Whether the prompt has worked examples."""


class _Runs(Section):
    model: FilePath
    """A Hugging Face folder with a causal language model (safetensors)."""
    device: Device = "cpu"
    """Where it runs."""
    dtype: Dtype = "float32"
    """Float type of its weights."""


class PatternsSource(Section):
    """Pattern tries; no language model."""

    kind: Literal["patterns"] = "patterns"


class PromptedSource(_Asks):
    """A prompt with highlighted exemplars."""

    kind: Literal["prompted"]


class ContrastiveSource(_Asks):
    """The same, with excerpts on which the feature is silent."""

    kind: Literal["contrastive"]


class LocalExplainerSource(_Runs):
    """A causal language model in this process, in the format of the published 8B explainer."""

    kind: Literal["local"]


class KnownSource(Section):
    """Tries by themselves and concepts by their labels; reads no words."""

    kind: Literal["known"] = "known"


class StructuredSource(_Asks):
    """Activations as JSON from an endpoint."""

    kind: Literal["structured"]


class PromptLogprobsSource(Section):
    """Expected values from an endpoint's log-probabilities of the prompt."""

    kind: Literal["prompt_logprobs"]
    endpoint: Line = "main"
    """Which of `endpoints`."""


class ExpectedValueSource(_Runs):
    """Expected values from a local model's logits, all excerpts of a feature in one pass."""

    kind: Literal["expected_value"]


class JudgeSource(_Asks):
    """Ratings from an endpoint."""

    kind: Literal["endpoint"]


class SimulatedSource(Section):
    """Ratings from the simulator's predictions."""

    kind: Literal["simulated"] = "simulated"


ExplainerSource = Annotated[
    PatternsSource | PromptedSource | ContrastiveSource | LocalExplainerSource, Field(discriminator="kind")
]
WordSimulatorSource = Annotated[
    StructuredSource | PromptLogprobsSource | ExpectedValueSource, Field(discriminator="kind")
]
SimulatorSource = Annotated[
    KnownSource | StructuredSource | PromptLogprobsSource | ExpectedValueSource,
    Field(discriminator="kind"),
]
AnyJudgeSource = Annotated[SimulatedSource | JudgeSource, Field(discriminator="kind")]


class TextsConfig(Section):
    """On how much text descriptions are scored."""

    random_windows: Several = 30
    """Random windows, the same for every feature."""
    texts: Several = 20
    """Texts with the feature, and as many without (half of them hard negatives), that a judge sees."""
    prompts: CountOrZero = 0
    """Beginnings of documents that the intervention score continues; 0 leaves it out."""
    new_tokens: Count = 16
    """Tokens that are written behind each."""
    strength: Positive = 2.0
    """Where a feature is held for it: times what it exceeds on one token in 100,000."""


def check_endpoints(endpoints: Mapping[str, Endpoint], *sources: Section) -> None:
    """Finds sources that name no endpoint, folders that are not there, and keys that are missing.

    Raises:
        UserError: one of these.
    """
    for source in sources:
        name = getattr(source, "endpoint", None)
        if isinstance(name, str) and name not in endpoints:
            near = nearest(name, endpoints) or list(endpoints)
            fix = (
                f"use {', '.join(near)}" if near else "add it: endpoints: {main: {base_url: ..., model: ...}}"
            )
            raise UserError(f"there is no endpoint {name!r}", "endpoints", fix)
        folder = getattr(source, "model", None)
        if isinstance(folder, Path) and not (folder / "config.json").exists():
            raise UserError("there is no model", str(folder), "give a Hugging Face folder")
    for endpoint in endpoints.values():
        endpoint.check()


def connect(endpoints: Mapping[str, Endpoint], run_folder: Path) -> dict[str, Client]:
    """A client for each endpoint; they share the run's cache of answers and its ledger."""
    if not endpoints:
        return {}
    cache, ledger = Cache(run_folder / "llm_answers.sqlite"), Ledger(run_folder / FILE)
    return {name: Client(endpoint, cache, ledger) for name, endpoint in endpoints.items()}


def open_explainer(
    source: PromptedSource | ContrastiveSource | LocalExplainerSource, clients: Mapping[str, Client]
) -> Explainer:
    """The explainer that a config means; `patterns` is none of these, it describes many at once."""
    from interp.descriptions.explainers.contrastive import Contrastive
    from interp.descriptions.explainers.local import LocalExplainer
    from interp.descriptions.explainers.prompted import Prompted

    if isinstance(source, LocalExplainerSource):
        return LocalExplainer.load(source.model, source.device, source.dtype)
    kind = Contrastive if isinstance(source, ContrastiveSource) else Prompted
    return kind(clients[source.endpoint], source.few_shot)


def open_simulator(
    source: KnownSource | StructuredSource | PromptLogprobsSource | ExpectedValueSource,
    clients: Mapping[str, Client],
    corpus: Corpus,
) -> Simulator:
    """The simulator that a config means."""
    from interp.descriptions.simulators.expected_value import ExpectedValueSimulator
    from interp.descriptions.simulators.known import KnownSimulator
    from interp.descriptions.simulators.prompt_logprobs import PromptLogprobSimulator
    from interp.descriptions.simulators.structured import StructuredSimulator

    if isinstance(source, ExpectedValueSource):
        return ExpectedValueSimulator.load(source.model, source.device, source.dtype)
    if isinstance(source, StructuredSource):
        return StructuredSimulator(clients[source.endpoint], source.few_shot)
    if isinstance(source, PromptLogprobsSource):
        return PromptLogprobSimulator(clients[source.endpoint])
    return KnownSimulator(corpus)


def open_judge(
    source: SimulatedSource | JudgeSource, clients: Mapping[str, Client], simulator: Simulator
) -> Judge:
    """The judge that a config means."""
    from interp.descriptions.scorers.judge_endpoint import EndpointJudge
    from interp.descriptions.scorers.judge_simulated import SimulatorJudge

    if isinstance(source, JudgeSource):
        return EndpointJudge(clients[source.endpoint], source.few_shot)
    return SimulatorJudge(simulator)
