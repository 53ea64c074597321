"""Tables of generated text: prompts in rows, methods of steering in columns."""

from collections.abc import Mapping, Sequence

import pandas as pd

from interp.causal.steering.concepts import Concepts
from interp.causal.steering.methods import DIFFERENCE, LATENT, NONE, RANDOM_LATENT
from interp.causal.steering.prompts import SteeringPrompt
from interp.render.marked import MarkedText
from interp.render.page import Column, Table
from interp.subject import Subject

PROMPTS = 4  # of each concept


def example_tables(
    subject: Subject,
    texts: pd.DataFrame,
    prompts: Sequence[SteeringPrompt],
    concepts: Sequence[str],
    chosen: Mapping[tuple[str, str], float],
    golden: float,
    known: Concepts,
) -> list[Table]:
    """Tabulates texts of the reporting half for each concept, and marks words that carry it."""
    tables = []
    first = texts[texts["draw"] == 0].set_index(["method", "factor", "prompt"])["text"]
    for concept in concepts:
        kept = [(NONE, 0.0), (LATENT, chosen[LATENT, concept]), (LATENT, golden)]
        kept += [(method, chosen[method, concept]) for method in (DIFFERENCE, RANDOM_LATENT)]
        shown = [p for p, prompt in enumerate(prompts) if prompt.concept == concept and not prompt.choosing]
        groups = list(dict.fromkeys(prompts[place].question.group for place in shown))
        places = [next(p for p in shown if prompts[p].question.group == group) for group in groups[:PROMPTS]]
        rows = [
            [
                _plain(subject, prompts[place].question.prompt),
                *(_marked(subject, first[method, factor, place], concept, known) for method, factor in kept),
            ]
            for place in places
        ]
        columns = [
            Column("prompt"),
            *(Column(method if method == NONE else f"{method}, {factor:g}x") for method, factor in kept),
        ]
        caption = f"{concept}: a prompt of each behaviour, reporting half; words that carry it are marked"
        tables.append(Table(concept, caption, columns, rows))
    return tables


def _plain(subject: Subject, tokens: Sequence[int]) -> MarkedText:
    strings = subject.token_strings(tokens)
    text = "".join(strings)
    words = text.split() if " " in text else strings  # the world's tokens are words, without spaces
    return MarkedText(words, [False] * len(words))


def _marked(subject: Subject, text: str, concept: str, known: Concepts) -> MarkedText:
    words = text.split()
    return MarkedText(words, [bool(known.carries(subject.encode(word), concept).any()) for word in words])
