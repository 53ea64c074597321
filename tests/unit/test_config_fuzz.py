"""Mutated configs: each is taken, or refused with a message; nothing else happens, and nothing is written.

`INTERP_CONFIG_MUTANTS=10000` tries as many, drawn anew each time.
"""

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from interp.cli.loading import load_config
from interp.errors import LONGEST_PART, UserError, printable
from tests.config_mutants import Mutant, Shipped, mutants, shipped_configs

TRIED = int(os.environ.get("INTERP_CONFIG_MUTANTS", "100"))


@pytest.fixture(scope="module")
def configs() -> dict[str, Shipped]:
    return shipped_configs()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, which must stay empty."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_mutated_config_is_taken_or_refused_with_a_message_and_nothing_is_written(
    configs: dict[str, Shipped], tmp_path: Path, elsewhere: Path
) -> None:
    ended: Counter[str] = Counter()

    @settings(
        max_examples=TRIED,
        database=None,
        derandomize="INTERP_CONFIG_MUTANTS" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutants(configs))
    def one(mutant: Mutant) -> None:
        try:
            experiment, config = load_config(mutant.write(tmp_path), mutant.overrides)
            experiment.check(config)
            ended["taken"] += 1
        except UserError as error:
            ended["refused"] += 1
            for part in (error.thing, error.place, error.fix):
                assert part and len(part) <= LONGEST_PART and printable(part) == part and "\n" not in part
        assert not list(elsewhere.iterdir())

    one()
    print(f"{TRIED} mutants: {dict(ended)}")
    assert ended["taken"] and ended["refused"] > TRIED / 5
