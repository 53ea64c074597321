"""Asks what distinguishes excerpts on which a feature fires from similar ones on which it is silent."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from interp.descriptions.excerpt import Excerpt, TextEvidence
from interp.descriptions.explainers.prompted import FROM_TOP, Prompted, marked, numbered_lines, sampled_lines
from interp.descriptions.prompt import PromptTemplate, load_prompt
from interp.llm.request import Message

ACTIVE = (6, 10)
SILENT = 6


class ContrastivePrompted(Prompted):
    """`Prompted`, with hard negatives: the silent excerpts whose words are most similar to the exemplars'."""

    def prompt(self) -> PromptTemplate:
        """The instructions."""
        return load_prompt("contrast")

    def silent(self, evidence: TextEvidence) -> list[str]:
        """Returns the lines of the silent excerpts that are most similar to the exemplars."""
        chosen = likest(evidence.silent, evidence.exemplars[:FROM_TOP], 2 * SILENT)
        return marked(chosen, float("inf"))

    def messages(
        self, active_lines: Sequence[str], silent_lines: Sequence[str], rng: np.random.Generator
    ) -> tuple[Message, ...]:
        """Builds the prompt of one sample."""
        chosen = sampled_lines(active_lines, *ACTIVE, rng)
        silent = sampled_lines(silent_lines, SILENT, SILENT, rng)
        return self._prompt.messages(
            self._few_shot,
            excerpts=numbered_lines(chosen),
            silent=numbered_lines(silent, first=len(chosen) + 1) or "(none)",
        )


def likest(silent: Sequence[Excerpt], exemplars: Sequence[Excerpt], n: int) -> list[Excerpt]:
    """Returns the `n` silent excerpts most similar to an exemplar by cosine of TF-IDF word vectors."""
    if len(silent) <= n or not any(one.text.strip() for one in (*silent, *exemplars)):
        return list(silent[:n])
    vectorizer = TfidfVectorizer(token_pattern=r"\S+")
    table: csr_matrix = vectorizer.fit_transform([one.text for one in (*silent, *exemplars)])
    likeness = (table[: len(silent)] @ table[len(silent) :].T).toarray().max(axis=1)
    return [silent[place] for place in np.argsort(-likeness, kind="stable")[:n]]
