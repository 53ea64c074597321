"""The shipped `pydoc` weights, held to what their card says, and its SAE."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import LlamaForCausalLM

import interp
import interp.bundled.pydoc
import saes
from interp.bundled.pydoc import pydoc_folder
from interp.bundled.pydoc.baselines import NGrams
from interp.bundled.pydoc.evaluate import load_folder, loops_at_the_end
from interp.bundled.pydoc.export import PREDICTORS
from interp.bundled.pydoc.scoring import Predictions, predict
from interp.bundled.pydoc.texts import pydoc_texts
from interp.subject import Site, Subject
from saes.evaluation import evaluate

SAMPLE = 60


@pytest.fixture(scope="module")
def card() -> str:
    return (pydoc_folder() / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def measured() -> tuple[Predictions, Predictions, np.ndarray]:
    """The model and a trigram on a sample of the held-out documents, and the documents' bytes."""
    model, encode = load_folder(pydoc_folder())
    held_out = pydoc_texts("held_out")
    picks = np.random.default_rng(1).choice(len(held_out), SAMPLE, replace=False)
    texts = [held_out[index].text for index in picks]
    documents = encode(texts)
    trigram = NGrams(encode([d.text for d in pydoc_texts("training")]), model.config.vocab_size, 3)
    return predict(model, documents), trigram.predict(documents), np.array([len(t.encode()) for t in texts])


def stated(card: str, name: str) -> list[float]:
    """Bits per byte, the ends of its interval, accuracy, and the ends of its interval."""
    line = next(line for line in card.splitlines() if line.startswith(f"| {PREDICTORS[name]} |"))
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def test_the_figures_of_the_card_are_found_again_on_a_sample(
    card: str, measured: tuple[Predictions, Predictions, np.ndarray]
) -> None:
    """Within the sampling error of 60 documents; another Python has other text of the same modules."""
    model, trigram, size = measured
    for name, found in (("model", model), ("trigram", trigram)):
        bits, _, _, accuracy, _, _ = stated(card, name)
        error = np.std(found.bits / size) * 4 / SAMPLE**0.5
        assert found.bits.sum() / size.sum() == pytest.approx(bits, abs=error), name
        assert found.right.sum() / found.tokens.sum() == pytest.approx(accuracy, abs=0.08), name


def test_it_predicts_unseen_text_better_than_a_trigram(
    card: str, measured: tuple[Predictions, Predictions, np.ndarray]
) -> None:
    model, trigram, size = measured
    better = (trigram.bits - model.bits) / size
    assert better.mean() > 2 * better.std() / SAMPLE**0.5
    assert model.right.sum() > trigram.right.sum()
    assert stated(card, "model")[2] < stated(card, "trigram")[1]  # the intervals lie apart
    assert stated(card, "trigram")[0] < stated(card, "bigram")[0] < stated(card, "unigram")[0]


def test_it_is_an_ordinary_llama_of_two_to_four_million_half_precision_numbers() -> None:
    model, _ = load_folder(pydoc_folder())
    assert isinstance(model, LlamaForCausalLM)
    assert 2e6 <= model.num_parameters() <= 4e6
    assert sum(file.stat().st_size for file in pydoc_folder().iterdir()) < 10e6
    with safe_open(pydoc_folder() / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_the_card_says_what_it_is_made_of_and_what_it_is_not_for(card: str) -> None:
    for heading in ("## Text and licence", "## Training", "## Figures", "## Limits", "## Not to be used"):
        assert heading in card
    assert "Python Software Foundation License" in card
    config = json.loads((pydoc_folder() / "config.json").read_text())
    assert f"{config['num_hidden_layers']} layers x {config['hidden_size']}" in card


def test_the_shipped_sae_reads_held_out_text_sparsely_and_keeps_what_the_model_knows() -> None:
    subject: Subject = interp.load("pydoc", device="cpu")
    latents = saes.load(subject, interp.bundled.pydoc.sae_folder())
    assert latents.site == Site("resid_post", 3)
    corpus = interp.PydocCorpus(subject, documents=120)
    figures = evaluate(subject, latents, corpus)
    assert figures.l0 == pytest.approx(16, abs=0.5)
    assert figures.cross_entropy_recovered > 0.8
    assert figures.explained_variance > 0.6
    assert sum(file.stat().st_size for file in interp.bundled.pydoc.sae_folder().iterdir()) < 3e6


def test_a_loop_is_three_times_the_same_end() -> None:
    assert loops_at_the_end([1, 2, 7, 8, 7, 8, 7, 8])
    assert loops_at_the_end([5, 5, 5])
    assert not loops_at_the_end([7, 8, 7, 8, 8])
    assert not loops_at_the_end(list(range(50)))
