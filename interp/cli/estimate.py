"""Refuses a config that no memory would be enough for, and prints what one will take."""

from pathlib import Path
from typing import TYPE_CHECKING

from interp.config import ExperimentConfig
from interp.cost import Amount, SubjectShape, TextSize, gigabytes, machine_bytes
from interp.errors import UserError
from interp.fields import sections

if TYPE_CHECKING:
    from interp.plan.estimate import Cost
    from interp.plan.machine import Machine


def check_memory(config: ExperimentConfig, machine: int | None = None) -> None:
    """Raises UserError, naming what to lower, if a stage of a config needs more memory than the machine has.

    The need is computed from sizes alone, before anything is read or written; the subject's own weights are
    not counted. `machine` is the memory in bytes, by default this machine's.
    """
    has = machine_bytes() if machine is None else machine
    if has is None:
        return
    held = [(key, stage) for key, section in sections(config) if (stage := section.stage()) is not None]
    stages = config.stages(_sizes(config), TextSize(1))
    device = getattr(getattr(config, "subject", None), "device", "cpu")
    for key, stage in (*held, *(("memory", stage) for stage in stages)):
        needed = stage.bytes if device == "cpu" else stage.bytes_on("host")
        if needed <= has:
            continue
        most = max(stage.parts, key=lambda part: part.bytes)
        raise UserError(
            f"to {stage.name} takes about {gigabytes(needed)}, and this machine has {gigabytes(has)}",
            f"{key} ({most.what}: {gigabytes(most.bytes)})",
            f"lower {most.lower}",
        )


def _sizes(config: ExperimentConfig) -> SubjectShape:
    """The sizes of a config's subject, without reading weights; the smallest possible without a subject."""
    options = getattr(config, "subject", None)
    if options is None:
        return SubjectShape()
    from interp.subject.folder import subject_info

    info = subject_info(options.name)
    return SubjectShape(
        name=info.name,
        n_layers=info.n_layers,
        d_model=info.d_model,
        d_mlp=info.d_mlp,
        n_heads=info.n_heads,
        d_vocab=info.d_vocab,
    )


def chosen_machine(
    file: Path | None = None,
    tflops: Amount | None = None,
    endpoint_tokens: Amount | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> "Machine":
    """The machine of a file (measured now and written there, if there is none), or this one.

    Without a file, a product and a copy are measured here, in a second; other rates are those of the
    repository's machine, each FLOP/s times what this one's product is faster. `tflops` are those of another
    device's product, `endpoint_tokens` the tokens per second of an endpoint, `device` and `dtype` what is
    measured into a file.

    Raises:
        UserError: the file is damaged.
    """
    from interp.plan.machine import load_machine, save_machine
    from interp.plan.machines import reference_machine
    from interp.plan.measure import measured_hardware, measured_machine
    from interp.track.progress import automatic

    if file is None:
        machine = reference_machine().with_hardware("this machine", measured_hardware())
    elif file.exists():
        machine = load_machine(file)
    else:
        machine = measured_machine(device, dtype, progress=automatic())
        save_machine(machine, file)
    if tflops is not None:
        machine = machine.with_product(tflops * 1e12)
    if endpoint_tokens is not None:
        rates = {"prompt_tokens": endpoint_tokens, "completion_tokens": endpoint_tokens}
        machine = machine.with_rates("given", "", **rates)
    return machine


def lines(cost: "Cost", machine: "Machine", workers: int = 1, efficiency: Amount = 1.0) -> list[str]:
    """What a run will take on a machine, as text: a summary, each stage, and where each rate is from."""
    from interp.plan.estimate import stage_seconds
    from interp.track.progress import clock

    shared = (
        ""
        if workers == 1
        else f" with {workers} workers"
        + (" (ideal)" if efficiency == 1 else f" ({efficiency:.0%} effective)")
    )
    said = [
        f"{cost.name}: about {gigabytes(cost.bytes)}, {gigabytes(cost.disk)} on disk and "
        f"{clock(cost.seconds(machine, workers, efficiency))}{shared}",
        f"for a corpus of {cost.text.tokens:,} tokens, on {machine.name}; pages are not counted",
    ]
    for stage in cost.stages:
        taken = clock(stage_seconds(stage, machine, workers if stage.shards else 1, efficiency))
        missing = machine.untimed(stage)
        unknown = f" (without {', '.join(missing)}: not known)" if missing else ""
        said += ["", f"{stage.name}: {gigabytes(stage.bytes)}, {taken}{unknown}"]
        said += [f"  {gigabytes(part.bytes):>8}  {part.what} (lower {part.lower})" for part in stage.parts]
        said += [
            f"  {gigabytes(part.bytes):>8}  on disk: {part.what}{'' if part.stays else ', while it lasts'}"
            for part in stage.disk
        ]
        said += [
            f"  {one.calls:,.0f} calls to {one.purpose}: {one.prompt_tokens:,.0f} tokens sent, "
            f"{one.completion_tokens:,.0f} answered" + ("" if one.usd is None else f", {one.usd:,.2f} USD")
            for one in stage.asked
        ]
    used = dict.fromkeys(name for stage in cost.stages for name, amount in stage.work if amount)
    said += ["", "rates:"]
    said += [
        f"  {name}: {rate.value:.3g} {machine.unit(name)}; {rate.origin} {rate.how}".rstrip()
        for name, rate in machine.rates.items()
        if name in used
    ]
    return said
