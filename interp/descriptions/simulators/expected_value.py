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
from jaxtyping import Float, Int
from torch import Tensor

from interp.descriptions.candidate import Candidate, Simulated
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.local_model import LocalModel, beginning, only_tokens
from interp.descriptions.simulators.alignment import project
from interp.errors import UserError
from interp.subject.load import Dtype

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
    def load(cls, folder: Path, device: str = "cpu", dtype: Dtype = "float32") -> "ExpectedValueSimulator":
        """Open a folder; raises as `LocalModel.load`."""
        return cls(LocalModel.load(folder, device, dtype))

    @property
    def name(self) -> str:
        """The model's folder, and how it is read."""
        return f"expected_value {self._reading}, {self._model.name}"

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predicts activations for each excerpt; None for one that does not fit the model's context."""
        prefix = [*beginning(self._model), *self._model.encode(prefix_of(candidate.text))]
        room = int(self._model.model.config.max_position_embeddings) - len(prefix)
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
        tokens, mask = self._model.pad(rows, left=False)
        of = self._after_cache if self._cached else self._whole
        with only_tokens(self._model.model, self._classes):
            chances = of(prefix, tokens, mask).float().softmax(-1)
        steps = torch.arange(CLASSES, dtype=torch.float32, device=chances.device)
        values = (chances @ steps).cpu().double().numpy()
        return [row[: len(ids)] for row, ids in zip(values, rows, strict=True)]

    def _after_cache(
        self, prefix: Sequence[int], tokens: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"]
    ) -> Float[Tensor, "row pos 11"]:
        model = self._model.model
        head = torch.tensor([list(prefix)], device=tokens.device)
        cache = model(head, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(tokens))
        whole = torch.cat([mask.new_ones(len(tokens), len(prefix)), mask], 1)
        logits: Tensor = model(tokens, attention_mask=whole, past_key_values=cache, use_cache=True).logits
        return logits

    def _whole(
        self, prefix: Sequence[int], tokens: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"]
    ) -> Float[Tensor, "row pos 11"]:
        head = torch.tensor([list(prefix)], device=tokens.device).expand(len(tokens), -1)
        whole = torch.cat([torch.ones_like(head), mask], 1)
        logits: Tensor = self._model.model(torch.cat([head, tokens], 1), attention_mask=whole).logits
        return logits[:, len(prefix) :]


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
