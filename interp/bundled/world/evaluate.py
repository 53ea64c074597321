"""Measuring the behaviours of a `world` model, from any Hugging Face folder."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel

from interp.bundled.world.behaviours import Behaviour, Item, behaviours
from interp.bundled.world.vocabulary import BOS_ID, vocabulary
from interp.errors import UserError
from interp.statistics.estimate import share_interval
from interp.subject.pretrained import read_tokenizer, read_weights
from interp.track.progress import Progress, silent

PROMPTS_PER_BATCH = 256


@dataclass(frozen=True)
class Measurement:
    """How often a behaviour's token was the likeliest, and the bound it must meet."""

    name: str
    count: int
    n: int
    at_least: float | None = None
    at_most: float | None = None

    @property
    def rate(self) -> float:
        """The share."""
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval of the share, as if the prompts were independent."""
        return share_interval(self.count, self.n)[1:]

    @property
    def holds(self) -> bool:
        """Whether the share (not its interval) meets the bound; true without one."""
        low = self.at_least is None or self.rate >= self.at_least
        return low and (self.at_most is None or self.rate <= self.at_most)

    def __str__(self) -> str:
        low, high = self.interval
        bound = f", at least {self.at_least}" if self.at_least is not None else ""
        bound += f", at most {self.at_most}" if self.at_most is not None else ""
        return f"{self.name}: {self.rate:.3f} [{low:.3f}, {high:.3f}] n={self.n}{bound}"


@dataclass(frozen=True)
class Evaluation:
    """All figures of one model."""

    figures: tuple[Measurement, ...]

    @property
    def broken(self) -> tuple[Measurement, ...]:
        """The figures that miss their bound."""
        return tuple(figure for figure in self.figures if not figure.holds)

    def table(self) -> pd.DataFrame:
        """A row a behaviour: its share with the interval, the prompts, the bounds, whether it holds."""
        return pd.DataFrame(
            {
                "behaviour": figure.name,
                "share": figure.rate,
                "low": figure.interval[0],
                "high": figure.interval[1],
                "prompts": figure.n,
                "at_least": figure.at_least,
                "at_most": figure.at_most,
                "holds": figure.holds,
            }
            for figure in self.figures
        )

    def __getitem__(self, name: str) -> Measurement:
        """The figure of a behaviour; `KeyError` if there is none of that name."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)


def evaluate(
    folder: Path, asked: Sequence[Behaviour] | None = None, progress: Progress | None = None
) -> Evaluation:
    """Measure behaviours (all of them by default) of the model in `folder`, in single precision.

    Every layer has full attention, whatever it had in training.

    Raises:
        UserError: the folder's tokenizer has another vocabulary than the world.
    """
    model = read_weights(folder, torch.float32, attention=None)
    tokenizer = read_tokenizer(folder)
    if tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))) != vocabulary():
        raise UserError(
            "the tokenizer does not have the world's vocabulary",
            str(folder),
            "use a folder made by train_world",
        )
    asked = list(behaviours()) if asked is None else asked
    total = sum(len(behaviour.items) for behaviour in asked)
    figures = []
    with (progress or silent()).task("measuring behaviours", total=total, unit="prompts") as advance:
        for behaviour in asked:
            figures.append(_figure(model, behaviour))
            advance(len(behaviour.items))
    return Evaluation(tuple(figures))


def _figure(model: PreTrainedModel, behaviour: Behaviour) -> Measurement:
    count = sum(
        guess == item.answer
        for items in _batches(behaviour.items)
        for guess, item in zip(_likeliest(model, items), items, strict=True)
    )
    return Measurement(behaviour.name, count, len(behaviour.items), behaviour.at_least, behaviour.at_most)


def _batches(items: Iterable[Item]) -> Iterable[Sequence[Item]]:
    """Items of equal prompt length together, so that nothing is padded."""
    by_length: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        by_length[len(item.prompt)].append(item)
    for same in by_length.values():
        for start in range(0, len(same), PROMPTS_PER_BATCH):
            yield same[start : start + PROMPTS_PER_BATCH]


@torch.inference_mode()
def _likeliest(model: PreTrainedModel, items: Sequence[Item]) -> list[int]:
    tokens = torch.tensor([[BOS_ID, *item.prompt] for item in items])
    guesses: list[int] = model(tokens, logits_to_keep=1).logits[:, -1].argmax(-1).tolist()
    return guesses
