"""What a config will take: its stages from the sizes alone, and hours from the rates of a machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from interp.config import ExperimentConfig
from interp.cost import Amount, Calls, Stage, SubjectShape, TextSize, Where, loading_stage
from interp.errors import UserError
from interp.plan.machine import Machine
from interp.subject.shape import PUBLISHED, subject_shape


@dataclass(frozen=True)
class Cost:
    """The stages of a run with their costs, the text they read, and the bytes of the subject's weights."""

    name: str
    stages: tuple[Stage, ...]
    text: TextSize
    weights: int = 0

    @property
    def bytes(self) -> int:
        """Bytes at the peak of the whole run, device and host together."""
        return max(stage.bytes for stage in self.stages)

    def bytes_on(self, where: Where) -> int:
        """Bytes at the peak of the whole run, of the device or of the host."""
        return max(stage.bytes_on(where) for stage in self.stages)

    @property
    def disk(self) -> int:
        """Bytes of files when the run has ended."""
        return sum(part.bytes for stage in self.stages for part in stage.disk if part.stays)

    @property
    def disk_at_once(self) -> int:
        """Bytes of files at most, with those that are taken away again."""
        passing = [sum(part.bytes for part in stage.disk if not part.stays) for stage in self.stages]
        return self.disk + max(passing, default=0)

    @property
    def asked(self) -> list[Calls]:
        """What is asked of endpoints, by purpose."""
        found: dict[str, Calls] = {}
        for one in (calls for stage in self.stages for calls in stage.asked):
            before = found.get(one.purpose)
            found[one.purpose] = one if before is None else _added(before, one)
        return list(found.values())

    @property
    def usd(self) -> Amount | None:
        """Money, in US dollars; None where a price is not known."""
        prices = [one.usd for one in self.asked]
        known = [one for one in prices if one is not None]
        return None if len(known) < len(prices) else sum(known)

    def seconds(self, machine: Machine, workers: int = 1, efficiency: Amount = 1.0) -> Amount:
        """Seconds of all stages; work at rates that are not known counts nothing."""
        return sum(stage_seconds(stage, machine, workers, efficiency) for stage in self.stages)


def stage_seconds(stage: Stage, machine: Machine, workers: int = 1, efficiency: Amount = 1.0) -> Amount:
    """Seconds of a stage; one that can be sharded is divided among `workers` of which so much is effective.

    An efficiency of 1 is the ideal; give what was measured (one worker's time over n times that of n).
    The endpoint is one for all workers, and is divided by nothing.
    """
    taken = machine.seconds_by_rate(stage)
    alone = sum(taken.pop(name, 0.0) for name in ("prompt_tokens", "completion_tokens"))
    parts = workers * efficiency if stage.shards and workers > 1 else 1.0
    return alone + sum(taken.values()) / max(1.0, parts)


def estimate(config: ExperimentConfig, tokens: int | None = None) -> Cost:
    """Estimates the cost of a config: of loading its subject, and of its stages.

    `tokens` is the size of the corpus; if left out, it is taken from the config (a text file: its size over
    4 bytes a token). Reads nothing but configurations, and a few documents.

    Raises:
        UserError: the config has no subject, or the size of its corpus is not known.
    """
    options = getattr(config, "subject", None)
    if options is None:
        raise UserError("this config has no subject", config.experiment, "estimate one that reads a model")
    sizes = _published(options.name) if options.name in PUBLISHED else subject_shape(options.name)
    shape = replace(sizes, quantize=options.quantize)
    corpus = getattr(config, "corpus", None)
    text: TextSize | None = None if corpus is None else corpus.size()
    if tokens is not None:
        text = replace(text or TextSize(tokens), tokens=tokens)
    if text is None:
        raise UserError(
            "the size of the corpus is not known", "corpus", "say how many tokens it has: --tokens 1000000"
        )
    loading = loading_stage(shape, options.resolved_dtype(), options.backend)
    return Cost(config.name, (loading, *config.stages(shape, text)), text, loading.parts[0].bytes)


@cache
def _published(name: str) -> SubjectShape:
    """The sizes of a published model, which do not change; a folder may."""
    return subject_shape(name)


def _added(one: Calls, other: Calls) -> Calls:
    usd = None if one.usd is None or other.usd is None else one.usd + other.usd
    add: Callable[[str], Amount] = lambda name: getattr(one, name) + getattr(other, name)  # noqa: E731
    return Calls(one.purpose, add("calls"), add("prompt_tokens"), add("completion_tokens"), usd)


def total(costs: Sequence[Cost]) -> Cost:
    """Several runs, one after the other, on one subject."""
    first = costs[0]
    return Cost(
        " and ".join(cost.name for cost in costs),
        (first.stages[0], *(stage for cost in costs for stage in cost.stages[1:])),
        first.text,
        first.weights,
    )
