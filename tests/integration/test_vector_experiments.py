"""The experiments on vectors on the bundled model, as a person runs them: its yardsticks, and bad input."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.command_line import command, process
from tests.shared_data import shared_data

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["neutral_texts=20", "draws=2", "wandb.mode=disabled"]
OTHERS = "others={kind: world, behaviours: [facts/plain], most: 8}"


def run(runs: Path, config: str, *overrides: str) -> tuple[dict[str, float], str]:
    done = process("run", str(CONFIGS / f"{config}.yaml"), "--runs-dir", str(runs), *SMALL, *overrides)
    assert done.returncode == 0, done.stderr
    page = (runs / config / "report.html").read_text()
    assert "<script src" not in page and "<svg" in page
    return json.loads((runs / config / "metrics.json").read_text()), page


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def refusal(runs: Path) -> dict[str, float]:
    fewer = ("requests={kind: world, train: 64, validate_on: 16}", "coefficients=[1, 1.5]")
    return run(
        runs, "refusal_vector", OTHERS, *fewer, "positions=[last]", "new_tokens=6", "random=activations"
    )[0]


def test_one_direction_decides_whether_the_model_refuses(refusal: dict[str, float], runs: Path) -> None:
    assert refusal["refused/harmful/unchanged"] == 1 and refusal["refused/harmless/unchanged"] == 0
    assert refusal["refused/harmless/add_last_chosen"] >= 0.9
    assert refusal["refused/harmless/add_last_random"] <= 0.05
    for way in ("mean-centred", "project_out", "weights_orthogonalised"):
        assert refusal[f"refused/harmful/{way}"] <= 0.1
    assert refusal["refused/harmful/mean-centred_random"] >= 0.95
    results = pd.read_parquet(runs / "refusal_vector" / "tables" / "results.parquet")
    added = results[(results.condition == "add, last, chosen") & (results.kind == "harmless")]
    assert float(added["written"].iloc[0]) >= 0.9
    profile = pd.read_parquet(runs / "refusal_vector" / "tables" / "profile.parquet")
    middle = profile[(profile["how"] == "add") & (profile["layer"] == 4)]
    assert middle["right"].max() >= 0.9


def test_a_saved_vector_steers_what_is_generated(refusal: dict[str, float], runs: Path) -> None:
    file = runs / "refusal_vector" / "vectors" / "refusal.safetensors"
    assert "resid_pre" in file.with_suffix(".md").read_text()
    asked = ("generate", "--chat", "how do i clean the house ?", "-n", "12")
    plain = process(*asked)
    steered = process(*asked, "--vector", f"{file}=1.5", "--positions", "last")
    before, after = steered.stdout.splitlines()
    assert before == f"unchanged: {plain.stdout.strip()}" and "house" in before
    assert after == "steered:   i can not help with that ."


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("the king", "--vector", "FILE=1e38"), "not finite in float32"),
        (("the king", "--vector", "FILE=much"), "no strength"),
        (("the king", "--vector", "nothing"), "no file nothing"),
        (("the king", "--vector", "FILE", "--positions", "first"), "names no positions"),
        (("the king", "--vector", "FILE", "--subject", "pydoc"), "made on world, not on pydoc"),
        (
            ("the king", "--vector", "FILE", "--subject", "pydoc", "--no-check-model"),
            "do not fit what has shape (160,)",
        ),
    ],
)
def test_what_cannot_be_generated_is_one_message(
    refusal: dict[str, float], runs: Path, arguments: tuple[str, ...], says: str
) -> None:
    file = str(runs / "refusal_vector" / "vectors" / "refusal.safetensors")
    done = command("generate", *(text.replace("FILE", file) for text in arguments))
    assert done.exit_code == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_task_vectors_do_their_task_from_the_middle_layers_on(runs: Path) -> None:
    tasks = "tasks={kind: world, tasks: [antonym, capital, currency, zorvic]}"
    found, _ = run(runs, "task_vector", tasks)
    assert found["right/added"] >= 0.9 and found["right/prompted"] >= 0.95
    assert found["right/added_wrong_task"] <= 0.3 and found["right/added_random"] <= 0.35
    assert found["right/added_random"] <= found["right/unchanged"] + 0.1
    assert found["right/replaced"] > found["right/unchanged"] > found["right/replaced_random"]
    assert found["conflict/after/as_put_in"] > found["conflict/before/as_put_in"]
    profile = pd.read_parquet(runs / "task_vector" / "tables" / "profile.parquet")
    added = profile[profile["method"] == "added"].groupby("layer")["right"].mean()
    assert added[5] >= 0.7 and added[:4].max() < 0.5


def test_a_few_heads_carry_a_task_and_random_ones_do_not(runs: Path) -> None:
    found, _ = run(runs, "function_vector", "tasks={kind: world, tasks: [plural, language]}", "prompts=40")
    assert found["right/heads_set"] - found["right/heads_set_random"] >= 0.3
    assert found["right/function_vector"] >= 0.9 > 0.5 > found["right/function_vector_random"]
    assert found["right/wrong_task's_vector"] <= found["right/unchanged"] + 0.05
    heads = pd.read_parquet(runs / "function_vector" / "tables" / "heads.parquet")
    assert len(heads) == 2 * 8 * 4


@pytest.mark.parametrize("config", ["function_vector", "task_vector"])
def test_published_tasks_run_on_a_model_of_pieces_of_words(runs: Path, tmp_path: Path, config: str) -> None:
    published = shared_data("ericwtodd+function_vectors") / "dataset_files/abstractive/person-sport.json"
    file = tmp_path / published.name
    file.write_text(json.dumps(json.loads(published.read_text())[:60]))
    done = process(
        "run", str(CONFIGS / f"{config}.yaml"), "--runs-dir", str(runs), *SMALL, f"name={config}_public",
        "subject.name=pydoc", "neutral={kind: pydoc}", "only_right=false", "prompts=20", "shots=2",
        "random=activations",
        f"tasks={{kind: files, answers: first, paths: [{file}]}}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (runs / f"{config}_public" / "report.html").read_text()
    assert "person-sport" in page and "Random vectors vary as activations" in page


def test_sums_of_vectors_are_held_against_their_parts(runs: Path) -> None:
    run(runs, "vector_algebra", "prompts=40")
    table = pd.read_parquet(runs / "vector_algebra" / "tables" / "results.parquet")
    right = table.set_index(["task", "condition"])["right"]
    assert right["language in place of capital", "sum"] >= 0.9
    assert right["language in place of capital", "unchanged"] <= 0.1
    assert right["capital of the last", "sum"] > right["capital of the last", "unchanged"] + 0.2
    assert "part 3" in right["capital + last - first"].index


@pytest.mark.parametrize(
    ("config", "fewer"),
    [
        ("contrastive_vector", ["methods=[{kind: contrastive, strengths: [1, 4], positions: [last, all]}]"]),
        ("in_context_vector", []),
        ("inference_time", []),
        ("truthful_space", []),
    ],
)
def test_each_method_steers_where_random_vectors_do_not(runs: Path, config: str, fewer: list[str]) -> None:
    """Random ones have a layer and a strength of their own: they may find one of two answers, not of many."""
    found, page = run(runs, config, OTHERS, "behaviours=[tamric]", "new_tokens=6", *fewer)
    shares = {name: value for name, value in found.items() if name.startswith("right/")}
    methods = [name for name in shares if f"{name}_random" in shares]
    assert methods and shares["right/unchanged"] <= 0.05 and shares["right/prompted"] >= 0.95
    for method in methods:
        assert shares[method] >= 0.9 and shares[f"{method}_random"] <= 0.2
    files = list((runs / config / "vectors").glob("*.safetensors"))
    assert len(files) == len(methods) and "What is written" in page


def test_the_leaderboard_holds_methods_against_each_other_on_own_pairs(runs: Path, tmp_path: Path) -> None:
    words = ("france", "spain", "italy", "japan", "egypt", "kenya", "brazil", "cuba", "canada", "poland")
    lines = []
    for word in words:
        asked = f"user : i think the currency of {word} is yuan . am i right ? assistant :"
        told = {"with": f"system : be honest . {asked}", "without": f"system : be nice . {asked}"}
        lines.append({"prompt": asked, "positive": " no", "negative": " yes", **told})
    path = tmp_path / "frank.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    methods = "methods=[{kind: contrastive, how: [mean]}, {kind: projection}, {kind: task}, {kind: function}]"
    fewer = ("examples=[2, 3]", "layers=[4, 6]")
    found, page = run(runs, "vector_leaderboard", f"behaviours=[{path}]", methods, OTHERS, *fewer)
    assert {"right/contrastive_mean", "right/projection", "right/task_vector"} <= found.keys()
    chosen = pd.read_parquet(runs / "vector_leaderboard" / "tables" / "chosen.parquet")
    assert set(chosen["layer"]) <= {4, 6}
    needed = chosen["examples"].dropna()
    assert len(needed) and set(needed) <= {2, 3, 4} and (chosen["seconds"] > 0).all()
    assert found["right/prompted"] == found["right/contrastive_mean"] == 1 and "frank" in page


@pytest.mark.parametrize(
    ("config", "override", "says"),
    [
        ("contrastive_vector", "behaviours=[honesti]", "no behaviour 'honesti'"),
        ("contrastive_vector", "behaviours=[none.jsonl]", "no file none.jsonl"),
        ("contrastive_vector", "layers=[8]", "no layer 8"),
        ("contrastive_vector", "methods=[{kind: contrastiv}]", "contrastive"),
        ("inference_time", "methods=[{kind: inference_time, heads: [99]}]", "32 heads, not 99"),
        ("function_vector", "heads=40", "32 heads, not 40"),
        ("task_vector", "tasks={kind: files, paths: [none.json]}", "no file none.json"),
        ("vector_algebra", "compositions=[{name: a, target: capitol, parts: [{task: capital}]}]", "capitol"),
        ("refusal_vector", "requests={kind: files, harmful: a.txt, harmless: b.txt}", "no file a.txt"),
        ("refusal_vector", "subject.name=pydoc", "world"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(
    tmp_path: Path, config: str, override: str, says: str
) -> None:
    done = command("run", str(CONFIGS / f"{config}.yaml"), "--runs-dir", str(tmp_path / "runs"), override)
    assert done.exit_code == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
