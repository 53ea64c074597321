"""Attribute extraction: what a patchscope gets out of an entity's activation, against a logistic probe.

Ghandeharioun et al. 2024 (arXiv 2401.06102), section 4.2: the activation of a subject in a sentence that
does not ask for the attribute takes the place of a placeholder in one that does.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.lenses.answers import Answers
from interp.lenses.prompt import Prompt, check_ordinary, placeholder_at, prompt_at
from interp.lenses.relations import Relation, filled
from interp.lenses.stream import Vectors
from interp.subject.subject import Subject

LEAST_TRAINED = 2  # classes of a probe


def source_prompts(subject: Subject, relation: Relation, template: str) -> list[Prompt]:
    """Each subject of a relation in a sentence that does not ask for it; {} in the template is its place.

    Raises:
        UserError: a token reaches over the subject's end, or stands on a special token.
    """
    found = [prompt_at(subject, filled(template, name), name) for name, _ in relation.samples]
    for prompt in found:
        check_ordinary(subject, prompt)
    return found


def target_prompt(subject: Subject, relation: Relation, placeholder: str) -> Prompt:
    """The relation asked of a placeholder, and where that stands; UserError as `placeholder_at`."""
    return placeholder_at(subject, relation.ask(placeholder), placeholder)


def known(subject: Subject, relation: Relation, answers: Answers) -> Bool[np.ndarray, " sample"]:
    """Which samples the subject answers rightly when it is asked outright."""
    return answers.right(subject, [prompt_at(subject, relation.ask(name)) for name, _ in relation.samples])


def probe_accuracy(
    vectors: Vectors, labels: Sequence[str], train: Sequence[int], test: Sequence[int], seed: int = 0
) -> pd.DataFrame:
    """A logistic probe of every layer: layer, right (share of `test`), n, and seen, of which it could be
    right.

    A probe knows no object that none of its training samples has: such test samples count as wrong. Empty
    where the training samples have fewer than two objects.
    """
    wanted = np.array(labels)
    if len(set(wanted[list(train)])) < LEAST_TRAINED:
        return pd.DataFrame(columns=["layer", "right", "n", "seen"])
    seen = int(np.isin(wanted[list(test)], wanted[list(train)]).sum())
    rows = []
    for layer, own in vectors.items():
        activations = own.double().numpy()
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))
        with warnings.catch_warnings():
            # scikit-learn takes many classes of few samples for a regression problem
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            probe.fit(activations[list(train)], wanted[list(train)])
        right = int((probe.predict(activations[list(test)]) == wanted[list(test)]).sum())
        rows.append((layer, right, len(test), seen))
    return pd.DataFrame(rows, columns=["layer", "right", "n", "seen"])
