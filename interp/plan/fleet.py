"""The plan: what describing all neurons of a model and training an SAE take, on one device or many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from interp.cost import Amount, Stage, gigabytes
from interp.plan.estimate import Cost, stage_seconds
from interp.plan.machine import Machine

SPREADS = (1, 2, 4, 8)
"""Numbers of devices over which a model that does not fit one is spread (`subject.device_map`)."""
ROOM = 0.9
"""The share of a device's memory that tensors may take; the rest is the allocator's and the libraries'."""


@dataclass(frozen=True)
class Fleet:
    """So many equal devices, of which an efficient share works on what is divided among workers."""

    name: str
    devices: int
    efficiency: Amount = 1.0


FLEETS = (Fleet("one GPU", 1), Fleet("eight GPUs", 8), Fleet("a cluster of 8 x 8", 64))


def spread(stage: Stage, weights: int, device_bytes: int) -> int | None:
    """The fewest devices that hold the weights in parts, and on one of them what else a stage holds.

    None if there are not enough in `SPREADS`.
    """
    rest = stage.bytes_on("device") - weights
    return next((n for n in SPREADS if weights / n + rest <= ROOM * device_bytes), None)


def fleet_seconds(stage: Stage, weights: int, machine: Machine, fleet: Fleet) -> Amount | None:
    """Seconds of a stage on a fleet; None if it does not fit.

    A worker has as many devices as hold the model. They compute one after the other, layer by layer, so that
    a worker is as fast as one device; a stage that cannot be sharded runs on one worker.
    """
    assert machine.device_bytes is not None
    each = spread(stage, weights, machine.device_bytes)
    if each is None or each > fleet.devices:
        return None
    return stage_seconds(stage, machine, fleet.devices // each, fleet.efficiency)


def hours(seconds: Amount | None) -> str:
    """A duration in hours, in days where there are many."""
    if seconds is None:
        return "does not fit"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h" if seconds < 100 * 3600 else f"{seconds / 86400:,.3g} d"


@dataclass(frozen=True)
class Task:
    """A row of the plan: some stages of a run, by the first words of their names."""

    title: str
    cost: Cost
    stages: tuple[str, ...]

    def found(self) -> list[Stage]:
        """The stages."""
        return [stage for stage in self.cost.stages if stage.name.split()[0] in self.stages]


def plan(tasks: Sequence[Task], machine: Machine, fleets: Sequence[Fleet] = FLEETS) -> list[str]:
    """The tasks as a Markdown table: hours on each fleet, memory, disk."""
    head = ["", *(fleet.name for fleet in fleets), "GPU memory", "weights", "devices a worker", "disk"]
    rows = [head, ["---"] * len(head)]
    for task in tasks:
        times = []
        weights = task.cost.weights
        for fleet in fleets:
            each = [fleet_seconds(stage, weights, machine, fleet) for stage in task.found()]
            times.append(hours(None if None in each else sum(one or 0.0 for one in each)))
        assert machine.device_bytes is not None
        largest = max(task.found(), key=lambda stage: stage.bytes_on("device"))
        each_worker = spread(largest, weights, machine.device_bytes)
        held = gigabytes(largest.bytes_on("device"))
        disk = sum(part.bytes for stage in task.found() for part in stage.disk)
        many = "more than 8" if each_worker is None else str(each_worker)
        rows.append([task.title, *times, held, gigabytes(weights), many, _size(disk)])
    return ["| " + " | ".join(row) + " |" for row in rows]


def asked(tasks: Sequence[Task], tokens_per_second: Amount) -> list[str]:
    """What the tasks ask of an endpoint as a Markdown table: calls, tokens, money, and hours at a rate."""
    head = ["", "calls", "tokens sent", "answered", "USD", f"hours at {tokens_per_second:,.0f} tokens/s"]
    rows = [head, ["---"] * len(head)]
    for task in tasks:
        of = [one for stage in task.found() for one in stage.asked]
        if not of:
            continue
        sent, answered = sum(one.prompt_tokens for one in of), sum(one.completion_tokens for one in of)
        usd = "" if any(one.usd is None for one in of) else f"{sum(one.usd or 0 for one in of):,.0f}"
        taken = hours((sent + answered) / tokens_per_second)
        rows.append([task.title, *map(_many, (sum(one.calls for one in of), sent, answered)), usd, taken])
    return ["| " + " | ".join(row) + " |" for row in rows]


def kept(tasks: Sequence[Task], more: Mapping[str, int]) -> list[str]:
    """What lies on disk as a Markdown table: of each task once, and `more`."""
    rows = [["on disk", "bytes"], ["---"] * 2]
    for task in tasks:
        sizes: dict[str, int] = {}
        for part in (part for stage in task.found() for part in stage.disk):
            what = part.what if part.stays else f"{part.what}, while it lasts"
            sizes[what] = sizes.get(what, 0) + part.bytes
        rows += [[f"{task.title}: {what}", _size(size)] for what, size in sizes.items()]
    rows += [[name, _size(size)] for name, size in more.items()]
    return ["| " + " | ".join(row) + " |" for row in rows]


def sources(machine: Machine) -> list[str]:
    """Where each rate is from, as a Markdown table."""
    rows = [["rate", "per second", "of", "from"], ["---"] * 4]
    rows += [
        [name, f"{rate.value:.3g}", machine.unit(name), f"{rate.origin}: {rate.how}"]
        for name, rate in machine.rates.items()
        if name not in ("forward_large", "learn_sparse", "generated", "patterns", "tried", "decoded")
    ]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _many(number: Amount) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}"


def _size(size: Amount) -> str:
    return f"{size / 1e12:.3g} TB" if size >= 1e12 else gigabytes(size)
