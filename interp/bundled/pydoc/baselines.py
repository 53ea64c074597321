"""What simpler predictors reach on the same text: n-grams with back-off, and compressors."""

import lzma
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from interp.bundled.pydoc.scoring import Predictions
from interp.bundled.pydoc.tokenizer import BOS_ID

ORDERS = {"unigram": 1, "bigram": 2, "trigram": 3}


class NGrams:
    """An n-gram model: orders from `order` down to single tokens, interpolated by absolute discounting.

    p(w | h) = max(c(hw) - D, 0) / c(h) + D n(h) / c(h) p(w | shorter h), with n(h) the number of different
    tokens after h and D = n1 / (n1 + 2 n2) of each order (a half if nothing was seen once; Ney, Essen and
    Kneser 1994, eqs. 13 and 17); single tokens have one added to each count. Its guess is the commonest token
    after the longest history that was seen.
    """

    def __init__(self, documents: Sequence[Sequence[int]], d_vocab: int, order: int) -> None:
        self.d_vocab, self.order = d_vocab, order
        grams = _grams(documents, order)
        ones = np.bincount(grams[:, -1], minlength=d_vocab)
        self._single: Float[np.ndarray, " vocab"] = (ones + 1) / (ones.sum() + d_vocab)
        self._tables = [_Table(grams[:, -n:], d_vocab) for n in range(2, order + 1)]

    def predict(self, documents: Sequence[Sequence[int]]) -> Predictions:
        """Predict every token of every document from the tokens before it in the document."""
        grams = _grams(documents, self.order)
        likely = self._single[grams[:, -1]]
        guess = np.full(len(grams), self._single.argmax())
        for n, table in enumerate(self._tables, 2):
            likely, guess = table.refine(grams[:, -n:], likely, guess)
        lengths = np.array([len(tokens) for tokens in documents])
        document = np.repeat(np.arange(len(documents)), lengths)
        bits = np.bincount(document, -np.log2(likely), minlength=len(documents))
        right = np.bincount(document[guess == grams[:, -1]], minlength=len(documents))
        return Predictions(bits, right, lengths)


class _Table:
    """Counts of the n-grams of one order."""

    def __init__(self, grams: Int[np.ndarray, "gram n"], d_vocab: int) -> None:
        self._d_vocab = d_vocab
        self._keys, self._counts = np.unique(_key(grams, d_vocab), return_counts=True)
        of_key = self._keys // d_vocab
        self._histories, first = np.unique(of_key, return_index=True)
        self._sums = np.add.reduceat(self._counts, first)
        self._kinds = np.diff(np.append(first, len(of_key)))
        by_count = np.lexsort((self._counts, of_key))  # the last of each history has the largest count
        self._best = self._keys[by_count[first + self._kinds - 1]] % d_vocab
        once, twice = (int((self._counts == n).sum()) for n in (1, 2))
        self._discount = once / (once + 2 * twice) if once else 0.5

    def refine(
        self, grams: Int[np.ndarray, "gram n"], likely: Float[np.ndarray, " gram"], guess: NDArray[np.int64]
    ) -> tuple[Float[np.ndarray, " gram"], NDArray[np.int64]]:
        """Probabilities and guesses of this order, given those of the order below."""
        keys = _key(grams, self._d_vocab)
        count = np.where(_has(self._keys, keys), self._counts[_place(self._keys, keys)], 0)
        history = keys // self._d_vocab
        seen, place = _has(self._histories, history), _place(self._histories, history)
        discounted = np.maximum(count - self._discount, 0) + self._discount * self._kinds[place] * likely
        return np.where(seen, discounted / self._sums[place], likely), np.where(
            seen, self._best[place], guess
        )


def compressed_bits(held_out: bytes, training: bytes) -> dict[str, float]:
    """Bits per byte of `held_out` by two compressors, and by one of them that has read `training` first."""
    preset = 9 | lzma.PRESET_EXTREME
    alone = len(lzma.compress(held_out, preset=preset))
    after = len(lzma.compress(training + held_out, preset=preset)) - len(
        lzma.compress(training, preset=preset)
    )
    sizes = {"zlib": len(zlib.compress(held_out, 9)), "lzma": alone, "lzma after the training text": after}
    return {name: 8 * size / len(held_out) for name, size in sizes.items()}


def _grams(documents: Sequence[Sequence[int]], order: int) -> Int[np.ndarray, "gram order"]:
    """Each token after the `order` - 1 before it; a document is padded with beginning-of-sequence tokens."""
    start = [BOS_ID] * (order - 1)
    stream = np.concatenate([np.array([*start, *tokens], dtype=np.int64) for tokens in documents])
    windows = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([start, stream]).astype(np.int64), order
    )
    text = np.concatenate([np.arange(order - 1 + len(tokens)) >= order - 1 for tokens in documents])
    grams: Int[np.ndarray, "gram order"] = windows[text]
    return grams


def _key(grams: Int[np.ndarray, "gram n"], d_vocab: int) -> NDArray[np.int64]:
    key = np.zeros(len(grams), dtype=np.int64)
    for column in grams.T:
        key = key * d_vocab + column
    return key


def _place(known: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.minimum(np.searchsorted(known, keys), len(known) - 1)


def _has(known: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = known[_place(known, keys)] == keys
    return found
