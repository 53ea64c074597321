"""Direct preference optimisation of a policy on pairs of prompts for one reply."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from interp.descriptions.local_model import LocalModel
from interp.distil.train import Tuning, arguments_of, check_installed, save, with_lora
from interp.subject.quiet import quiet

Number = float | int


class Preference(NamedTuple):
    """Token ids: what comes before, and of two continuations the better and the worse."""

    head: list[int]
    chosen: list[int]
    rejected: list[int]


def prefer(
    student: LocalModel,
    reference: LocalModel,
    preferences: Sequence[Preference],
    tuning: Tuning,
    beta: Number,
    folder: Path,
) -> LocalModel:
    """DPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 7) by trl's DPOTrainer, on token ids.

    The trainer would tokenise texts itself, otherwise than the policy is asked later: it is given ids. The
    student's own weights are changed, and saved to `folder`.
    """
    check_installed()
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class OnIds(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    rows = [
        {"prompt_ids": one.head, "chosen_ids": one.chosen, "rejected_ids": one.rejected}
        for one in preferences
    ]
    trainer = OnIds(
        model=with_lora(student.model, tuning),
        ref_model=reference.model,
        args=DPOConfig(**arguments_of(folder, tuning), max_length=None, beta=float(beta)),
        train_dataset=Dataset.from_list(rows),
        processing_class=student.tokenizer,
    )
    with quiet():
        trainer.train()
    return save(trainer.model, student, folder)
