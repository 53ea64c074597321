"""Vectors that steer Gemma 3 270M, beside random ones: layer and strength were chosen on other prompts."""

from pathlib import Path

import pytest

import interp
from interp.subject import Subject
from interp.vectors.contrast import read_contrast
from interp.vectors.control import random_like
from interp.vectors.sweep import answered

BEHAVIOURS = Path(interp.__file__).parent / "data" / "behaviours"
ASKED = 12  # of the questions to report on


@pytest.mark.parametrize(("behaviour", "most", "least"), [("negative", 0.65, 0.75), ("french", 0.1, 0.8)])
def test_a_contrastive_vector_steers_where_random_ones_do_not(
    gemma: Subject, behaviour: str, most: float, least: float
) -> None:
    contrast = read_contrast(BEHAVIOURS / f"{behaviour}.jsonl", gemma)
    (vector,) = interp.contrastive_vectors(gemma, contrast.pairs, behaviour, layers=[12])

    def right(*vectors: interp.Vector) -> float:
        edits = [one.intervention(gemma, 2, positions="all") for one in vectors]
        return float(answered(gemma, contrast.report[:ASKED], edits)["right"].mean())

    assert right() <= most and right(vector) >= least
    assert right(random_like(vector, 0)) <= least - 0.1
