"""What a config may say, and what the user is told when it says something else."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

import experiments
from interp.cli.config_file import ConfigSource
from interp.cli.loading import _explained, load_config, load_experiment
from interp.cli.shipped import config_folders
from interp.config import ExperimentConfig, WandbOptions
from interp.errors import UserError
from interp.fields import Section

TOYS = Path(__file__).parents[1] / "integration" / "toy_experiments"


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(TOYS)])


def write(folder: Path, text: str, name: str = "toy.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(path: Path, *overrides: str) -> UserError:
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    return caught.value


def test_a_plain_file_gives_the_experiments_own_model_with_its_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "experiment: toy\ntraining: {rounds: 3}\n")
    experiment, config = load_config(path)
    assert experiment.name == "toy" and experiment.purpose.startswith("Toy: three steps")
    assert isinstance(config, experiment.config_model)
    assert config.model_dump() == {
        "experiment": "toy",
        "purpose": "",
        "name": "toy",
        "seed": 0,
        "wandb": {"mode": "auto", "project": "interp"},
        "training": {"rounds": 3, "rates": (0.5, 0.25)},
        "layer": 0,
        "pause_seconds": 0.0,
        "fail": "",
    }


def test_what_was_resolved_is_a_config_that_gives_the_same(tmp_path: Path) -> None:
    _, config = load_config(write(tmp_path, "experiment: toy\n"), ["training.rounds=4", "name=other"])
    again = write(tmp_path, yaml.safe_dump(config.model_dump(mode="json")), "resolved.yaml")
    assert load_config(again)[1] == config


def test_extends_lays_a_file_over_another_relative_to_itself(tmp_path: Path) -> None:
    write(
        tmp_path, "experiment: toy\nseed: 1\ntraining: {rounds: 3, rates: [1.0, 2.0, 3.0]}\n", "base/a.yaml"
    )
    write(tmp_path, "extends: a.yaml\ntraining: {rates: [9]}\n", "base/b.yaml")
    path = write(tmp_path, "extends: base/b.yaml\nseed: 2\n")
    _, config = load_config(path)
    assert config.seed == 2 and config.name == "toy"
    assert config.training.rounds == 3 and config.training.rates == (9.0,)


def test_overrides_reach_nested_keys_and_list_items_and_win(tmp_path: Path) -> None:
    path = write(tmp_path, "experiment: toy\ntraining: {rates: [1, 2]}\n")
    _, config = load_config(path, ["training.rates.1=1e-4", "training.rounds=9", "wandb={mode: disabled}"])
    assert config.training.rates == (1.0, 1e-4)
    assert config.training.rounds == 9
    assert config.wandb == WandbOptions(mode="disabled")


@given(value=st.recursive(st.none() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.booleans(), st.lists))
def test_an_override_sets_exactly_the_yaml_value(value: object) -> None:
    source = ConfigSource(Path("x.yaml"), {"a": {"b": 1}, "c": 2})
    source.override(f"a.b={yaml.safe_dump(value, default_flow_style=True, width=10**6)}")
    assert source.values == {"a": {"b": value}, "c": 2}


def test_a_misspelt_key_names_its_path_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    path = write(tmp_path, "experiment: toy\ntraining:\n  ruonds: 3\n")
    error = refused(path)
    assert error.thing == "`training.ruonds` is not a known key"
    assert error.place == f"{path}, line 3"
    assert error.fix == "did you mean `rounds`? valid keys of `training`: rounds, rates"


def test_a_misspelt_key_in_the_extended_file_is_placed_there(tmp_path: Path) -> None:
    base = write(tmp_path, "experiment: toy\nseeed: 3\n", "base.yaml")
    error = refused(write(tmp_path, "extends: base.yaml\n"))
    assert error.place == f"{base}, line 2" and "did you mean `seed`?" in error.fix


def test_a_misspelt_override_is_placed_on_the_command_line(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "experiment: toy\n"), "training.rond=3")
    assert error.place == "command line: training.rond=3" and "`rounds`" in error.fix


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ("seed: many", "`seed`", "valid integer"),
        ("seed: [1]", "`seed`", "valid integer"),
        ("training: 3", "`training`", "valid dictionary"),
        ("training: {rounds: 0}", "`training.rounds`", "greater than or equal to 1"),
        ("training: {rates: [1.0, fast]}", "`training.rates.1`", "valid number"),
        ("wandb: {mode: sometimes}", "`wandb.mode`", "'auto', 'online', 'offline' or 'disabled'"),
        ("purpose: 3", "`purpose`", "valid string"),
    ],
)
def test_a_wrong_type_names_the_key_and_what_would_be_valid(
    tmp_path: Path, line: str, key: str, says: str
) -> None:
    path = write(tmp_path, f"experiment: toy\n{line}\n")
    error = refused(path)
    assert key in error.thing and says in error.thing
    assert error.place == f"{path}, line 2"


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "experiment: toy\nsede: 1\nlayer: top\n"))
    assert "`sede` is not a known key" in error.thing and "`layer`" in error.thing
    assert "line 2" in error.place and "line 3" in error.place


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "experiment: toy\n", "quickstart.yaml")
    error = refused(tmp_path / "quikstart.yaml")
    assert "quikstart.yaml" in error.thing and "quickstart.yaml" in error.fix


def test_a_missing_extended_file_says_who_wanted_it(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: gone.yaml\n")
    error = refused(path)
    assert "gone.yaml" in error.thing and str(path) in error.place


def test_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: sub/../a.yaml\n", "b.yaml")
    (tmp_path / "sub").mkdir()
    error = refused(tmp_path / "a.yaml")
    assert "circle" in error.thing and "a.yaml" in error.place and "b.yaml" in error.place


def test_an_unknown_experiment_lists_the_valid_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "experiment: toi\n")
    error = refused(path)
    assert "'toi'" in error.thing and "did you mean `toy`?" in error.fix and error.place == f"{path}, line 1"
    missing = refused(write(tmp_path, "seed: 1\n"))
    assert "`experiment` is missing" in missing.thing and "toy" in missing.fix


@pytest.mark.parametrize("name", ["../toy", "os.path", "toy.py", "/tmp/toy"])
def test_an_experiment_is_a_name_and_never_a_path(tmp_path: Path, name: str) -> None:
    assert "there is no experiment" in refused(write(tmp_path, f"experiment: {name}\n")).thing


def test_a_key_that_is_given_twice_is_placed(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "seed: 1\nexperiment: toy\nseed: 2\n"))
    assert "`seed` is given twice" in error.thing and "toy.yaml, line 3" in error.place


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed", "not an override"),
        ("=1", "not an override"),
        ("a..b=1", "not an override"),
        ("training.rates.7=1", "no item `7`"),
        ("seed.deep=1", "`seed` is 1"),
        ("seed=[", "not valid YAML"),
    ],
)
def test_overrides_that_lead_nowhere_are_refused(tmp_path: Path, override: str, says: str) -> None:
    path = write(tmp_path, "experiment: toy\nseed: 1\ntraining: {rates: [1, 2]}\n")
    assert says in refused(path, override).thing


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "", "a b"])
def test_a_run_name_is_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    assert "name of a run" in refused(write(tmp_path, "experiment: toy\n"), f"name='{name}'").thing


def test_optional_and_listed_sections_name_their_valid_keys(tmp_path: Path) -> None:
    class Part(Section):
        """A part."""

        width: int = Field(1)
        """How wide."""

    class Whole(ExperimentConfig):
        """Sections inside optionals, lists and mappings."""

        maybe: Part | None = None
        """Perhaps."""
        many: tuple[Part, ...] = ()
        """Some."""
        named: dict[str, Part] = Field({})
        """By name."""

    values = {
        "experiment": "x",
        "maybe": {"widht": 1},
        "many": [{}, {"widht": 1}],
        "named": {"a": {"widht": 1}},
    }
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(values)
    error = _explained(caught.value, Whole, ConfigSource(Path("x.yaml"), values))
    for key in ("`maybe.widht`", "`many.1.widht`", "`named.a.widht`"):
        assert f"{key} is not a known key" in error.thing
    assert error.fix.count("did you mean `width`?") == 3


def test_every_config_of_the_project_loads_and_says_what_it_is_for() -> None:
    files = [file for folder in config_folders() for file in folder.glob("*.yaml")]
    for file in files:
        _, config = load_config(file)
        assert config.purpose, f"{file} has no purpose line"
        assert config.experiment in experiments.names()


def test_every_field_of_every_experiment_is_described() -> None:
    for name in experiments.names():
        model = load_experiment(name, ConfigSource(Path("x"), {})).config_model
        for field, described in model.model_fields.items():
            assert described.description, f"{name}: {field} has no docstring"
