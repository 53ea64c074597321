"""Reference points of the scores: genuine documents of a concept, unsteered text, and shuffled text."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from interp.causal.selection import concept_number
from interp.causal.steering.choose import SCORES
from interp.causal.steering.concepts import WORLD, Concepts
from interp.causal.steering.prompts import SteeringPrompt
from interp.causal.steering.texts import BEST, cross_entropy, harmonic_mean, scaled
from interp.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.subject.subject import Subject


def genuine_shares(
    corpus: Corpus,
    concepts: Sequence[str],
    split: Split = "report",
    documents: int = 4000,
    known: Concepts = WORLD,
) -> dict[str, float]:
    """Computes, for each concept, the share of tokens that carry it where a document is about it.

    A passage is about a concept where the label also holds on tokens that do not carry the concept
    themselves: from its announcement to its end. For a concept without such passages, it is the share in
    documents with the concept. A mean over documents of one split, among the first `documents`; template
    tokens do not count.

    Raises:
        UserError: the corpus has no such label, no word carries it, or no document of the split does.
    """
    bits = {concept: np.uint64(1 << concept_number(corpus, concept)) for concept in concepts}
    about: dict[str, list[float]] = {concept: [] for concept in concepts}
    mentions: dict[str, list[float]] = {concept: [] for concept in concepts}
    for index in range(min(len(corpus), documents)):
        document = corpus[index]
        if document.labels is None or split_of(document.hash) != split:
            continue
        counts = ~document.template if document.template is not None else np.ones(len(document.tokens), bool)
        present = np.bitwise_or.reduce(document.labels)
        for concept, mask in bits.items():
            if not present & mask:
                continue
            own, held = known.carries(document.tokens.tolist(), concept), document.labels & mask != 0
            if (held & ~own & counts).any():
                about[concept].append(float(own[held & counts].mean()))
            elif counts.any():
                mentions[concept].append(float(own[counts].mean()))
    found = {concept: about[concept] or mentions[concept] for concept in concepts}
    for concept, values in found.items():
        if not values:
            raise UserError(f"no document of the {split} split carries {concept!r}", corpus.name, "give more")
    return {concept: float(np.mean(values)) for concept, values in found.items()}


def fluency_references(
    subject: Subject, prompts: Sequence[SteeringPrompt], texts: Sequence[Sequence[int]], seed: int
) -> dict[str, tuple[float, float]]:
    """For each group of questions, nats per token of unsteered texts, and of these with tokens shuffled."""
    rng = np.random.default_rng(seed)
    asked = [prompt.question.prompt for prompt in prompts]
    shuffled = [rng.permutation(text).tolist() if len(text) else [] for text in texts]
    table = pd.DataFrame(
        {
            "group": [prompt.question.group for prompt in prompts],
            "clean": cross_entropy(subject, asked, texts),
            "shuffled": cross_entropy(subject, asked, shuffled),
        }
    )
    means = table.groupby("group", sort=False).mean().to_dict("index")
    return {str(group): (float(row["clean"]), float(row["shuffled"])) for group, row in means.items()}


def scored(
    texts: pd.DataFrame,
    unsteered: Mapping[str, float],
    genuine: Mapping[str, float],
    fluency: Mapping[str, tuple[float, float]],
) -> pd.DataFrame:
    """Scores the texts of `measured` from 0 to 2, each on its own as in AxBench.

    - concept: 0 at the share of tokens that carry the concept in unsteered text, 2 at that of genuine
      documents, linear in between;
    - instruction: 2 if the first token is a right answer to the prompt, else 0; NaN without right answers;
    - fluency: 2 at the nats per token of unsteered text after prompts of the same group, 0 at those of such
      text with its tokens in random order, linear in between; 0 for an empty text;
    - harmonic: the harmonic mean of the three, 0 if one of them is 0; of the others without instruction.
    """
    frame = texts.copy()
    frame["concept_score"] = 0.0
    frame["fluency_score"] = 0.0
    for concept, rows in frame.groupby("concept").groups.items():
        share = frame.loc[rows, "share"].to_numpy(dtype=float)
        frame.loc[rows, "concept_score"] = scaled(share, unsteered[str(concept)], genuine[str(concept)])
    for group, rows in frame.groupby("group").groups.items():
        clean, shuffled = fluency[str(group)]
        nats = frame.loc[rows, "cross_entropy"].to_numpy(dtype=float)
        frame.loc[rows, "fluency_score"] = scaled(nats, shuffled, clean)
    frame["instruction_score"] = BEST * frame["right"].astype(float)
    known = [name for name in SCORES[:3] if frame[name].notna().any()]
    frame["harmonic"] = harmonic_mean(*(frame[name].to_numpy(dtype=float) for name in known))
    return frame
