"""The steering vector of a preset of the bundled world."""

from interp.bundled.world.preset import Preset
from interp.subject.subject import Subject
from interp.vectors.contrastive import Pair, contrastive_vectors
from interp.vectors.vector import Vector


def preset_vector(subject: Subject, preset: Preset) -> Vector:
    """Computes the difference in means over the preset's pairs, to be added at the last token.

    Raises:
        UserError: the subject does not know the world's words, or lacks the layer.
    """
    pairs = [Pair(*(tuple(subject.encode(text)) for text in texts)) for texts in preset.pairs]
    (vector,) = contrastive_vectors(subject, pairs, preset.toward, layers=(preset.layer,))
    return vector.named(preset.toward)
