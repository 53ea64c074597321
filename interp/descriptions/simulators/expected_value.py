"""Expected activations from the logits of a language model in this process.

The format of the published simulator (Choi et al. 2024, Transluce): the description, then the text, and at
each token of the text a distribution over the classes 0 to 10, of which the expected value is taken. All
excerpts of a feature are one batch after a prefix that is computed once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.descriptions.candidate import Candidate, Simulated
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.local_model import LocalModel, beginning, logits_after, only_tokens
from interp.descriptions.simulators.alignment import project
from interp.errors import UserError
from interp.subject.precision import Dtype

CLASSES = 11
Reading = Literal["ids", "digits"]


def prefix_of(description: str) -> str:
    """Returns the prompt before the text."""
    return f"## Neuron Description: {description}\n\n ## Input: "


class ExpectedValueSimulator:
    """The `Simulator` that reads a local model's logits.

    `reading` says which tokens are the classes: `ids`, the vocabulary's ids 0 to 10 as labels (a model
    that was fine-tuned for it), or `digits`, the tokens that read "0" to "10". The simulator's tokenizer need
    not be the subject's: values are carried over by characters.

    Raises:
        UserError: with `digits`, one of the numbers is not one token of the vocabulary.
    """

    def __init__(self, model: LocalModel, reading: Reading = "ids", cached: bool = True) -> None:
        self._model = model
        self._cached = cached
        self._reading = reading
        self._classes = _class_ids(model, reading)

    @classmethod
    def load(
        cls, name: str | Path, device: str = "cpu", dtype: Dtype = "float32"
    ) -> "ExpectedValueSimulator":
        """Opens a model; raises as `LocalModel.load`."""
        return cls(LocalModel.shared(name, device, dtype))

    @property
    def name(self) -> str:
        """How it is read, and the model."""
        return f"expected_value {self._reading}, {self._model.name}"

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predicts activations for each excerpt; None for one that does not fit the model's context."""
        prefix = [*beginning(self._model), *self._model.encode(prefix_of(candidate.text))]
        room = self._model.context - len(prefix)
        cut = [self._model.encode_with_ends(one.text) for one in excerpts]
        fits = [place for place, (ids, _) in enumerate(cut) if 0 < len(ids) <= room]
        values: list[np.ndarray | None] = [
            np.zeros(len(one.pieces)) if not ids else None
            for one, (ids, _) in zip(excerpts, cut, strict=True)
        ]
        if fits:
            read = self.expected(prefix, [cut[place][0] for place in fits])
            for place, found in zip(fits, read, strict=True):
                ends = np.array(cut[place][1], dtype=np.int64)
                values[place] = project(found, ends, excerpts[place].ends)
        return Simulated(tuple(values))

    @torch.no_grad()
    def expected(self, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> list[Float[np.ndarray, " _"]]:
        """Returns the expected value at each token of each row, after the same prefix."""
        of = logits_after if self._cached else _logits_whole
        chances = of(self._model, prefix, rows, self._classes).softmax(-1)
        steps = torch.arange(CLASSES, dtype=torch.float32, device=chances.device)
        values = (chances @ steps).cpu().double().numpy()
        return [row[: len(ids)] for row, ids in zip(values, rows, strict=True)]


def _logits_whole(
    model: LocalModel, prefix: Sequence[int], rows: Sequence[Sequence[int]], ids: Sequence[int]
) -> Float[Tensor, "row pos 11"]:
    tokens, mask = model.pad([[*prefix, *row] for row in rows], left=False)
    with only_tokens(model.model, ids):
        logits: Tensor = model.model(tokens, attention_mask=mask).logits
    return logits[:, len(prefix) :].float()


def _class_ids(model: LocalModel, reading: Reading) -> list[int]:
    if reading == "ids":
        return list(range(CLASSES))
    found = [model.encode(str(number)) for number in range(CLASSES)]
    for number, ids in enumerate(found):
        if len(ids) != 1:
            raise UserError(
                f"{number} is not one token of the simulator",
                model.name,
                "use reading='ids', or another model",
            )
    return [ids[0] for ids in found]
