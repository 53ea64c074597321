"""What a model makes of two-hop questions, unchanged: the questions, their hops, and their shortcuts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool

from interp.lenses.answers import Answers
from interp.lenses.hops import HopQuestion
from interp.lenses.prompt import prompt_at
from interp.subject import Subject


def ask_hops(subject: Subject, questions: Sequence[HopQuestion], new_tokens: int = 0) -> pd.DataFrame:
    """A row for each question: whether it, its hops and a shortcut of it are answered rightly.

    A question has failed if it is not right though both hops are known, and no shortcut gives its answer.
    """

    def asked(texts: Sequence[str], words: Sequence[Sequence[str]]) -> Bool[np.ndarray, " text"]:
        prompts = [prompt_at(subject, text) for text in texts]
        return Answers.of(subject, words, new_tokens).right(subject, prompts)

    right = asked([q.text for q in questions], [q.answer for q in questions])
    first = asked([q.first for q in questions], [q.bridge for q in questions])
    second = asked([q.second for q in questions], [q.answer for q in questions])
    shortcut = np.zeros(len(questions), dtype=bool)
    shorter = [(place, text) for place, q in enumerate(questions) for text in q.shortcuts]
    if shorter:
        places, texts = zip(*shorter, strict=True)
        found = asked(texts, [questions[place].answer for place in places])
        np.logical_or.at(shortcut, list(places), found)
    known = first & second
    return pd.DataFrame(
        {
            "question": [q.text for q in questions],
            "group": [q.group for q in questions],
            "right": right,
            "first_hop": first,
            "second_hop": second,
            "known": known,
            "shortcut": shortcut,
            "failed": known & ~right & ~shortcut,
        }
    )
