"""Machines that come with interp: one that was measured, and devices by what is published of them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from interp.cost import Amount
from interp.plan.machine import Machine, load_machine

FOLDER = Path(__file__).parent
REFERENCE = FOLDER / "two_cores.json"


@dataclass(frozen=True)
class Device:
    """What a maker publishes of a device: dense FLOP/s in bfloat16, bytes/s and bytes of its memory."""

    name: str
    flops: Amount
    bandwidth: Amount
    bytes: int


DEVICES = {
    "a100": Device("A100 SXM 80 GB", 312e12, 2.039e12, 80_000_000_000),
    "h100": Device("H100 SXM 80 GB", 989e12, 3.35e12, 80_000_000_000),
    "h200": Device("H200 SXM 141 GB", 989e12, 4.8e12, 141_000_000_000),
}
"""NVIDIA's data sheets: A100 (2021), H100 (2023), H200 (2024); without sparsity."""


@cache
def reference_machine() -> Machine:
    """The machine that the repository's figures are from: two cores, no GPU."""
    return load_machine(REFERENCE)


def extrapolated(device: str, machine: Machine | None = None) -> Machine:
    """A device of `DEVICES`: its published rates times the shares that were reached on a measured machine."""
    one = DEVICES[device]
    return (machine or reference_machine()).of_device(one.name, one.flops, one.bandwidth, one.bytes)
