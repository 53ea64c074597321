"""What a machine does per second, each rate with where it comes from: measured, given, or extrapolated."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from interp.cost import Amount, RateName, Stage
from interp.errors import UserError
from interp.fields import told
from interp.json_text import read_json
from interp.track.files import write_json

Origin = Literal["measured", "given", "extrapolated"]
UNITS: dict[RateName, str] = {
    "product": "FLOP/s of one large matrix product",
    "forward": "FLOP/s of a forward pass through the subject",
    "forward_large": "FLOP/s of one layer of a large model (Llama 3.1 8B)",
    "learn": "FLOP/s of a training step of a dictionary, dense",
    "learn_sparse": "FLOP/s of a training step, sparse (top-k on a CPU)",
    "device_memory": "bytes/s read and written by an operation on the device",
    "host_memory": "bytes/s read and written by a copy in the host's memory",
    "load": "parameters/s read from files and converted",
    "disk": "bytes/s written to files",
    "generated": "tokens/s of the world's documents, which are made as they are read",
    "mined": "activations/s taken in by mining, beside the pass",
    "entered": "windows/s that enter a feature's strongest",
    "read_out": "sampled activations/s of which bands and quantiles are made when a pass has ended",
    "read": "windows/s read for a feature, beside the pass",
    "patterns": "descriptions/s written by patterns, beside the pass",
    "tried": "windows/s on which a description's pattern is tried",
    "scored": "scores/s, with their intervals",
    "asked": "calls/s that one process sends to an endpoint, beside its answering",
    "stored": "features/s put into a store",
    "decoded": "layers/s of generation steps on a few rows, where weights are small",
    "prompt_tokens": "tokens/s of prompts that the endpoint reads",
    "completion_tokens": "tokens/s that the endpoint writes",
}
ON_DEVICE: tuple[RateName, ...] = (
    "product", "forward", "forward_large", "learn", "learn_sparse", "device_memory", "mined", "entered",
    "read_out",
)  # fmt: skip
"""Rates of the device that a subject runs on; the others are of its host, a disk or an endpoint."""
FLOPS: tuple[RateName, ...] = ("forward", "forward_large", "learn", "learn_sparse")
MOVING: tuple[RateName, ...] = ("mined", "entered", "read_out")
"""Rates that are bound by the device's memory."""
_FORMAT = 1
_AGAIN = "measure it again"
_EXACTLY = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Rate:
    """So much per second, in the unit of `UNITS`; how it came about, in words."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXACTLY

    value: Annotated[Amount, Field(gt=0, allow_inf_nan=False)]
    origin: Origin
    how: str = ""


@dataclass(frozen=True)
class Machine:
    """A device with its host. `device_bytes` and `host_bytes` are their memories, None if not known."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXACTLY

    name: str
    rates: Mapping[RateName, Rate] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"
    device_bytes: int | None = None
    host_bytes: int | None = None
    measured_on: str = ""

    def with_rates(self, origin: Origin, how: str, **values: Amount) -> "Machine":
        """The same machine with other rates."""
        unknown = [name for name in values if name not in UNITS]
        if unknown:
            raise UserError(f"{unknown[0]!r} is no rate", "rates", f"use one of {', '.join(UNITS)}")
        found: dict[Any, Rate] = {name: Rate(value, origin, how) for name, value in values.items()}
        return replace(self, rates={**self.rates, **found})

    def with_hardware(self, name: str, values: Mapping[str, Amount]) -> "Machine":
        """A machine like this of which only hardware was measured: products, copies, files.

        Rates in FLOP/s go with that of the product; the others stay, and are said to be those of this one.
        """
        changed = values["product"] / self.rates["product"].value
        moved = {one: self.rates[one].value * changed for one in FLOPS if one in self.rates}
        other = {
            rate: replace(of, how=f"on {self.name}: {of.how}")
            for rate, of in self.rates.items()
            if rate not in values and rate not in moved
        }
        base = replace(self, name=name, rates=other)
        how = f"product measured here x the share that was reached on {self.name}"
        return base.with_rates("measured", "here", **values).with_rates("extrapolated", how, **moved)

    def with_product(self, flops: Amount) -> "Machine":
        """A device of which only the FLOP/s of a product are given; its memory is as much faster."""
        changed = flops / self.rates["product"].value
        given = self.with_rates("given", "", product=flops)
        moved = {one: self.rates[one].value * changed for one in (*FLOPS, "device_memory", *MOVING)}
        how = f"{self.name}'s x the given product over its own"
        return replace(
            given.with_rates("extrapolated", how, **moved), name=f"a device of {flops / 1e12:.3g} TFLOP/s"
        )

    def unit(self, rate: RateName) -> str:
        """What a rate is counted in, and of what."""
        return UNITS[rate]

    def share(self, rate: RateName) -> Amount:
        """The part of a large matrix product's rate that other work reaches."""
        return self.rates[rate].value / self.rates["product"].value

    def seconds_by_rate(self, stage: Stage) -> dict[RateName, Amount]:
        """Seconds that a stage takes at each rate that is known here, one after the other."""
        names = dict.fromkeys(name for name, _ in stage.work if name in self.rates)
        return {name: stage.amount(name) / self.rates[name].value for name in names}

    def seconds(self, stage: Stage) -> Amount:
        """Seconds that a stage takes; work at a rate that is not known counts nothing (`untimed`)."""
        return sum(self.seconds_by_rate(stage).values())

    def untimed(self, stage: Stage) -> list[RateName]:
        """Rates that a stage needs and that are not known here."""
        return [
            name
            for name in dict.fromkeys(name for name, amount in stage.work if amount)
            if name not in self.rates
        ]

    def of_device(
        self, name: str, flops: Amount, bandwidth: Amount, device_bytes: int, dtype: str = "bfloat16"
    ) -> "Machine":
        """Another device on a host like this one: published rates times the shares that are reached here.

        `flops` and `bandwidth` (bytes/s) are the published ones. Everything of the host stays as it was
        measured here; a host beside a large device is seldom slower.
        """
        how = "published {} x the share that was reached on " + self.name
        at_all = f"published, of which a large product may reach less; {self.name} measured its own"
        rates: dict[RateName, Rate] = {
            **self.rates,
            "product": Rate(flops, "extrapolated", at_all),
            "device_memory": Rate(bandwidth, "extrapolated", "published bandwidth"),
        }
        for one in FLOPS:
            if one in self.rates:
                said = how.format("FLOP/s") + f" ({self.share(one):.2f})"
                rates[one] = Rate(flops * self.share(one), "extrapolated", said)
        if "forward_large" in rates:
            rates["forward"] = rates["forward_large"]
        if "learn" in rates:
            rates["learn_sparse"] = rates["learn"]  # the sparse step is one of CPUs
        moved = bandwidth / self.rates["device_memory"].value if "device_memory" in self.rates else 1.0
        for one in MOVING:
            if one in self.rates:
                said = f"measured on {self.name} x published bandwidth over that measured there ({moved:.0f})"
                rates[one] = Rate(self.rates[one].value * moved, "extrapolated", said)
        host = {
            rate: replace(of, origin="extrapolated", how=f"measured on {self.name}")
            for rate, of in rates.items()
            if rate not in ON_DEVICE and of.origin == "measured"
        }
        return Machine(
            name, {**rates, **host}, "cuda", dtype, device_bytes, self.host_bytes, self.measured_on
        )


_MACHINE = TypeAdapter(Machine)


def save_machine(machine: Machine, file: str | Path) -> None:
    """Writes a machine as JSON."""
    write_json(file, {"format": _FORMAT, **asdict(machine)})


def load_machine(file: str | Path) -> Machine:
    """Reads what `save_machine` wrote.

    Raises:
        UserError: the file is missing, damaged, or has a rate that is none.
    """
    content = read_json(Path(file), _AGAIN)
    if content.pop("format", None) != _FORMAT:
        raise UserError("this is no machine, or one of another version", str(file), _AGAIN)
    try:
        return _MACHINE.validate_python(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"{place} {told(problem)}", str(file), _AGAIN) from None
