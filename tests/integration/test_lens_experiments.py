"""The experiments on lenses on the bundled model, as a person runs them: its yardsticks, and bad input."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import interp
from interp.bundled.world.facts import facts
from tests.command_line import command, process
from tests.rotated import rotated_world
from tests.shared_data import shared_data

CONFIGS = Path(__file__).parents[2] / "configs"


def run(runs: Path, config: str, *overrides: str) -> dict[str, float]:
    file = str(CONFIGS / f"{config}.yaml")
    done = process("run", file, "--runs-dir", str(runs), "wandb.mode=disabled", *overrides)
    assert done.returncode == 0, done.stderr
    page = (runs / config / "report.html").read_text()
    assert "<script src" not in page and "<svg" in page
    return json.loads((runs / config / "metrics.json").read_text())


def table(runs: Path, config: str, name: str) -> pd.DataFrame:
    return pd.read_parquet(runs / config / "tables" / f"{name}.parquet")


def refused(runs: Path, config: str, *overrides: str) -> str:
    """What is said of a config that cannot be run."""
    done = command(
        "run", str(CONFIGS / f"{config}.yaml"), "--runs-dir", str(runs), "wandb.mode=disabled", *overrides
    )
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit), done.output
    return done.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rotated_world(tmp_path_factory.mktemp("rotated"))


def test_lenses_read_texts_and_their_answers_add_up(runs: Path) -> None:
    small = ("corpus.documents=600", "steps=40", "tokens_per_step=512", "held_out_documents=40")
    jacobian = (
        "jacobian={corpus: {kind: world, documents: 600}, held_out_documents: 40, prompts: 6, steered: "
        "{words: [paris, madrid, france, spain], prompts: [the capital of, near]}}"
    )
    metrics = run(runs, "logit_lens", *(f"tuned.{setting}" for setting in small), jacobian)
    layers = pd.read_parquet(runs / "logit_lens" / "tables" / "divergence.parquet").set_index("lens")["kl"]
    assert layers["Jacobian lens"].mean() < layers["random orthogonal"].mean() / 2
    steered = "word's probability, steered by"
    assert metrics[f"{steered} Jacobian lens"] > 10 * metrics[f"{steered} random orthogonal"]
    assert metrics["tuned lens KL, mean over layers"] < metrics["logit lens KL, mean over layers"]
    assert metrics["direct attribution, largest error"] < 1e-3
    (subject,) = json.loads((runs / "logit_lens" / "manifest.json").read_text())["sessions"][-1]["subjects"]
    assert (subject["architecture"], subject["backend"]) == ("LlamaForCausalLM", "hooked")
    assert 0 < subject["gap"]["padded"] < subject["gap"]["tolerance"] == 1e-3
    folder = runs / "logit_lens" / "lens"
    assert "probability of" in (folder / "index.html").read_text()
    assert (folder / "tuned_lens.safetensors").is_file() and (folder / "0-logit_lens.safetensors").is_file()
    readings = table(runs, "logit_lens", "readings")
    first = readings[(readings["text"] == 0) & (readings["lens"] == "logit lens")]
    end = first[(first["site"] == "resid_post.7") & (first["position"] == first["position"].max())]
    assert end["top"].item() == "paris" and end["kl"].item() < 1e-4
    layers = table(runs, "logit_lens", "direct_layers")
    for _, own in layers.groupby("text"):
        assert abs(own["value"].sum() - own["logit"].iloc[0]) < 1e-3


def test_a_trained_lens_can_be_read_through(runs: Path) -> None:
    file = runs / "logit_lens" / "lens" / "tuned_lens.safetensors"
    run(runs, "thinking_language", f"tuned_lens={file}", "words.most=12")
    layers = table(runs, "thinking_language", "by_layer")
    assert set(layers["word"]) == {"english", "zorvic", "tamric", "english, shuffled"}
    assert "seen" not in layers


def test_a_jacobian_lens_is_read_through_in_the_same_field(runs: Path) -> None:
    file = runs / "logit_lens" / "lens" / "jacobian_lens.safetensors"
    run(runs, "thinking_language", f"tuned_lens={file}", "words.most=12", "--fresh")
    page = (runs / "thinking_language" / "report.html").read_text()
    assert "read through the lens of jacobian_lens.safetensors" in page


def test_the_english_word_is_readable_at_its_translation_s_source(runs: Path) -> None:
    metrics = run(runs, "thinking_language", "--fresh")
    for group in ("zorvic to tamric", "tamric to zorvic"):
        assert metrics[f"{group}, source: top is english"] >= 0.2
        assert metrics[f"{group}, source: top is english, shuffled"] <= 0.05
    layers = table(runs, "thinking_language", "by_layer")
    last = layers[(layers["layer"] == 7) & (layers["place"] == "answer")].set_index(["group", "word"])
    assert last.loc[("zorvic to tamric", "tamric"), "top"] >= 0.95
    assert last.loc[("tamric to zorvic", "zorvic"), "top"] >= 0.95


def test_patchscopes_say_what_activations_hold(runs: Path, rotated: Path) -> None:
    cross = f"{{source: {{name: {rotated}}}, corpus: {{kind: world, documents: 3000}}, fitted: 600}}"
    run(
        runs,
        "patchscopes",
        "entities.groups=[country, album]",
        "next_tokens.corpus.documents=2500",
        "next_tokens.fitted=400",
        "next_tokens.reported=60",
        "extraction.relations.relations=[language, spouse]",
        f"cross_model={cross}",
    )
    for name, groups in (
        ("identity", ["country"]),
        ("description", ["country", "album"]),
    ):
        found = table(runs, "patchscopes", name).set_index(["group", "condition", "control"])["right"]
        pairs = table(runs, "patchscopes", f"{name}_pairs")
        same = pairs[pairs["source"] == pairs["target"]].set_index(["group", "control", "source"])["right"]
        for group in groups:
            assert found[group, "chosen", ""] >= 0.9 and found[group, "chosen", "random vectors"] <= 0.1
            assert found[group, "any (oracle)", ""] >= found[group, "best (oracle)", ""]
            if group != "album":
                assert all(same[group, "", layer] >= 0.9 for layer in range(4))
            assert all(same[group, "random vectors", layer] <= 0.05 for layer in range(4))
    tokens = table(runs, "patchscopes", "next_tokens").set_index(["method", "layer"])
    assert tokens.loc[("logit lens", 7), "precision"] == 1
    assert tokens.loc[("affine map", 0), "surprisal"] < tokens.loc[("logit lens", -1), "surprisal"]
    assert tokens.loc[("random vectors", 3), "precision"] <= 0.2
    extracted = table(runs, "patchscopes", "extraction").set_index(["group", "condition", "control"])["right"]
    assert extracted["language", "chosen", ""] >= 0.9 and extracted["spouse", "chosen", ""] >= 0.9
    assert extracted["spouse", "probe", ""] <= 0.1  # whose objects it never saw
    crossed = table(runs, "patchscopes", "cross_model").set_index(["group", "way", "source"])["right"]
    assert crossed["country", "affine map", 2] >= 0.9
    assert crossed["country", "as they are", 2] <= 0.1 and crossed["country", "random vectors", 2] <= 0.1
    fit = table(runs, "patchscopes", "cross_model_fit").set_index("layer")["explained"]
    assert fit[2] > 0.95


def test_two_hops(runs: Path) -> None:
    metrics = run(runs, "multi_hop", "draws=1", "most=80")
    assert metrics["both hops right"] >= 0.95
    readable = table(runs, "multi_hop", "readable").set_index(["place", "word", "layer"])["top"]
    chosen = table(runs, "multi_hop", "readable_chosen").set_index("word")
    assert chosen.loc["bridge", "top"] >= 0.4 and chosen.loc["bridge", "layer"] in range(4)
    assert chosen.loc["another's bridge", "top"] <= 0.06
    assert readable["last", "answer", 2] <= 0.05 and readable["last", "answer", 7] >= 0.6
    blocked = table(runs, "multi_hop", "knockout").set_index(["blocked", "layer"])["right"]
    assert blocked["last to entity", 5] <= 0.4 and blocked["last to entity", 0] >= 0.95
    assert blocked["last to the rest", 5] >= 0.9 and blocked["last to relations", 5] <= 0.3
    patched = table(runs, "multi_hop", "back_patching")
    assert set(patched["condition"]) == {"chosen", "best (oracle)", "any (oracle)"}
    assert set(patched["control"]) == {"", "another question's", "random vectors"}
    pairs = table(runs, "multi_hop", "back_patching_pairs")
    assert (pairs["source"] > pairs["target"]).all()
    stays = table(runs, "multi_hop", "right_stays")
    assert stays[(stays["place"] == "entity") & (stays["source"] == 1)]["right"].max() >= 0.9


def test_questions_that_are_all_answered_have_nothing_to_patch(runs: Path) -> None:
    run(runs, "multi_hop", "questions.parts=[trained]", "most=8", "back_patching=false", "--fresh")
    page = (runs / "multi_hop" / "report.html").read_text()
    assert "back-patching solves" not in page and "Readable at the entity" in page


def test_relations_are_linear_here_and_can_be_walked_backwards(runs: Path) -> None:
    relations = "relations.relations=[capital, spouse]"
    metrics = run(runs, "linear_relations", relations, "layers=[1]", "ranks=[16, 32]")
    assert metrics["linear relation"] >= 0.85 and metrics["low-rank inverse"] >= 0.85
    assert metrics["another relation's"] <= 0.2 and metrics["identity"] <= 0.5
    assert metrics["random direction of its size"] <= 0.05 and metrics["unchanged"] <= 0.05
    assert metrics["linear relation"] > metrics["translation"]


def test_published_relations_run_on_a_model_of_text(runs: Path) -> None:
    """The code path alone: this model knows none of it."""
    folder = shared_data("evandez+relations") / "data" / "factual"
    files = ", ".join(str(folder / f"{name}.json") for name in ("country_language", "food_from_country"))
    pydoc = ("subject.name=pydoc", f"relations={{kind: files, paths: [{files}]}}", "layers=[1]", "ranks=[8]")
    run(
        runs,
        "linear_relations",
        *pydoc,
        "known_only=false",
        "shown=2",
        "most=20",
        "name=linear_relations",
        "--fresh",
    )
    said = "15 of 30 samples of food from country are left out: the answer is judged by its first token"
    assert said in (runs / "linear_relations" / "notes.txt").read_text()
    assert said in (runs / "linear_relations" / "report.html").read_text()
    assert "rightly, too few" in refused(runs, "linear_relations", *pydoc, "name=other")


def test_other_people_s_models_and_files(runs: Path, tmp_path: Path, rotated: Path) -> None:
    """A model of its own folder, judged by what it writes, with everything from files."""
    entities = [
        {"prompt": f"near {name} , we saw", "entity": name, "description": [where], "group": "city"}
        for name, where in list(facts().relations["country"].items())[3:15]
    ]
    (tmp_path / "entities.jsonl").write_text("\n".join(map(json.dumps, entities)))
    scopes = (
        '{placeholder: the, identity: "doctor > same : doctor ; the > same :", '
        'description: "paris > about : city in france ; the > about :", next_token: "the", new_tokens: 6}'
    )
    run(
        runs, "patchscopes", f"subject.name={rotated}", "subject.backend=bridge",
        f"entities={{kind: file, path: {tmp_path / 'entities.jsonl'}}}", f"scopes={scopes}",
        "identity_tokens=2", "next_tokens=null", "extraction=null", "--fresh",
    )  # fmt: skip
    found = table(runs, "patchscopes", "identity").set_index(["condition", "control"])["right"]
    assert found["chosen", ""] >= 0.8 and found["chosen", "random vectors"] <= 0.2


def test_a_rotated_world_is_the_world(rotated: Path) -> None:
    world, other = interp.load("world", device="cpu"), interp.load(rotated, device="cpu")
    tokens = world.to_tokens("the capital of france , as we know , is")
    assert torch.allclose(world.logits(tokens), other.logits(tokens), atol=1e-2)


@pytest.mark.parametrize(
    ("config", "overrides", "says"),
    [
        ("logit_lens", ["texts=[{text: the capital of atlantis is}]"], "does not know the word 'atlantis'"),
        ("logit_lens", ["texts=[{text: near spain, targets: [dekax kanav]}]"], "not one token but 2"),
        ("logit_lens", ["subject.name=pydoc"], "token ids of the world model"),
        ("thinking_language", ["pivot=latin"], "no item has a word in 'latin'"),
        ("thinking_language", ["tuned_lens=none.safetensors"], "no file none.safetensors"),
        ("patchscopes", ["cross_model={source: {name: pydoc}}"], "differ in"),
        ("patchscopes", ["subject.name=pydoc", "next_tokens=null"], "pydoc may not know"),
        ("patchscopes", ["extraction.source=near it"], "does not hold"),
        ("linear_relations", ["shown=9"], "9 samples cannot be shown of 8"),
        ("multi_hop", ["questions.parts=[trained]"], "back_patching=false"),
        ("multi_hop", ["answer_tokens=300"], "do not fit the context"),
        ("patchscopes", ["identity_tokens=300"], "do not fit the context"),
        ("multi_hop", ["questions={kind: file, path: none.jsonl}"], "no file none.jsonl"),
        ("linear_relations", ["layers=[7]"], "layer 7 is too late"),
        ("patchscopes", ["layers=[0,8]"], "layer 8 is too late"),
        ("multi_hop", ["layers=[3]"], "one layer makes no pair"),
        ("linear_relations", ["relations={kind: world, relations: [mayor]}"], "no relation 'mayor'"),
    ],
)
def test_what_cannot_be_run_says_why(config: str, overrides: list[str], says: str, tmp_path: Path) -> None:
    assert says in refused(tmp_path, config, *overrides)
