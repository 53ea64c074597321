"""Measuring a `pydoc` model, from its folder, on text it was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap
from transformers import PreTrainedModel

from interp.bundled.pydoc.baselines import ORDERS, NGrams, compressed_bits
from interp.bundled.pydoc.scoring import Predictions, predict
from interp.bundled.pydoc.texts import PydocText, pydoc_texts
from interp.bundled.pydoc.tokenizer import BOS_ID, PAD_ID
from interp.statistics.estimate import Estimate, share_interval
from interp.subject.pretrained import read_tokenizer, read_weights
from interp.track.progress import Progress

TRAINING_SAMPLE = 600
PROMPTS, PROMPT_TOKENS, CONTINUATION = 200, 32, 64
REPEATED = 40
"""Random tokens that are shown twice."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Measurement:
    """A measured value, with its 95% interval where it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """All figures of one model, on how much held-out text they were measured, and the tokens of the rest."""

    figures: tuple[Measurement, ...]
    training_tokens: int
    documents: int
    sources: int
    tokens: int
    bytes: int

    def __getitem__(self, name: str) -> Measurement:
        """The figure of that name; `KeyError` if there is none."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)

    def metrics(self) -> dict[str, float]:
        """The values by name, as a run logs them."""
        return {f"pydoc/{figure.name}".replace(" ", "_"): figure.value for figure in self.figures}

    def table(self) -> pd.DataFrame:
        """The figures as a table."""
        return pd.DataFrame([vars(figure) for figure in self.figures])


def load_folder(folder: Path) -> tuple[PreTrainedModel, Callable[[Sequence[str]], list[list[int]]]]:
    """The model in single precision, and its tokenizer as a function from texts to token ids."""
    model = read_weights(folder, torch.float32, attention=None)
    tokenizer = read_tokenizer(folder)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return found

    return model, encode


def evaluate(folder: Path, progress: Progress | None = None) -> Evaluation:
    """Measures bits per byte and accuracy on all held-out documents, baselines, induction and loops."""
    model, encode = load_folder(folder)
    held_out, training = pydoc_texts("held_out"), pydoc_texts("training")
    asked, taught = (encode([document.text for document in part]) for part in (held_out, training))
    found = predict(model, asked, progress)
    figures = list(document_figures("model", held_out, found))
    for kind in ("topic", "module"):
        chosen = np.array([document.kind == kind for document in held_out])
        figures += document_figures(f"model on {kind}s", held_out, found, chosen)
    sample = np.random.default_rng(0).choice(
        len(training), min(TRAINING_SAMPLE, len(training)), replace=False
    )
    remembered = predict(model, [taught[index] for index in sample], progress)
    figures += document_figures("model on training text", [training[i] for i in sample], remembered)
    for name, order in ORDERS.items():
        baseline = NGrams(taught, model.config.vocab_size, order).predict(asked)
        figures += document_figures(name, held_out, baseline)
    figures.append(_difference("model minus trigram", held_out, found, baseline))
    joined = {
        part: "\0".join(document.text for document in pydoc_texts(part)) for part in ("held_out", "training")
    }
    sizes = compressed_bits(joined["held_out"].encode(), joined["training"].encode())
    figures += [Measurement(f"{name}/bits_per_byte", value) for name, value in sizes.items()]
    figures += [induction(model), loops(model, asked)]
    n_bytes = sum(len(document.text.encode()) for document in held_out)
    n_sources = len({document.source for document in held_out})
    return Evaluation(
        tuple(figures),
        training_tokens=sum(map(len, taught)),
        documents=len(held_out),
        sources=n_sources,
        tokens=int(found.tokens.sum()),
        bytes=n_bytes,
    )


def document_figures(
    name: str,
    documents: Sequence[PydocText],
    found: Predictions,
    chosen: NDArray[np.bool_] | None = None,
) -> tuple[Measurement, Measurement]:
    """Bits per byte and next-token accuracy over documents (those `chosen`), with their intervals."""
    every = np.ones(len(documents), dtype=bool) if chosen is None else chosen
    size = np.array([len(document.text.encode()) for document in documents])
    unit = np.array([document.source for document in documents])[every]
    return (
        Measurement(f"{name}/bits_per_byte", *_ratio(found.bits[every], size[every], unit)),
        Measurement(f"{name}/accuracy", *_ratio(found.right[every], found.tokens[every], unit)),
    )


def _difference(
    name: str, documents: Sequence[PydocText], one: Predictions, other: Predictions
) -> Measurement:
    size = np.array([len(document.text.encode()) for document in documents])
    unit = np.array([document.source for document in documents])
    return Measurement(f"{name}/bits_per_byte", *_ratio(one.bits - other.bits, size, unit))


def _ratio(above: NDArray[np.number], below: NDArray[np.number], unit: NDArray[np.str_]) -> Estimate:
    """The ratio of two sums, and its 95% percentile bootstrap interval over whole modules and topics."""
    _, group = np.unique(unit, return_inverse=True)
    sums = [np.bincount(group, values.astype(float)) for values in (above, below)]
    whole = float(sums[0].sum() / sums[1].sum())
    if len(sums[0]) < 2:
        return Estimate(whole)

    def ratio(a: NDArray[np.float64], b: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.asarray(a.sum(axis) / b.sum(axis))

    found = bootstrap(sums, ratio, paired=True, n_resamples=RESAMPLES, method="percentile", rng=0, batch=500)
    return Estimate(whole, float(found.confidence_interval.low), float(found.confidence_interval.high))


@torch.inference_mode()
def induction(model: PreTrainedModel, n: int = 100) -> Measurement:
    """The accuracy on the second showing of a sequence of random tokens."""
    first = torch.randint(
        2, model.config.vocab_size, (n, REPEATED), generator=torch.Generator().manual_seed(0)
    )
    rows = torch.cat([torch.full((n, 1), BOS_ID), first, first], dim=1)
    guesses = model(rows[:, :-1]).logits[:, REPEATED + 1 :].argmax(-1)
    right = int((guesses == rows[:, REPEATED + 2 :]).sum())
    return Measurement("repeated random tokens/accuracy", *share_interval(right, guesses.numel()))


@torch.inference_mode()
def loops(model: PreTrainedModel, documents: Sequence[Sequence[int]]) -> Measurement:
    """The share of greedy continuations of held-out documents that end in a loop of a few tokens."""
    long = [list(tokens[:PROMPT_TOKENS]) for tokens in documents if len(tokens) > PROMPT_TOKENS]
    picks = np.random.default_rng(0).choice(len(long), min(PROMPTS, len(long)), replace=False)
    prompts = torch.tensor([[BOS_ID, *long[index]] for index in picks])
    written = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=CONTINUATION,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=PAD_ID,
    )[:, prompts.shape[1] :]
    looping = sum(loops_at_the_end(row) for row in written.tolist())
    return Measurement("greedy text that loops/share", *share_interval(looping, len(written)))


def loops_at_the_end(tokens: Sequence[int]) -> bool:
    """Whether the tokens end in three repetitions of the same one to sixteen tokens."""
    last = list(tokens)
    return any(last[-3 * n :] == last[-n:] * 3 for n in range(1, 17) if len(last) >= 3 * n)
