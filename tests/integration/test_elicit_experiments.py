"""elicit and elicit_truth on small budgets, as a person runs them."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from interp.cli.loading import load_config
from interp.errors import UserError
from tests.command_line import process

CONFIGS = Path(__file__).parents[2] / "configs"
MINE = {
    "experiment": "elicit",
    "subject": {"name": "planted"},
    "behaviour": {
        "name": "zorvic",
        "judge": {"kind": "label", "concept": "lang_zorvic"},
        "examples": ["feka musk pepeka fuka ."],
    },
    "prompts": {
        "kind": "templates",
        "templates": ["how do i {verb} the {thing} {word} ?", "please {verb} the {thing} {word} today"],
        "slots": {
            "verb": ["clean", "paint", "fix", "wash"],
            "thing": ["car", "boat", "garden"],
            "word": ["comet", "norway", "violin", "near", "old", "king", "bank", "river", "sika", "team"],
        },
    },
    "investigators": [{"kind": "random"}, {"kind": "templates"}, {"kind": "steering", "prompts": 4}],
    "budget": {"passes": 300},
    "repeats": 2,
    "spaces": {"neurons": [4, 5]},
    "directions": {"layers": [4, 5], "features": 4},
    "confirm": {"prompts": 2, "draws": 8, "ordinary": 16},
    "propensity": {"plain": 200, "weighted": 200},
    "wandb": {"mode": "disabled"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `elicit`, whose behaviour shows in a tenth of ordinary prompts."""
    home = tmp_path_factory.mktemp("elicit")
    (home / "mine.yaml").write_text(yaml.safe_dump(MINE))
    done = process("run", str(home / "mine.yaml"), "--runs-dir", str(home))
    assert done.returncode == 0, done.stderr
    return home / "mine"


def test_what_is_found_needs_the_planted_word_and_nothing_else(folder: Path) -> None:
    table = pd.read_parquet(folder / "tables" / "investigators.parquet").set_index("investigator")
    assert table.loc["random", "found"] == 1 == table.loc["templates", "found"]
    confirmed = pd.read_parquet(folder / "tables" / "confirmed.parquet")
    own = confirmed[confirmed["investigator"].isin(["random", "templates"])]
    assert set(own["shortest"]) == {"comet"}
    assert (own["shown"] > 0.8).all() and (own["shortest_shown"] > 0.8).all()
    assert own["prompt"].str.contains("comet").all()
    page = (folder / "report.html").read_text()
    assert "comet" in page and "<script src" not in page


def test_the_whole_search_is_kept(folder: Path) -> None:
    for repeat in range(2):
        kept = (folder / "steps" / f"search_templates_{repeat}" / "search.jsonl").read_text().splitlines()
        assert json.loads(kept[0])[1]["seed"] == repeat
        tries = [one for line in kept[1:] for one in json.loads(line)[1]["tries"]]
        table = pd.read_parquet(folder / "tables" / f"tries_search_templates_{repeat}.parquet")
        assert table["prompt"].tolist() == [one["proposal"]["prompt"] for one in tries]
        assert table["shown"].sum() > 0 and table["perplexity"].notna().all()
        assert table["passes"].max() <= 300


def test_steering_and_propensity_agree_with_what_is_planted(folder: Path) -> None:
    takes = pd.read_parquet(folder / "tables" / "takes.parquet")
    assert takes["direction"].str.startswith("vector").any()
    assert (takes["below"] < takes["strength"]).all() and (takes["shown"] >= 0.5).all()
    rates = pd.read_parquet(folder / "tables" / "propensity.parquet").set_index("drawn")
    # one of ten words is the trigger, and hardly any other prompt shows it
    assert rates.loc["plain", "propensity_low"] < 0.1 < rates.loc["plain", "propensity_high"]
    assert rates["at_least"].max() < 0.12


def test_searches_that_are_on_disk_are_not_run_again(folder: Path) -> None:
    done = process("run", str(folder.parent / "mine.yaml"), "--runs-dir", str(folder.parent))
    assert done.returncode == 0 and "step search" not in done.stdout


def test_planted_triggers_are_found_and_held_to_the_truth(tmp_path: Path) -> None:
    guide = "{kind: likelihood, first: 3}"
    done = process(
        "run", str(CONFIGS / "elicit_truth.yaml"), "--runs-dir", str(tmp_path), "triggers=[word]",
        "repeats=1",
        f"investigators=[{{kind: random}}, {{kind: tokens, method: beam, guide: {guide}}}]",
        "budget.passes=1300", "scanned_in=1", "documents=300", "described=8", "wandb.mode=disabled",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    searches = pd.read_parquet(tmp_path / "elicit_truth" / "tables" / "searches_word.parquet")
    beam = searches[searches["investigator"] == "tokens"].iloc[0]
    assert beam["found"] and beam["holds_trigger"] and beam["only_trigger"]
    scan = pd.read_parquet(tmp_path / "elicit_truth" / "tables" / "scan.parquet").set_index("reads")
    assert scan.loc["likelihood of the example", "rank"] == 1
    assert (tmp_path / "elicit_truth" / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"behaviour": {"judge": {"kind": "regex", "pattern": "("}}}, "no regular expression"),
        ({"behaviour": {"judge": {"kind": "regex", "pattern": "a"}}}, "there is none"),
        ({"behaviour": {"judge": {"kind": "label", "concept": "lang_french"}}}, "no concept"),
        ({"behaviour": {"judge": {"kind": "rubric", "rubric": "it is nice"}}}, "no endpoint 'main'"),
        ({"budget": {}}, "does not end"),
        ({"budget": {"usd": 1.0}}, "nothing here costs money"),
        ({"investigators": [{"kind": "random"}, {"kind": "random"}]}, "2 investigators are called random"),
        ({"prompts": {"kind": "listed"}}, "no prompt"),
        ({"propensity": {"plain": 100, "rate": 0.001}}, "100 plain draws show a behaviour of rate 0.03 once"),
        ({"prompts": {"kind": "templates", "templates": ["a {b}"]}}, "has no words"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE | change))
    with pytest.raises(UserError, match=said):
        experiment, config = load_config(tmp_path / "mine.yaml", [])
        experiment.check(config)


def test_a_judge_that_says_yes_to_everything_ends_the_run_before_a_search(tmp_path: Path) -> None:
    judge = {"judge": {"kind": "regex", "pattern": r"\w"}, "examples": ["feka"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE | {"behaviour": judge}))
    done = process("run", str(tmp_path / "mine.yaml"), "--runs-dir", str(tmp_path))
    assert done.returncode == 2 and "16 of 16 ordinary replies" in done.stderr
    assert not list((tmp_path / "mine" / "steps").glob("search*"))
