"""Generates text under steering, several concepts in one batch, measures it and scores it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from interp.causal.steering.concepts import WORLD, Concepts
from interp.causal.steering.prompts import SteeringPrompt
from interp.corpus.questions import begins_with
from interp.intervene.by_rows import ByRows
from interp.subject.forward import Intervention
from interp.subject.losses import token_losses
from interp.subject.subject import Subject

Tokens = Sequence[int]


def written(
    subject: Subject,
    prompts: Sequence[Tokens],
    interventions: Sequence[Sequence[Intervention]],
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[list[int]]:
    """Continues each prompt under its own interventions, all prompts in one batch.

    Neighbouring prompts that share one list of interventions (the same object) are one group. Row `i` is
    sampled with `seed + i`, so the same prompts in the same order get the same random numbers under any
    interventions.
    """
    groups: list[tuple[int, Sequence[Intervention]]] = []
    for edits in interventions:
        if groups and groups[-1][1] is edits:
            groups[-1] = (groups[-1][0] + 1, edits)
        else:
            groups.append((1, edits))
    tokens, mask = subject.pad(prompts)
    with subject.intervene(ByRows(groups)):
        return subject.generate_ids(tokens, mask, max_new_tokens, temperature, seed)


@torch.no_grad()
def cross_entropy(
    subject: Subject, prompts: Sequence[Tokens], texts: Sequence[Tokens], rows_per_batch: int = 128
) -> Float[np.ndarray, " text"]:
    """Nats per token of each text after its prompt; NaN for an empty text."""
    found = np.full(len(texts), np.nan)
    order = sorted(
        (place for place, text in enumerate(texts) if len(text)),
        key=lambda place: len(prompts[place]) + len(texts[place]),
    )
    for start in range(0, len(order), rows_per_batch):
        places = order[start : start + rows_per_batch]
        tokens, mask = subject.pad([[*prompts[place], *texts[place]] for place in places])
        normed = subject.normed(tokens, mask)
        longest = max(len(texts[place]) for place in places)  # padded on the left: texts end together
        nats = token_losses(subject, normed[:, -longest - 1 : -1], tokens[:, -longest:])
        for row, place in enumerate(places):
            found[place] = float(nats[row, longest - len(texts[place]) :].double().mean())
    return found


def measured_texts(
    subject: Subject,
    prompts: Sequence[SteeringPrompt],
    texts: Sequence[Tokens],
    concepts: Concepts = WORLD,
    **names: str | float | int,
) -> pd.DataFrame:
    """Makes a row for each text: `names` in every row, its prompt's columns, and raw measures.

    `share` is the share of its tokens that carry the concept it is steered to, `right` whether its first
    token is a right answer to the prompt (NaN if it has none), `cross_entropy` nats per token under the
    subject as it is, `repetition` the share of its bigrams that occurred earlier in it, `tokens` its length
    (the end of text not counted) and `text` its words.
    """
    shares = [
        float(concepts.carries(text, prompt.concept).mean()) if len(text) else 0.0
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    questions = [prompt.question for prompt in prompts]
    return pd.DataFrame(
        {
            **names,
            "concept": [prompt.concept for prompt in prompts],
            "group": [question.group for question in questions],
            "prompt": np.arange(len(prompts)),
            "choosing": [prompt.choosing for prompt in prompts],
            "share": shares,
            "right": [
                begins_with(text, question.answers) if question.answers else float("nan")
                for question, text in zip(questions, texts, strict=True)
            ],
            "cross_entropy": cross_entropy(subject, [question.prompt for question in questions], texts),
            "repetition": [repeated(text) for text in texts],
            "tokens": [len(text) for text in texts],
            "text": [subject.decode(text) for text in texts],
        }
    )


BEST = 2.0

Number = float | int


def scaled(
    value: Float[np.ndarray, "*text"], nothing: Number, everything: Number
) -> Float[np.ndarray, "*text"]:
    """2 (value - nothing) / (everything - nothing), kept within 0 and 2; NaN scores 0.

    `nothing` is the value that scores 0, `everything` the one that scores 2; either may be the larger. If
    they are equal, every score is NaN.
    """
    if everything == nothing:
        return np.full_like(value, np.nan)
    return np.nan_to_num(np.clip(BEST * (value - nothing) / (everything - nothing), 0.0, BEST))


def harmonic_mean(*scores: Float[np.ndarray, "*text"]) -> Float[np.ndarray, "*text"]:
    """The harmonic mean of each text's scores, 0 where one of them is 0 (AxBench, arXiv 2501.17148).

    NaN where a score is NaN.
    """
    stacked = np.stack(scores)
    with np.errstate(divide="ignore"):
        mean = len(scores) / (1 / stacked).sum(0)
    return np.where((stacked == 0).any(0), 0.0, mean)


def repeated(tokens: Sequence[int], n: int = 2) -> float:
    """The share of a text's n-grams that occurred earlier in it (1 - distinct-n); NaN without any."""
    grams = list(zip(*(tokens[start:] for start in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else float("nan")
