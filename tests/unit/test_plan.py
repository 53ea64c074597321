"""The plan in numbers: where rates come from, what fits where, and prompts whose tokens are counted."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from interp.cli.scale_plan import scale_plan
from interp.cost import MemoryPart, Stage, gigabytes
from interp.descriptions.prompt_size import WindowText, explain_call, simulate_call
from interp.errors import UserError
from interp.plan.fleet import FLEETS, Fleet, fleet_seconds, hours, spread
from interp.plan.machine import UNITS, Machine, Rate, load_machine, save_machine
from interp.plan.machines import DEVICES, REFERENCE, extrapolated, reference_machine

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """The lines of the plan."""
    return scale_plan()


def test_the_plan_of_the_page_is_what_the_command_prints(printed: list[str]) -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    for table in "\n".join(printed).split("\n\n"):
        assert table.strip() in page


def test_the_repositorys_machine_has_measured_every_rate_but_an_endpoints() -> None:
    machine = reference_machine()
    assert set(UNITS) - set(machine.rates) == {"prompt_tokens", "completion_tokens"}
    assert all(rate.origin == "measured" and rate.how for rate in machine.rates.values())
    assert 0.1 < machine.share("forward") < 1 and 0.1 < machine.share("learn") < 1


def test_nothing_of_a_device_that_is_not_here_is_called_measured() -> None:
    measured = reference_machine()
    for name, device in DEVICES.items():
        made = extrapolated(name)
        assert {rate.origin for rate in made.rates.values()} == {"extrapolated"}
        assert made.rates["forward"].value == pytest.approx(device.flops * measured.share("forward_large"))
        assert f"({measured.share('forward_large'):.2f})" in made.rates["forward"].how
        assert made.rates["stored"].value == measured.rates["stored"].value
        assert made.device_bytes == device.bytes
    given = measured.with_rates("given", "by me", prompt_tokens=5000.0)
    assert given.of_device("x", 1e15, 1e12, 1).rates["prompt_tokens"].origin == "given"
    faster = measured.with_product(10 * measured.rates["product"].value)
    assert faster.rates["forward"].value == pytest.approx(10 * measured.rates["forward"].value)
    assert faster.rates["forward"].origin == "extrapolated"


def test_a_machine_is_saved_and_loaded_and_a_damaged_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    save_machine(extrapolated("h200"), file)
    assert load_machine(file) == extrapolated("h200")
    content: dict[str, Any] = json.loads(REFERENCE.read_text())
    for changed in (
        {"format": 9},
        {"rates": {"product": {"value": -1, "origin": "measured"}}},
        {"rates": {"speed": {"value": 1, "origin": "measured"}}},
        {"rates": {"product": {"value": 1, "origin": "guessed"}}},
        {"colour": "red"},
    ):
        file.write_text(json.dumps(content | changed))
        with pytest.raises(UserError, match=re.escape(str(file))):
            load_machine(file)
    with pytest.raises(UserError, match="'speed' is no rate"):
        reference_machine().with_rates("given", "", speed=1.0)


def test_a_model_that_does_not_fit_one_device_is_spread_and_said_not_to_fit() -> None:
    machine = Machine("m", {"forward": Rate(1e12, "given")}, "cuda", device_bytes=80_000_000_000)
    weights = 141_000_000_000
    parts = (
        MemoryPart("weights", weights, ""),
        MemoryPart("else", 2 * 10**9, ""),
        MemoryPart("h", 10**12, "", "host"),
    )
    stage = Stage("mine", parts, (("forward", 8e12),), shards=True)
    assert spread(stage, weights, 80_000_000_000) == 4  # two would have 72.5 GB each, of 72
    assert fleet_seconds(stage, weights, machine, Fleet("one", 1)) is None
    assert fleet_seconds(stage, weights, machine, Fleet("eight", 8)) == pytest.approx(8 / 2)
    assert fleet_seconds(stage, weights, machine, Fleet("eight", 8, 0.75)) == pytest.approx(8 / 1.5)
    assert hours(None) == "does not fit" and hours(7200) == "2 h" and hours(864000) == "10 d"


def test_seventy_billion_fit_one_gpu_only_in_four_bits(printed: list[str]) -> None:
    rows = {line.split("|")[1].strip(): line.split("|")[2:] for line in printed if line.startswith("| 70B")}
    mined = next(row for title, row in rows.items() if "mine all neurons, 10M" in title)
    assert mined[0].strip() == "does not fit" and mined[4].strip() == gigabytes(141.1e9)
    assert rows["70B: the same in 4 bits"][0].strip() != "does not fit"
    assert len(mined) == len(FLEETS) + 5


def test_a_call_grows_with_what_it_shows() -> None:
    windows = WindowText(60, 60)
    assert explain_call(windows, 20, True).prompt > explain_call(windows, 5, True).prompt
    assert explain_call(windows, 20, True).prompt > explain_call(windows, 20, False).prompt
    five, one = simulate_call(windows, 5, True), simulate_call(windows, 1, True)
    assert five.answer > 4 * one.answer > 4 * 60
