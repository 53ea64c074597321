"""Two-hop questions: where the bridge can be read, which attention is needed, and back-patching."""

from pydantic import Field

from interp.errors import UserError
from interp.fields import Count, CountOrZero, FilePath, Flag, LayerOrEmbedding, NonEmpty
from interp.lenses.hops import HopSource, WorldHops
from interp.lenses.lens_file import check_lens

from ..common.config import SubjectJobConfig, check_layers, check_subject


class Config(SubjectJobConfig):
    """Which questions are asked, and how answers are judged."""

    questions: HopSource = WorldHops()
    """Two-hop questions."""
    answer_tokens: CountOrZero = 0
    """Generated tokens searched for the answer (the paper: 10); 0: the next token must begin it."""
    window: CountOrZero = 1
    """Attention is blocked in layers up to this far from a centre layer (3 in the paper)."""
    most: Count = Field(200, ge=4)
    """Most rightly answered questions used, for knockout and for what back-patching breaks."""
    back_patching: Flag = True
    """Whether failed questions are back-patched, which needs at least four of them."""
    layers: NonEmpty[LayerOrEmbedding] | None = None
    """Layers between which back-patching is tried; the embedding (-1) and all if left out."""
    draws: Count = 3
    """Number of other questions, and of random vectors, per question as controls of back-patching."""
    tuned_lens: FilePath | None = None
    """The file of a tuned or Jacobian lens to read through, written by `logit_lens`; else the logit lens."""
    check_model: Flag = True
    """Whether the lens must be trained on a model of the same name; false for a renamed copy."""


def check(config: Config) -> None:
    """Raises UserError for a missing model or file, before anything is written."""
    info = check_subject(config)
    config.questions.check(info, "questions")
    check_layers(config.layers, info.n_layers - 1)
    if config.layers and len(set(config.layers)) < 2:
        raise UserError("one layer makes no pair", "layers", "name two or more")
    check_lens(config.tuned_lens)
