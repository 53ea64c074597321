"""A judge in this process: how much likelier a language model finds the answer yes than no."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from interp.descriptions.candidate import Candidate, Shown
from interp.descriptions.local_model import LocalModel, beginning, logits_after
from interp.descriptions.prompt import load_prompt
from interp.llm.request import as_text
from interp.subject.precision import Dtype


class LocalJudge:
    """The `Judge` that reads p(yes) / (p(yes) + p(no)) after worked examples in plain text: for base models.

    All texts of a description are one batch after what their prompts have in common.
    """

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._prompts = {False: load_prompt("fits"), True: load_prompt("fits_marked")}

    @classmethod
    def load(cls, name: str | Path, device: str = "cpu", dtype: Dtype = "float32") -> "LocalJudge":
        """Opens a model; raises as `LocalModel.load`."""
        return cls(LocalModel.shared(name, device, dtype))

    @property
    def name(self) -> str:
        """The prompts with their versions, and the model."""
        return f"local judge {'+'.join(one.digest for one in self._prompts.values())}, {self._model.name}"

    async def rate(self, candidate: Candidate, shown: Sequence[Shown]) -> list[float | None]:
        """Rates each text; None for one that does not fit the model's context."""
        return chances_of_yes(self._model, [self._prompt_ids(candidate.text, one) for one in shown])

    def _prompt_ids(self, description: str, shown: Shown) -> list[int]:
        prompt = self._prompts[shown.marked is not None]
        text = as_text(prompt.messages(description=description, text=shown.line))
        return [*beginning(self._model), *self._model.encode(text)]


def chances_of_yes(model: LocalModel, rows: Sequence[Sequence[int]]) -> list[float | None]:
    """Reads p(yes) / (p(yes) + p(no)) after each row of token ids, in one batch after their common beginning.

    None for a row that does not fit the model's context.
    """
    answers = [model.encode(answer)[0] for answer in (" yes", " no")]
    fit = [place for place, row in enumerate(rows) if len(row) <= model.context]
    chances: list[float | None] = [None] * len(rows)
    if not fit:
        return chances
    heads = zip(*(rows[place][:-1] for place in fit), strict=False)
    common = sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, heads))
    rest = [rows[place][common:] for place in fit]
    logits = logits_after(model, rows[fit[0]][:common], rest, answers)
    for number, place in enumerate(fit):
        chances[place] = float(logits[number, len(rest[number]) - 1].softmax(-1)[0])
    return chances
