"""Fine-tune a local model as an explainer or as a simulator, with LoRA or all weights."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interp.descriptions.explainers.local import LocalExplainer
from interp.descriptions.local_model import LocalModel, beginning, only_tokens
from interp.descriptions.simulators.alignment import project
from interp.descriptions.simulators.expected_value import prefix_of
from interp.distil.examples import CLASSES, ExplainerExample, SimulatorExample
from interp.errors import UserError
from interp.fields import Count, Extent, Positive, Section, Seed, Several, Steps, Text
from interp.subject.quiet import quiet

IGNORED = -100


class Tuning(Section):
    """How a student is trained."""

    steps: Steps = 600
    """Optimiser steps."""
    batch_size: Extent = 16
    """Examples in a step."""
    learning_rate: Positive = 1e-3
    """Step size at the start; it falls linearly to 0."""
    lora_rank: Count | None = None
    """The rank of LoRA's updates; all weights are trained if left out."""
    seed: Seed = 0
    """The order of examples."""


class ExplainerTuning(Tuning):
    """How an explainer is trained, and what it is to read and write."""

    system: Text = ""
    """An instruction before the excerpts; a fine-tuned model needs none."""
    max_new_tokens: Several = 112
    """Tokens of the longest description; longer ones are cut."""


def check_installed() -> None:
    """Raises UserError where the extra `distill` is missing."""
    missing = [name for name in ("trl", "peft") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} cannot be found", "distillation", "pip install 'interp[distill]'"
        )


def train_explainer(
    student: LocalModel,
    examples: Sequence[ExplainerExample],
    tuning: ExplainerTuning,
    folder: Path,
    log: Callable[[dict[str, float], int], None] | None = None,
) -> LocalModel:
    """Supervised fine-tuning (trl's SFTTrainer) on prompts and descriptions; loss on the description only.

    The student is trained on the token ids that `LocalExplainer` gives it later. Saved to `folder`.
    """
    writer = LocalExplainer(student, 0.0, tuning.max_new_tokens, tuning.system)
    end = student.tokenizer.eos_token_id
    rows = []
    for one in examples:
        tail = student.encode(f" {one.description}\n")[: tuning.max_new_tokens - 1]
        rows.append((writer.prompt_ids(one.prompt), tail + ([] if end is None else [int(end)])))
    saved = fine_tune(student, rows, tuning, folder, log)
    writer.save_format(folder)
    return saved


def fine_tune(
    student: LocalModel,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    tuning: Tuning,
    folder: Path,
    log: Callable[[dict[str, float], int], None] | None = None,
) -> LocalModel:
    """Supervised fine-tuning (trl's SFTTrainer) on token ids, with the loss on the second part of each row.

    The student's own weights are changed. Saved to `folder`.
    """
    check_installed()
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = [
        {"input_ids": [*head, *tail], "completion_mask": [0] * len(head) + [1] * len(tail)}
        for head, tail in rows
    ]
    arguments = SFTConfig(**arguments_of(folder, tuning), max_length=None, completion_only_loss=True)
    trainer = SFTTrainer(
        model=with_lora(student.model, tuning),
        args=arguments,
        train_dataset=Dataset.from_list(data),
        processing_class=student.tokenizer,
        callbacks=[_logging(log)] if log else [],
    )
    with quiet():
        trainer.train()
    return save(trainer.model, student, folder)


def train_simulator(
    student: LocalModel,
    examples: Sequence[SimulatorExample],
    tuning: Tuning,
    folder: Path,
    log: Callable[[dict[str, float], int], None] | None = None,
) -> LocalModel:
    """Trains the model to predict each token's class from the logits of the vocabulary's ids 0 to 10.

    The cross-entropy is over these eleven logits at the token's own position. A student's token gets the
    class of the subject's token whose characters it shares. Saved to `folder`.
    """
    from transformers import Trainer, TrainingArguments

    class ClassTrainer(Trainer):
        def compute_loss(
            self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **kwargs: Any
        ) -> Any:
            labels = inputs.pop("labels")
            with only_tokens(student.model, range(CLASSES)):
                logits = model(**inputs).logits
            loss = torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED
            )
            return (loss, logits) if return_outputs else loss

    rows = [_simulator_row(student, one) for one in examples]

    def collate(batch: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
        tokens, mask = student.pad([ids for ids, _ in batch], left=False)
        labels = torch.full(tokens.shape, IGNORED)
        for number, (_, classes) in enumerate(batch):
            labels[number, : len(classes)] = torch.tensor(classes)
        return {"input_ids": tokens.cpu(), "attention_mask": mask.cpu(), "labels": labels}

    arguments = TrainingArguments(**arguments_of(folder, tuning), remove_unused_columns=False)
    trainer = ClassTrainer(
        model=with_lora(student.model, tuning),
        args=arguments,
        train_dataset=rows,
        data_collator=collate,
        callbacks=[_logging(log)] if log else [],
    )
    trainer.train()
    return save(trainer.model, student, folder)


def _simulator_row(student: LocalModel, one: SimulatorExample) -> tuple[list[int], list[int]]:
    """Token ids and the class of each; what does not fit the context is cut off."""
    prefix = [*beginning(student), *student.encode(prefix_of(one.description))]
    ids, ends = student.encode_with_ends(one.text)
    source = np.array(one.ends, dtype=np.int64)
    classes = project(np.array(one.classes, dtype=np.float64), source, np.array(ends, dtype=np.int64))
    labels = [IGNORED if value < 0 else int(value) for value in classes.tolist()]
    room = int(student.model.config.max_position_embeddings)
    return [*prefix, *ids][:room], [*([IGNORED] * len(prefix)), *labels][:room]


def arguments_of(folder: Path, tuning: Tuning) -> dict[str, Any]:
    """The arguments that every trainer here takes; what it writes by itself goes below `folder`."""
    return {
        "output_dir": str(folder / ".training"), "max_steps": tuning.steps,
        "per_device_train_batch_size": tuning.batch_size, "learning_rate": tuning.learning_rate,
        "lr_scheduler_type": "linear", "warmup_steps": max(1, tuning.steps // 20), "seed": tuning.seed,
        "logging_steps": max(1, tuning.steps // 50), "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "use_cpu": not torch.cuda.is_available(), "bf16": False,
        "gradient_checkpointing": False, "dataloader_pin_memory": False,
    }  # fmt: skip


def with_lora(model: Any, tuning: Tuning) -> Any:
    """The model with LoRA's updates, or as it is where all weights are trained."""
    if tuning.lora_rank is None:
        return model
    check_installed()
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        model, LoraConfig(r=tuning.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
    )


def save(model: Any, student: LocalModel, folder: Path) -> LocalModel:
    """Merges LoRA's updates, and writes model and tokenizer as a Hugging Face folder."""
    merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    merged.save_pretrained(str(folder), safe_serialization=True)
    student.tokenizer.save_pretrained(str(folder))
    return LocalModel(merged.eval(), student.tokenizer, folder.name)


def _logging(log: Callable[[dict[str, float], int], None]) -> Any:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Listener(TrainerCallback):
        def on_log(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None,
            **kwargs: Any,
        ) -> None:  # fmt: skip
            if logs and "loss" in logs:
                log({"loss": float(logs["loss"])}, int(state.global_step))

    return Listener()
