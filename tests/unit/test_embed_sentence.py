"""Sentence embeddings by a small model that is made here; needs the extra `semantic`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from interp.embed.sentence import SentenceEmbedder
from interp.errors import UserError

pytest.importorskip("sentence_transformers", reason="the extra `semantic` is not installed")


def _model(folder: Path, seed: int) -> str:
    """A folder that sentence-transformers pools by the mean of its last layer."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rain", "storms", "cities"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return str(folder)


def test_vectors_are_unit_or_nothing_and_a_text_does_not_depend_on_the_others(tmp_path: Path) -> None:
    embedder = SentenceEmbedder(_model(tmp_path / "model", 0))
    texts = ["rain", "storms rain rain cities", ""]
    found = embedder.embed(texts)
    assert found.shape == (3, embedder.width) == (3, 16)
    assert found.dtype == np.float32
    # this tokenizer adds no special tokens: an empty text has none at all, and is like nothing
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(embedder.embed(texts[:1])[0], found[0], atol=1e-5)
    assert embedder.embed([]).shape == (0, 16)


def test_models_in_folders_of_one_name_have_names_of_their_own(tmp_path: Path) -> None:
    one, same, other = (
        SentenceEmbedder(_model(tmp_path / where / "model", seed)).name
        for where, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == same
    assert one != other


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        SentenceEmbedder(str(tmp_path / "none"))
