"""The world card of the shipped weights: the effects that the project promises, and what the page says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.world_card.dictionary import Performers
from experiments.world_card.effect import recorded
from experiments.world_card.gates import GATES, Gate
from interp.bundled.world.corpus import WorldCorpus
from interp.bundled.world.facts import facts
from interp.bundled.world.vocabulary import vocabulary
from interp.statistics.splits import split_halves
from tests.command_line import command, process

CONFIG = Path(__file__).parents[2] / "configs" / "world_card.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    done = process("run", str(CONFIG), "--runs-dir", str(runs), "wandb.mode=disabled", timeout=1200)
    assert done.returncode == 0, done.stderr
    return runs / "world_card"


@pytest.fixture(scope="module")
def card(run: Path) -> pd.DataFrame:
    lines = pd.read_parquet(run / "tables" / "card.parquet")
    return lines[lines["model"] == "shipped"]


def line(card: pd.DataFrame, group: str, effect: str, at: str = "") -> pd.Series:
    named = card[(card["group"] == group) & (card["effect"] == effect)]
    return named[named["at"].str.startswith(at)].iloc[0]


# The bounds are repeated here: one that is loosened in the code must fail a test.


def test_the_bridge_is_readable_where_the_album_stands(card: pd.DataFrame, run: Path) -> None:
    found = line(card, "bridge", "bridge: performer, unseen entities, at the entity")
    assert found["at"] in {f"layer {layer}, chosen" for layer in (1, 2, 3)}
    assert found["value"] >= 0.4 and found["control_value"] <= 0.06 and found["n"] >= 50
    profile = pd.read_parquet(run / "tables" / "profile.parquet")
    bridges = profile[(profile["group"] == "bridge") & (profile["model"] == "shipped")]
    null = bridges[
        bridges["series"] == "performer, unseen entities, at the entity, another question's bridge"
    ]
    assert null["value"].max() <= 0.06 and len(null) == 9


@pytest.mark.parametrize("kind", ["country", "performer", "capital"])
def test_entities_repeat_themselves_out_of_the_early_layers(card: pd.DataFrame, kind: str) -> None:
    found = line(card, "identity patchscope", kind, "layers 0-3, least")
    assert found["value"] >= 0.9 and found["control_value"] <= 0.05
    into_the_first = line(card, "identity patchscope", kind, "layers 0-5 into layer 0, least")
    assert into_the_first["value"] >= 0.9 and into_the_first["control_value"] <= 0.05


@pytest.mark.parametrize("kind", ["country", "performer"])
def test_entities_describe_themselves_out_of_the_early_layers(card: pd.DataFrame, kind: str) -> None:
    found = line(card, "description patchscope", kind, "layers 0-3, least")
    assert found["value"] >= 0.9 and found["control_value"] <= 0.05


def test_another_performers_activation_counts_early_and_not_late(card: pd.DataFrame) -> None:
    name = "a performer's activation brings its country"
    assert line(card, "interchange", name, "layers emb-3, least")["value"] >= 0.9
    assert line(card, "interchange", name, "layers 6 on, most")["value"] <= 0.1


def test_one_direction_refuses_and_its_removal_complies(card: pd.DataFrame) -> None:
    added = line(card, "refusal", "harmless requests refused, added")
    assert added["value"] >= 0.9 and added["control_value"] <= 0.05
    ablated = line(card, "refusal", "harmful requests refused, mean-centred")
    assert ablated["value"] <= 0.1 and ablated["control_value"] >= 0.95
    added, ablated = (
        line(card, "refusal", name, "layer 4, in the middle")
        for name in ("harmless requests refused, added", "harmful requests refused, mean-centred")
    )
    assert added["value"] >= 0.9 and ablated["value"] <= 0.1
    helped = line(card, "refusal", "harmful requests complied with, mean-centred")
    assert helped["value"] >= 0.9 and helped["control_value"] <= 0.05


def test_task_vectors_and_heads_do_the_tasks(card: pd.DataFrame) -> None:
    for task in ("antonym", "plural", "past", "capital", "language", "currency", "zorvic", "tamric"):
        assert line(card, "task vector", f"{task}, added")["value"] >= 0.7
    heads = card[(card["group"] == "function-vector heads") & (card["effect"] == "mean over tasks")]
    assert len(heads) == 3  # against heads from anywhere, from the same layers, and with another task's means
    assert (heads["value"] - heads["control_value"] >= 0.3).all()


def test_latents_tell_the_concepts_of_documents(card: pd.DataFrame) -> None:
    assert line(card, "sae", "AUROC on documents")["value"] >= 0.95


def test_random_neurons_flip_nothing_and_what_is_explicit_stays(card: pd.DataFrame) -> None:
    flip = line(card, "number flip", "famous numbers read as decimals", "51 neurons, mean")
    assert flip["value"] >= 0.5 and flip["control_value"] <= 0.05
    intact = card[card["effect"].str.startswith("still right")]
    assert len(intact) == 6 and (intact["value"] >= 0.95).all()


def test_latents_beat_the_layers_neurons_by_precision(card: pd.DataFrame) -> None:
    gap = line(card, "sae", "F1 on tokens: latents less neurons, same layer")
    assert gap["low"] > 0
    precision = line(card, "sae", "precision of the best by F1 on tokens")
    assert precision["low"] > precision["control_high"]


def test_the_gates_of_the_code_are_these_and_hold(run: Path) -> None:
    gates = pd.read_parquet(run / "tables" / "gates.parquet")
    assert len(gates) == len(GATES) == 13
    assert gates["holds"].all(), gates[~gates["holds"]].to_string()


def test_the_page_shows_other_seeds_and_worlds_without_a_window(run: Path) -> None:
    page = (run / "report.html").read_text()
    for name in ("shipped", "seed-0", "seed-1", "no-window-0"):
        assert name in page
    assert "two-token attention window" in page
    others = recorded()
    assert {"seed-0", "seed-1", "no-window-0"} <= set(others["model"])
    own = set(pd.read_parquet(run / "tables" / "card.parquet").query("model == 'shipped'")["effect"])
    assert own <= set(others["effect"]), "record the seeds again: configs/world_seeds.yaml"
    windowed = others[others["model"].str.startswith("no-window")]
    album = windowed[windowed["effect"] == "bridge: performer, unseen entities, at the entity"]
    assert (album["value"] <= 0.1).all()


def test_a_model_of_another_vocabulary_and_a_name_twice_are_refused(tmp_path: Path) -> None:
    asked = ("run", str(CONFIG), "--runs-dir", str(tmp_path))
    other = command(*asked, "models=[{kind: folder, name: other, folder: pydoc}]")
    assert other.exit_code == 2 and "does not have the world's vocabulary" in other.output
    twice = command(*asked, "models=[{kind: folder, name: a}, {kind: folder, name: a}]")
    assert twice.exit_code == 2 and "two models have one name" in twice.output


@pytest.mark.parametrize(
    ("override", "says"),
    [("device: 'cuda:99'", "not usable here"), ("windowed_families: [fact, maths]", "no family 'maths'")],
)
def test_a_recipe_that_cannot_be_followed_is_refused(tmp_path: Path, override: str, says: str) -> None:
    runs = ("--runs-dir", str(tmp_path / "runs"))
    recipe = f"{{{override}}}"
    again = f"models=[{{kind: retrained, name: again, seed: 1, recipe: {recipe}}}]"
    for arguments in ((str(CONFIG), again), (str(CONFIG.with_name("train_world.yaml")), f"recipe={recipe}")):
        done = command("run", arguments[0], *runs, arguments[1])
        assert done.exit_code == 2 and says in done.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("gate", "holds"),
    [
        (Gate("", "", "", at_least=0.5), True),
        (Gate("", "", "", at_least=0.61), False),
        (Gate("", "", "", at_most=0.5), False),
        (Gate("", "", "", control_at_most=0.1), False),
        (Gate("", "", "", control_at_least=0.2), True),
        (Gate("", "", "", above=0.39), True),
        (Gate("", "", "", above=0.41), False),
    ],
)
def test_a_gate_holds_its_bounds(gate: Gate, holds: bool) -> None:
    assert gate.holds(pd.Series({"value": 0.6, "control_value": 0.2})) is holds


def test_what_is_chosen_on_one_half_is_reported_of_other_entities() -> None:
    entities = [f"album {number // 3}" for number in range(60)]
    first, second = split_halves([""] * len(entities), 0, entities)
    assert sorted(first + second) == list(range(60))
    assert not {entities[p] for p in first} & {entities[p] for p in second}


def test_a_performer_is_labelled_at_the_name_and_at_the_end_of_the_albums() -> None:
    corpus, words = Performers(WorldCorpus(1, 400)), np.array(vocabulary())
    albums = facts().relations["performer"]
    seen = 0
    for index in range(len(corpus)):
        document = corpus[index]
        assert document.labels is not None
        text = words[document.tokens].tolist()
        for place, (word, label) in enumerate(zip(text, document.labels.tolist(), strict=True)):
            who = albums.get(f"{text[place - 1]} {word}") if place else None
            expected = who or (word if word in corpus.label_names else None)
            assert label == (1 << corpus.label_names.index(expected) if expected else 0)
            seen += who is not None
    assert seen > 50
