"""An embedder without a model: TF-IDF of words and pieces of words, reduced by a truncated SVD."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from interp.errors import UserError
from interp.json_text import read_json
from interp.shape import Shape
from interp.tensors import check_finite
from interp.track.files import read_safetensors, write_json, write_safetensors

WORDS = r"(?u)\b\w+\b"
PIECES = (3, 5)
MOST_TERMS = 30_000
_AGAIN = "delete the folder, and fit it again"
_TERMS = Shape[list[str]](list[str], strict=True)
LONGEST_TEXT = 20_000
"""Characters of a text that are used; a description has a few hundred."""


class TfidfEmbedder:
    """Latent semantic analysis (Deerwester et al. 1990) fitted on the texts that are to be found.

    A term is a word or a piece of one, 3 to 5 characters, so that other forms of a word are near. A text
    without a known term is the zero vector, similar to nothing. Equal texts give an equal embedder.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        weight: Float[np.ndarray, " term"],
        basis: Float[np.ndarray, "width term"],
    ) -> None:
        """`weight` are the inverse document frequencies, `basis` the right singular vectors."""
        self._vocabulary = list(vocabulary)
        self._vectorizer = _vectorizer(vocabulary)
        self._vectorizer.idf_ = weight
        self._weight = weight
        self._basis = basis
        digest = hashlib.sha256(json.dumps(self._vocabulary).encode() + basis.astype("<f4").tobytes())
        self.name = f"tfidf {digest.hexdigest()[:12]}"
        self.width = len(basis)

    @classmethod
    def fit(cls, texts: Sequence[str], width: int = 384, seed: int = 0) -> "TfidfEmbedder":
        """Fit on texts; `width` is the most numbers in a vector, fewer where there are few texts.

        Raises:
            UserError: no text has a word.
        """
        vectorizer = _vectorizer(None)
        try:
            table = vectorizer.fit_transform(texts)
        except ValueError:
            raise UserError(
                "there are no words to search in", "descriptions", "describe some features first"
            ) from None
        vocabulary = vectorizer.get_feature_names_out().tolist()
        size = min(width, len(vocabulary) - 1, len(texts) - 1)
        if size < 2:
            basis = np.eye(len(vocabulary), dtype=np.float32)
        else:
            basis = TruncatedSVD(size, random_state=seed).fit(table).components_.astype(np.float32)
        return cls(vocabulary, vectorizer.idf_.astype(np.float64), basis)

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
        """One unit vector for each text."""
        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        reduced = self._vectorizer.transform(texts) @ self._basis.T
        unit: Float[np.ndarray, "text width"] = normalize(np.asarray(reduced)).astype(np.float32)
        return unit

    def save(self, folder: Path) -> None:
        """Write the terms as JSON and the numbers as safetensors."""
        write_json(folder / "terms.json", self._vocabulary)
        write_safetensors(
            folder / "tfidf.safetensors",
            {
                "weight": torch.from_numpy(self._weight),
                "basis": torch.from_numpy(np.ascontiguousarray(self._basis)),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> "TfidfEmbedder":
        """Read what `save` wrote.

        Raises:
            UserError: a file is missing or damaged.
        """
        tensors, _ = read_safetensors(folder / "tfidf.safetensors")
        file = folder / "terms.json"
        terms = _TERMS.of(read_json(file, _AGAIN, "list"), str(file), _AGAIN)
        check_finite(tensors, str(folder), _AGAIN)
        fits = {name: (tensor.ndim, tensor.shape[-1:]) for name, tensor in tensors.items()}
        known = (len(set(terms)),)
        if fits != {"weight": (1, known), "basis": (2, known)}:
            raise UserError(f"the weights do not fit {len(terms):,} terms", str(folder), _AGAIN)
        return cls(terms, tensors["weight"].numpy(), tensors["basis"].numpy())


def _vectorizer(vocabulary: Sequence[str] | None) -> TfidfVectorizer:
    return TfidfVectorizer(
        analyzer=_terms,
        sublinear_tf=True,
        vocabulary=vocabulary,
        max_features=None if vocabulary else MOST_TERMS,
    )


def _terms(text: str) -> list[str]:
    """Words of a text's first `LONGEST_TEXT` characters, and their pieces with the word's ends marked."""
    terms: list[str] = []
    for word in _split(text[:LONGEST_TEXT]):
        terms.append(word)
        framed = f"<{word}>"
        for size in range(PIECES[0], PIECES[1] + 1):
            terms += [framed[i : i + size] for i in range(len(framed) - size + 1)]
    return terms


_split = TfidfVectorizer(token_pattern=WORDS).build_analyzer()
