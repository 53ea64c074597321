"""The steering experiment on a small budget, as a person runs it."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import interp
import saes
from interp.bundled.world.concepts import bit
from interp.bundled.world.labelling import carries
from interp.causal.steering.choose import SCORES
from interp.cli.loading import load_config
from interp.errors import UserError
from interp.subject import Site
from saes.fit import fit
from saes.train import save
from tests.command_line import process
from tests.corpora import Noise

CONFIG = Path(__file__).parents[2] / "configs" / "steering.yaml"
SMALL = [
    "wandb.mode=disabled",
    "corpus.documents=250",
    "mining.sampled_tokens=1024",
    "sae_training.training_tokens=8192",
    "sae_training.buffer_tokens=8192",
    "sae_training.n_latents=128",
    "concepts=[topic_weather, lang_zorvic]",
    "behaviours=[facts/question, agreement/near]",
    "prompts_per_behaviour=4",
    "factors=[2]",
    "new_tokens=6",
    "neurons=3",
    "neutral_documents=3",
    "examples=1",
]
METHODS = {"latent", "difference in means", "neurons", "random latent", "random direction"}


def run_small(runs: Path, *overrides: str) -> Path:
    done = process("run", str(CONFIG), "--runs-dir", str(runs), *SMALL, *overrides)
    assert done.returncode == 0, done.stderr
    return runs / "steering"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("runs"))


def test_every_method_is_swept_scored_and_reported(folder: Path) -> None:
    texts = pd.read_parquet(folder / "tables" / "texts.parquet")
    prompts = 2 * 2 * 4
    assert (
        len(texts) == prompts + prompts // 2 + 5 * 2 * prompts
    )  # none, prompt (topics only), methods, factors
    assert set(texts["method"]) == METHODS | {"none", "prompt"}
    assert sorted(texts["factor"].unique()) == [0, 2, 10]  # the golden factor is always in the sweep
    assert texts["share"].between(0, 1).all() and texts["tokens"].max() <= 6
    scores = pd.read_parquet(folder / "tables" / "scores.parquet")
    assert all(scores[name].between(0, 2).all() for name in SCORES)
    chosen, golden = (
        pd.read_parquet(folder / "tables" / f"{name}_concepts.parquet") for name in ("chosen", "golden")
    )
    assert (golden[golden["method"].isin(METHODS)]["factor"] == 10).all()
    assert (chosen["prompts"] == 4).all()  # the reporting half
    costs = pd.read_parquet(folder / "tables" / "costs.parquet")
    assert len(costs) == 5 * 2 * 2 * 3 and (costs["kl"] > -1e-6).all()
    growth = costs.groupby(["method", "factor"])["norm"].mean().unstack()
    assert (growth[10] > growth[2]).all()


def planted_sae(folder: Path, concept: str) -> None:
    """An SAE of noise but for latent 5: it reads where a concept is present, and writes its words."""
    config = saes.SaeTraining(n_latents=64, training_tokens=256, batch_tokens=128, buffer_tokens=300)
    metadata = {"hook_name": "blocks.7.hook_resid_post", "model_name": "world"}
    save(fit(config, Noise(), metadata=metadata), folder)
    subject = interp.load("world", device="cpu")
    documents = [interp.WorldCorpus(seed=2, n_documents=200)[index] for index in range(200)]
    site, labels, read = Site("resid_post", 7), [], []
    for document in documents:
        tokens = torch.tensor([[0, *document.tokens.tolist()]])
        read.append(subject.read(tokens, [site])[site][0, 1:])
        assert document.labels is not None
        labels.extend((document.labels & np.uint64(bit(concept)) != 0).tolist())
    with_one = torch.nn.functional.pad(torch.cat(read), (0, 1), value=1.0)
    present = torch.tensor(labels, dtype=torch.float32)
    reads = torch.linalg.lstsq(with_one, present).solution  # the linear reading of the concept
    words = torch.from_numpy(carries(range(subject.d_vocab), concept))
    writes = subject.unembedding()[:, words].mean(1)
    weights = load_file(folder / "sae_weights.safetensors")
    weights["W_enc"][:, 5], weights["b_enc"][5] = 100 * reads[:-1], 100 * reads[-1]
    weights["b_dec"][:] = 0
    weights["W_dec"][5] = writes / writes.norm()
    save_file(weights, folder / "sae_weights.safetensors")


def test_a_planted_latent_is_found_and_shows_its_concept_at_the_cost_of_the_answers(tmp_path: Path) -> None:
    planted_sae(tmp_path / "sae", "topic_weather")
    made = run_small(tmp_path, f"sae={tmp_path / 'sae'}", "concepts=[topic_weather]")
    metrics = json.loads((made / "metrics.json").read_text())
    assert metrics["pick/topic_weather/latent"] == "sae.resid_post.7/5+"
    assert metrics["golden/none/concept_score"] < 0.2 and metrics["golden/none/instruction_score"] > 1.5
    assert metrics["golden/latent/concept_score"] > 1.5 > metrics["golden/random_latent/concept_score"]
    assert metrics["golden/latent/instruction_score"] < 0.5 and metrics["golden/latent/kl"] > 1
    page = (made / "report.html").read_text()
    assert "<script src" not in page and len(page) < 5_000_000
    assert 'class="p8"' in page and "Golden Gate" in page


def test_lists_of_words_do_for_a_model_and_text_without_labels(tmp_path: Path) -> None:
    for name, words in (("files", ["file", "files", "path"]), ("lists", ["list", "lists", "tuple"])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"words": words, "announcement": f"On {name}."}))
    beginnings = ["This function returns", "The class", "If the argument is", "A new file", "Note that it is"]
    (tmp_path / "beginnings.txt").write_text("\n".join(beginnings))
    concepts = ", ".join(str(tmp_path / f"{name}.json") for name in ("files", "lists"))
    own = ("subject.name=pydoc", "corpus={kind: pydoc, documents: 200}", f"concepts=[{concepts}]")
    files = (f"beginnings={tmp_path / 'beginnings.txt'}", "sae_site=resid_post.2", "neurons=0")
    made = run_small(tmp_path, *own, *files)
    texts = pd.read_parquet(made / "tables" / "texts.parquet")
    assert set(texts["concept"]) == {"files", "lists"} and texts["right"].isna().all()
    assert set(texts["method"]) == METHODS - {"neurons"} | {"none", "prompt"}
    clean = texts[texts["method"] == "none"]
    assert (clean.groupby("concept")["prompt"].count() == 4).all()  # "A new file" is not asked of files
    for concept, share, text in zip(texts["concept"], texts["share"], texts["text"], strict=True):
        wanted = {"file", "files", "path"} if concept == "files" else {"list", "lists", "tuple"}
        said = {word.lower() for word in re.findall(r"[A-Za-z]+", text)}
        assert (share > 0) == bool(said & wanted), text
    scores = pd.read_parquet(made / "tables" / "scores.parquet")
    assert scores["instruction_score"].isna().all() and scores["harmonic"].between(0, 2).all()
    page = (made / "report.html").read_text()
    assert "instruction" not in page.split("Methods and numbers")[0].lower() and "none" in page


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("corpus={kind: text, path: mine.txt}", "none for your text"),
        ("subject.name=pydoc", "none for pydoc"),
        ("beginnings=interp:prompts/beginnings.txt", "for word lists"),
        ("concepts=[interp:concepts/sea.json]", "need beginnings"),
        ("concepts=[interp:concepts/sea.json, topic_law]", "some are not"),
        ("concepts=[nothing.json]", "nothing.json"),
        ("concepts=[refusal]", "no word carries refusal"),
        ("concepts=[cheese]", "no concept"),
        ("concepts=[topic_law, topic_law]", "twice"),
        ("behaviours=[facts/nothing]", "no behaviour"),
        ("factors=[0, 2]", "`factors.0` should be greater than 0"),
        ("sae=/nowhere", "no folder"),
        ("sae_site=mlp_post.3", "residual"),
        ("sae_training.architecture={kind: transcoder, to: mlp_out.4}", "transcoder"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(override: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        experiment, config = load_config(CONFIG, [override])
        experiment.check(config)
