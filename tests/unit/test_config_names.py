"""Configs by name: from any folder, with a path and the current folder's own first."""

from pathlib import Path

import pytest

from interp.cli.loading import load_config
from interp.cli.shipped import SHIPPED_CONFIGS, find_config
from interp.errors import UserError
from tests.command_line import command


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str, text: str = "experiment: quickstart\npurpose: mine\n") -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml"])
def test_a_shipped_config_is_found_from_any_folder(name: str) -> None:
    assert find_config(name) == SHIPPED_CONFIGS / "quickstart.yaml"
    assert load_config(name)[1].name == "quickstart"


def test_the_current_folders_config_hides_the_shipped_one_and_a_path_hides_both() -> None:
    own = write("configs/quickstart.yaml")
    assert find_config("quickstart") == own
    for path in ("quickstart", "deep/quickstart.yaml"):
        write(f"configs/{path}.yaml")
        assert find_config(path if write(path) else "") == Path(path)


def test_a_name_may_lead_through_folders_and_names_the_run() -> None:
    write("configs/gemma/small/quickstart.yaml")
    write("elsewhere/gemma/quickstart.yaml")
    for given in ("gemma/small/quickstart", "configs/gemma/small/quickstart.yaml"):
        assert load_config(given)[1].name == "gemma-small-quickstart"
    assert load_config("elsewhere/gemma/quickstart.yaml")[1].name == "quickstart"


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("quikstart", "quickstart"),
        ("configs/quikstart.yaml", "quickstart"),
        ("gema/tiny", "gemma/tiny"),
        ("mien.yaml", "mine.yaml"),
    ],
)
def test_an_unknown_name_brings_the_nearest(given: str, near: str) -> None:
    write("configs/gemma/tiny.yaml")
    write("mine.yaml")
    with pytest.raises(UserError, match="there is no config") as caught:
        find_config(given)
    assert near in caught.value.fix and "did you mean" in caught.value.fix


def test_the_list_says_what_the_current_folder_adds_and_hides() -> None:
    plain = command("configs").stdout.splitlines()
    assert plain[0].split() == ["config", "experiment", "purpose"]
    assert any(line.startswith("quickstart ") and "bundled world" in line for line in plain)
    write("configs/quickstart.yaml")
    write("configs/gemma/tiny.yaml")
    listed = {line.split()[0]: line for line in command("configs").stdout.splitlines() if line[0] != " "}
    assert listed["quickstart"].endswith("configs/quickstart.yaml, not the installed one")
    assert listed["gemma/tiny"].rstrip().endswith("configs/gemma/tiny.yaml")
    assert "configs/" not in listed["describe"]
