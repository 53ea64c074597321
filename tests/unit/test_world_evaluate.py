import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from interp.bundled.world import world_folder
from interp.bundled.world.behaviours import Item, behaviours
from interp.bundled.world.evaluate import Measurement, evaluate
from interp.bundled.world.export import write_tokenizer
from interp.bundled.world.facts import facts
from interp.bundled.world.families.numbers import NumberPair
from interp.bundled.world.vocabulary import vocabulary
from interp.errors import UserError

BEHAVIOURS = {behaviour.name: behaviour for behaviour in behaviours()}


def words(item: Item) -> str:
    return " ".join(vocabulary()[index] for index in item.prompt)


def test_prompts_are_what_a_person_would_ask() -> None:
    plain = {words(item): vocabulary()[item.answer] for item in BEHAVIOURS["facts/plain"].items}
    assert plain["the capital of france is"] == "paris"
    assert len(plain) == 400
    assert words(BEHAVIOURS["translation/zorvic_to_tamric"].items[0]).endswith("; it is :")
    assert all(
        words(item).endswith("? answer : " + words(item).split()[-2] + " .")
        for item in BEHAVIOURS["numbers/date/plain"].items
    )
    assert all(words(item).endswith("assistant :") for item in BEHAVIOURS["refusal/harmful"].items)


def test_in_context_prompts_show_the_stated_number_of_examples() -> None:
    for shots in (0, 1, 4):
        for item in BEHAVIOURS[f"in_context/{shots}_shots/zorvic"].items:
            assert Counter(words(item).split())[":"] == shots + 1


def test_held_out_questions_are_the_held_out_ones() -> None:
    assert len(BEHAVIOURS["two_hop/held_out"].items) == 2 * len(facts().two_hop_held_out) == 122
    assert len(BEHAVIOURS["refusal/harmful"].items) == 4 * len(facts().harmful_held_out) == 240


def test_nine_eleven_is_larger_as_a_date_and_smaller_as_a_decimal() -> None:
    numbers = NumberPair(9, 11, 9, 9)
    assert numbers.larger(decimal=False) == 11
    assert numbers.larger(decimal=True) == 9
    assert numbers.conflict
    assert numbers.famous
    assert not NumberPair(3, 2, 4, 1).conflict


@pytest.mark.parametrize(
    ("rate", "bounds", "holds"),
    [
        (95, {"at_least": 0.95}, True),
        (94, {"at_least": 0.95}, False),
        (5, {"at_most": 0.05}, True),
        (6, {"at_most": 0.05}, False),
    ],
)
def test_a_figure_holds_its_bound_or_does_not(rate: int, bounds: dict[str, float], holds: bool) -> None:
    assert Measurement("some", rate, 100, **bounds).holds is holds


def test_the_interval_is_wilsons() -> None:
    z, n, p = 1.959963984540054, 100, 0.9
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert Measurement("some", 90, 100).interval == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(world_folder() / name, tmp_path)
    write_tokenizer(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    ids = tokenizer["model"]["vocab"]
    ids["paris"], ids["rome"] = ids["rome"], ids["paris"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match="vocabulary"):
        evaluate(tmp_path, [])
