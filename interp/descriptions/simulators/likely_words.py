"""Which words a description makes likelier, by a language model in this process: a base model can do this.

A token's activation is log p(word | 'List of {description}: "') - log p(word | 'List of something: "') in
nats, where the word is what the token reads or begins: the domain-conditional pointwise mutual information of
Holtzman et al. 2021, "Surface form competition" (arXiv:2104.08315, section 3). The text around a token is not
seen, so that a description of a context, and not of words, predicts little.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.descriptions.candidate import SCALE, Candidate, Simulated
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.local_model import LocalModel, beginning
from interp.subject.precision import Dtype

ANY = "something"
"""The description that says nothing."""


class LikelyWordsSimulator:
    """The `Simulator` that reads what a local model expects in a list of what is described."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._of = lru_cache(16)(self._log_chances)
        self._any = self._log_chances(ANY)
        self._words: dict[str, int | None] = {}

    @classmethod
    def load(cls, name: str | Path, device: str = "cpu", dtype: Dtype = "float32") -> "LikelyWordsSimulator":
        """Opens a model; raises as `LocalModel.load`."""
        return cls(LocalModel.shared(name, device, dtype))

    @property
    def name(self) -> str:
        """The model."""
        return f"likely_words, {self._model.name}"

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predicts an activation from 0 to `SCALE` for each token; None where the description is too long."""
        if len(self._prompt(candidate.text)) > self._model.context:
            return Simulated((None,) * len(excerpts))
        gain = (self._of(candidate.text) - self._any).clamp(0, SCALE)
        return Simulated(tuple(self._gains(gain, one.pieces) for one in excerpts))

    def _gains(self, gain: Float[Tensor, " vocab"], pieces: Sequence[str]) -> Float[np.ndarray, " token"]:
        first = [self._first(piece) for piece in pieces]
        return np.array([0.0 if word is None else float(gain[word]) for word in first])

    def _first(self, piece: str) -> int | None:
        """The token that a piece of text begins with, without the space before it; None if it is empty."""
        if piece not in self._words:
            ids = self._model.encode(piece.strip() or piece)
            self._words[piece] = ids[0] if ids else None
        return self._words[piece]

    def _prompt(self, description: str) -> list[int]:
        return [*beginning(self._model), *self._model.encode(f'List of {description}: "')]

    @torch.no_grad()
    def _log_chances(self, description: str) -> Float[Tensor, " vocab"]:
        ids = torch.tensor([self._prompt(description)], device=self._model.device)
        logits: Tensor = self._model.model(ids, logits_to_keep=1).logits
        return logits[0, -1].float().log_softmax(-1).cpu()
