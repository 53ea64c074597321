"""Fine-tuning sets on disk: OpenAI's chat JSON lines, and Hugging Face datasets, train and held-out apart."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.descriptions.explainers.local import ANSWER, SYSTEM
from interp.descriptions.prompt import load_prompt
from interp.distil.examples import ExplainerExample, SimulatorExample, is_held_out
from interp.json_text import to_json
from interp.lines import json_lines
from interp.track.files import write_text

if TYPE_CHECKING:
    from datasets import DatasetDict


def write_sets(
    folder: Path,
    explainer: Sequence[ExplainerExample],
    simulator: Sequence[SimulatorExample],
    share: float,
    seed: int,
) -> dict[str, int]:
    """Write FOLDER/{explainer,simulator}/{train,held_out}.jsonl and FOLDER/{explainer,simulator}/dataset.

    Features are split by their name (`is_held_out`). Returns the number of examples of each file.
    """
    counts = {}
    for name, examples, as_chat in (
        ("explainer", explainer, _explainer_chat), ("simulator", simulator, _simulator_chat)
    ):  # fmt: skip
        parts: dict[str, list[Any]] = {"train": [], "held_out": []}
        for one in examples:
            parts["held_out" if is_held_out(one.feature, share, seed) else "train"].append(one)
        for part, of in parts.items():
            lines = [to_json(as_chat(one), ensure_ascii=False) + "\n" for one in of]
            write_text(folder / name / f"{part}.jsonl", "".join(lines))
            counts[f"{name}/{part}"] = len(of)
        as_dataset(parts).save_to_disk(str(folder / name / "dataset"))
    return counts


def explainer_set(folder: Path) -> list[ExplainerExample]:
    """Reads what `write_sets` wrote for training an explainer; the features' names are left out.

    Raises:
        UserError: the file is missing or damaged.
    """
    turns = [
        row["messages"] for row, _ in json_lines(folder / "explainer" / "train.jsonl", "write the sets again")
    ]
    return [
        ExplainerExample("", asked["content"], told["content"].removeprefix(f"{ANSWER} "))
        for _, asked, told in turns
    ]


def simulator_set(folder: Path) -> list[SimulatorExample]:
    """Reads what `write_sets` wrote for training a simulator; raises as `explainer_set`."""
    from datasets import load_from_disk

    rows = load_from_disk(str(folder / "simulator" / "dataset"))["train"]
    return [
        SimulatorExample(**{**row, "ends": tuple(row["ends"]), "classes": tuple(row["classes"])})
        for row in rows
    ]


def as_dataset(parts: dict[str, list[Any]]) -> "DatasetDict":
    """Makes a Hugging Face dataset; explainers' examples have the columns `prompt` and `completion`."""
    from datasets import Dataset, DatasetDict

    return DatasetDict(
        {name: Dataset.from_list([_row(one) for one in of]) for name, of in parts.items() if of}
    )


def _row(one: ExplainerExample | SimulatorExample) -> dict[str, Any]:
    if isinstance(one, SimulatorExample):
        return asdict(one)
    return {"feature": one.feature, "prompt": one.prompt, "completion": f" {one.description}"}


def _explainer_chat(one: ExplainerExample) -> dict[str, Any]:
    """The example as a conversation whose last turn is the description."""
    turns = (("system", SYSTEM), ("user", one.prompt), ("assistant", f"{ANSWER} {one.description}"))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _simulator_chat(one: SimulatorExample) -> dict[str, Any]:
    """The example as a question of the structured simulator, answered by the classes."""
    starts = (0, *one.ends[:-1])
    pieces = [one.text[start:end] for start, end in zip(starts, one.ends, strict=True)]
    excerpt = f"Excerpt 1 ({len(pieces)} tokens): {to_json(pieces, ensure_ascii=False)}"
    messages = load_prompt("simulate").messages(False, description=one.description, excerpts=excerpt)
    answer = to_json({"activations": [[max(0, value) for value in one.classes]]})
    return {
        "messages": [*(asdict(message) for message in messages), {"role": "assistant", "content": answer}]
    }
