"""Fine-tuned investigators: what policies learn, what is kept, and that a killed search goes on the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.distil.train import Tuning
from interp.elicit.behaviour import Behaviour
from interp.elicit.guide import LikelihoodGuide
from interp.elicit.investigators.finetuned import FineTunedInvestigator, FineTuning, log_mean
from interp.elicit.judges.rule import RegexJudge
from interp.elicit.prompts import TemplatePrompts
from interp.elicit.search import Search
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Frame, Target
from interp.errors import UserError
from interp.subject import Subject
from interp.track.journal import Journal

OBJECTS = ("car", "house", "garden", "river", "village", "computer", "bridge", "wall", "boat", "ring")
PROMPTS = TemplatePrompts(
    ("how do i {verb} the {object} ?", "please tell me how to {verb} the {object} ."),
    {"verb": ("clean", "paint", "fix", "wash", "open", "find", "visit", "feed"), "object": OBJECTS},
    "requests",
)
GARDEN = Behaviour("garden", RegexJudge("garden"), examples=("brush works to paint the garden .",))
SMALL = FineTuning(
    pairs=64,
    imitation=Tuning(steps=40, batch_size=8, learning_rate=2e-3),
    preference=Tuning(steps=4, batch_size=4, learning_rate=1e-4),
    preferences=16,
    policies=2,
    tries_per_policy=8,
    longest=12,
    temperature=1.2,
)


def search(subject: Subject, folder: Path, journal: Path | None = None, **changed: Any) -> Search:
    target = Target(subject, Frame(new_tokens=8), Meter(Budget(passes=4000)))
    settings, guide = SMALL.model_copy(update=changed), LikelihoodGuide(target, GARDEN, 4)
    made = FineTunedInvestigator(target, GARDEN, PROMPTS, "world", folder, settings, guide)
    return Search(target, GARDEN, made, round_size=8, journal=Journal(journal))


def run(searched: Search, rounds: int) -> list[dict[str, Any]]:
    for number, _ in enumerate(searched.rounds(), 1):
        if number == rounds:
            break
    return [one.to_json() for one in searched.history.tries]


@pytest.fixture(scope="module")
def whole(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Three rounds: of the first policy, of the second, and of their mixture."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(search(subject, folder / "policies", folder / "search.jsonl"), 3)


def test_a_policy_learns_to_write_what_brings_about_the_reply(whole: tuple[Path, list[dict[str, Any]]]):
    first = [one for one in whole[1] if one["round"] == 0]
    assert len(first) == 8
    own = [one["shown"] for one in first if one["proposal"]["how"] == "policy 0, example 0"]
    assert len(own) >= 4
    assert sum(own) > len(own) / 2, "one in ten objects is the garden"


def test_rounds_are_of_one_policy_after_another_then_of_all(whole: tuple[Path, list[dict[str, Any]]]):
    by: dict[int, set[str]] = {0: set(), 1: set(), 2: set()}
    for one in whole[1]:
        by[one["round"]].add(one["proposal"]["how"].split(",")[0])
    assert by[0] == {"policy 0"}
    assert by[1] == {"policy 1"}
    assert by[2] == {"policy 0", "policy 1"}
    assert len({one["proposal"]["prompt"] for one in whole[1]}) == len(whole[1])


def test_costs_hold_replies_training_and_writing(whole: tuple[Path, list[dict[str, Any]]]):
    folder, tries = whole
    kept = [json.loads((folder / f"policies/policy_{i}/policy.json").read_text())["passes"] for i in range(2)]
    assert kept[0] == 64 + 3 * 40 * 8
    # by trl, a step has as many pairs as the batch: two prompts, forwards and backwards, and the reference
    assert kept[1] == 2 * 8 + 8 * 4 * 4
    first = next(one for one in tries if one["round"] == 0)["spent"][0]
    assert first - kept[0] - 8 >= 8
    assert not (folder / "policies/policy_0/.training").exists()


def test_a_killed_search_goes_on_the_same_and_lost_policies_are_made_again(
    subject: Subject, whole: tuple[Path, list[dict[str, Any]]], tmp_path: Path
):
    kept, tries = whole
    folder, journal = tmp_path / "policies", tmp_path / "search.jsonl"
    lines = (kept / "search.jsonl").read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:3]))  # what it is, and two rounds
    shutil.copytree(kept / "policies", folder)
    shutil.rmtree(folder / "policy_1")
    assert run(search(subject, folder, journal), 1) == tries


def test_what_is_missing_is_said_before(subject: Subject, tmp_path: Path):
    target = Target(subject)
    for behaviour, error in (
        (Behaviour("bare", RegexJudge("x")), "no examples"),
        (Behaviour("odd", RegexJudge("x"), examples=("qwertz",)), "does not know"),
    ):
        with pytest.raises(UserError, match=error):
            FineTunedInvestigator(target, behaviour, PROMPTS, "world", tmp_path)
    with pytest.raises(UserError):
        FineTunedInvestigator(target, GARDEN, PROMPTS, "no such model", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_mean_of_probabilities_is_taken_in_logs():
    chances = torch.tensor([[0.5, 1e-300], [0.25, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(log_mean(chances.log()).exp(), chances.mean(0))
