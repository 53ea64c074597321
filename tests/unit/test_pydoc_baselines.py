"""N-grams against counts by hand, and predictions against `transformers`."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from interp.bundled.pydoc.baselines import NGrams, compressed_bits
from interp.bundled.pydoc.scoring import predict
from interp.bundled.pydoc.tokenizer import BOS_ID

DOCUMENTS = [[2, 3, 4, 2, 3, 5], [2, 3, 4], [5, 5, 2]]


def by_hand(documents: list[list[int]], vocabulary: int, history: tuple[int, ...], token: int) -> float:
    """The same formula with dictionaries."""
    if not history:
        flat = [token for document in documents for token in document]
        return (flat.count(token) + 1) / (len(flat) + vocabulary)
    n = len(history)
    grams = Counter(
        tuple(padded[i - n : i + 1])
        for document in documents
        for padded in [[BOS_ID] * n + document]
        for i in range(n, len(padded))
    )
    after = {gram[-1]: count for gram, count in grams.items() if gram[:-1] == history}
    shorter = by_hand(documents, vocabulary, history[1:], token)
    if not after:
        return shorter
    once, twice = (sum(count == k for count in grams.values()) for k in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    total = sum(after.values())
    return (max(after.get(token, 0) - discount, 0) + discount * len(after) * shorter) / total


@pytest.mark.parametrize("order", [1, 2, 3])
def test_an_n_gram_is_what_counting_by_hand_gives(order: int) -> None:
    asked = [[2, 3, 5, 5], [4, 6]]
    found = NGrams(DOCUMENTS, 8, order).predict(asked)
    for document, bits in zip(asked, found.bits, strict=True):
        padded = [BOS_ID] * (order - 1) + document
        expected = [
            -math.log2(by_hand(DOCUMENTS, 8, tuple(padded[i : i + order - 1]), padded[i + order - 1]))
            for i in range(len(document))
        ]
        assert bits == pytest.approx(sum(expected))
    assert found.tokens.tolist() == [4, 2]


@given(st.lists(st.lists(st.integers(2, 6), min_size=1, max_size=8), min_size=1, max_size=5))
@settings(max_examples=30)
def test_the_probabilities_of_all_tokens_sum_to_one(documents: list[list[int]]) -> None:
    model = NGrams(documents, 7, 3)
    last = documents[0][-2:]
    before = model.predict([last]).bits[0]
    after = np.array([model.predict([[*last, token]]).bits[0] for token in range(7)])
    assert (2.0 ** (before - after)).sum() == pytest.approx(1)


def test_its_guess_is_the_commonest_continuation_of_the_longest_history_seen() -> None:
    found = NGrams([[2, 3, 4], [2, 3, 4], [2, 3, 5], [6, 3, 5], [7, 3, 5]], 8, 3)
    assert found.predict([[2, 3, 4]]).right[0] == 3  # 4 after (2, 3), 2 first, 3 after 2
    assert found.predict([[4, 3, 5]]).right[0] == 2  # 3 is commonest of all; (4, 3) unseen: 5 after 3
    assert found.predict([[4, 3, 4]]).right[0] == 1


def test_a_compressor_that_read_the_text_before_needs_less() -> None:
    text = " ".join(f"word{i * i % 977}" for i in range(3000)).encode()
    sizes = compressed_bits(text, text)
    assert 0 < sizes["lzma after the training text"] < 0.1 * sizes["lzma"] < sizes["zlib"] < 8


def test_predictions_are_those_of_transformers_whatever_the_batch_and_the_length() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=12, initializer_range=0.5,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    draw = np.random.default_rng(0)
    documents = [draw.integers(2, 40, length).tolist() for length in (1, 5, 11, 12, 30)]
    found = predict(model, documents)
    assert found.tokens.tolist() == [1, 5, 11, 12, 30]
    for number, tokens in enumerate(documents):
        bits, right = 0.0, 0
        for start in range(0, len(tokens), 11):  # a context of 12, one of them the beginning
            row = torch.tensor([[BOS_ID, *tokens[start : start + 11]]])
            with torch.inference_mode():
                likely = model(row).logits[0, :-1].log_softmax(-1)
            bits -= float(likely.gather(1, row[0, 1:, None]).sum()) / math.log(2)
            right += int((likely.argmax(-1) == row[0, 1:]).sum())
        assert found.bits[number] == pytest.approx(bits, rel=1e-4)
        assert found.right[number] == right
