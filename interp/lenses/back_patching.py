"""Back-patching: puts activations of later layers into earlier ones, with two kinds of controls.

The controls put in the activations of another question, or random vectors of the same norms.

Biran et al. 2024, "Hopping Too Late" (arXiv 2406.12775).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from interp.lenses.answers import Answers
from interp.lenses.hops import HopQuestion, others
from interp.lenses.layer_pairs import (
    Pair,
    PairSweep,
    all_pairs,
    random_vectors,
    report_sweep,
    sweep_pairs,
)
from interp.lenses.prompt import Prompt
from interp.lenses.residual_stream import EMBEDDING, read_stream
from interp.subject.subject import Subject

OTHER, RANDOM = "another question's", "random vectors"
Halves = tuple[list[int], list[int]]


@dataclass(frozen=True)
class BackPatched:
    """A sweep over pairs of layers, and its report with the controls (see `report_sweep`)."""

    own: PairSweep
    reported: pd.DataFrame


class BackPatching:
    """Questions whose activations are put into earlier layers at the same token.

    `layers` are those tried, from the embedding (-1) on; all by default.
    """

    def __init__(
        self,
        subject: Subject,
        questions: Sequence[HopQuestion],
        answers: Answers,
        seed: int,
        layers: Sequence[int] | None = None,
    ) -> None:
        self.subject, self.questions, self.answers, self.seed = subject, questions, answers, seed
        tried = range(EMBEDDING, subject.n_layers) if layers is None else sorted(set(layers))
        self.pairs = [pair for pair in all_pairs(tried) if pair[0] > pair[1]]

    def at(
        self,
        prompts: Sequence[Prompt],
        items: Sequence[int],
        halves: Halves,
        draws: int,
        advance: Callable[[], None] = lambda: None,
    ) -> BackPatched:
        """Sweeps `items` and `draws` of each control over all pairs; `halves` are indices into `items`."""
        own = self.swept(prompts, items, items)
        advance()
        controls: dict[str, list[PairSweep]] = {OTHER: [], RANDOM: []}
        for draw in range(draws):
            taken = others(self.questions, items, self.seed + draw)
            controls[OTHER].append(self.swept(prompts, items, taken))
            advance()
            controls[RANDOM].append(self.swept(prompts, items, items, self.seed + draw))
            advance()
        return BackPatched(own, report_sweep(own, controls, halves, self.seed))

    def swept(
        self,
        prompts: Sequence[Prompt],
        items: Sequence[int],
        sources: Sequence[int],
        random: int | None = None,
        pairs: Sequence[Pair] | None = None,
    ) -> PairSweep:
        """Sweeps `items` with activations of `sources`; with random ones of their norms by seed `random`."""
        vectors = read_stream(self.subject, [prompts[source] for source in sources])
        put_in = vectors if random is None else random_vectors(vectors, random)
        targets = [prompts[item] for item in items]
        return sweep_pairs(self.subject, put_in, targets, self.answers.of_items(items), pairs or self.pairs)
