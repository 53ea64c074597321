"""The plan of docs/scale.md: what Llama 3.1, 8B and 70B, take on one GPU, eight, and a cluster."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interp.cli.loading import load_config
from interp.cost import Amount

if TYPE_CHECKING:
    from interp.plan.fleet import Task
    from interp.plan.machine import Machine

TOKENS_PER_SECOND = 20_000.0
"""Of an endpoint, unless it is said: a number to divide by, measured nowhere."""
MODELS = {"8B": (32, 1), "70B": (80, 8)}
"""Layers of each, and the number of passes in which they are mined."""


def scale_plan(
    machine: "Machine | None" = None,
    overrides: Sequence[str] = (),
    tokens_per_second: Amount = TOKENS_PER_SECOND,
    efficiency: Amount = 1.0,
) -> list[str]:
    """The plan as lines of Markdown.

    `machine` is the device, by default an H100 by its published rates and the shares that the repository's
    machine reaches; `overrides` change the config of describing, such as an endpoint's prices; `efficiency`
    is the share of many workers that is effective, ideal by default.
    """
    from dataclasses import replace

    from interp.plan.fleet import FLEETS, asked, kept, plan, sources
    from interp.plan.machines import extrapolated

    machine = machine or extrapolated("h100")
    tasks = [task for model in MODELS for task in _tasks(model, overrides)]
    fleets = [replace(one, efficiency=efficiency if one.devices > 1 else 1.0) for one in FLEETS]
    site = "activations of one site, 100M tokens"
    activations = {f"{model}: {site}": _activations(model) for model in MODELS}
    tables = plan(tasks, machine, fleets), asked(tasks, tokens_per_second), kept(tasks, activations)
    return [line for table in tables for line in (*table, "")] + sources(machine)


def _activations(model: str) -> int:
    from interp.cost import TextSize
    from interp.subject.shape import subject_shape
    from interp.subject.site import Site
    from saes.cost import kept_part

    shape = subject_shape(f"meta-llama/Llama-3.1-{model}")
    return kept_part(shape, [Site("resid_post", MODELS[model][0] // 2)], None, TextSize(100_000_000)).bytes


def _tasks(model: str, overrides: Sequence[str]) -> "list[Task]":
    from interp.plan.estimate import Cost, estimate, total
    from interp.plan.fleet import Task

    layers, passes = MODELS[model]
    name = f"subject.name=meta-llama/Llama-3.1-{model}"

    def described(tokens: int, *more: str) -> Cost:
        return estimate(load_config("llama31_neurons", [name, *more, *overrides])[1], tokens)

    def mined(tokens: int, *more: str) -> Cost:
        step = layers // passes
        parts = [list(range(start, start + step)) for start in range(0, layers, step)]
        return total([described(tokens, f"neurons={part}", *more) for part in parts])

    whole = described(100_000_000)
    sae = f"dictionaries.middle.site=resid_post.{layers // 2}"
    trained = estimate(load_config("llama31_sae", [name, sae])[1], 1_000_000_000)
    often = f" ({passes} passes)" if passes > 1 else ""
    return [
        Task(f"{model}: load it", whole, ("load",)),
        Task(f"{model}: mine all neurons, 10M tokens{often}", mined(10_000_000), ("mine",)),
        Task(f"{model}: the same in 4 bits", mined(10_000_000, "subject.quantize=4bit"), ("mine",)),
        Task(f"{model}: mine all neurons, 100M tokens{often}", mined(100_000_000), ("mine",)),
        Task(f"{model}: describe both sides of each", whole, ("explain",)),
        Task(f"{model}: score the descriptions", whole, ("score",)),
        Task(f"{model}: store them", whole, ("store",)),
        Task(f"{model}: SAE, 131,072 latents, 1G tokens", trained, ("train",)),
    ]
