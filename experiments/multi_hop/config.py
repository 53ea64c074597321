"""Two-hop questions: where the bridge becomes readable, what attention it needs, and back-patching."""

from pydantic import Field

from interp.fields import Count, CountOrZero, FilePath, Flag
from interp.lenses.hops import HopSource, WorldHops
from interp.lenses.tuned_lens import check_lens

from ..common.config import SubjectJobConfig, check_subject


class Config(SubjectJobConfig):
    """Which questions, and how they are judged."""

    questions: HopSource = WorldHops()
    """Two-hop questions."""
    answer_tokens: CountOrZero = 0
    """Tokens in which an answer is looked for (the paper writes 10); 0: the next token must begin it."""
    window: CountOrZero = 1
    """Attention is blocked in layers no further than this from a centre (3 in the paper)."""
    most: Count = Field(200, ge=4)
    """At most so many questions that are answered rightly, for knockout and for what back-patching breaks."""
    back_patching: Flag = True
    """Whether failed questions are back-patched, which takes four of them or more."""
    draws: Count = 3
    """Other questions and random vectors drawn for each question, as controls of back-patching."""
    tuned_lens: FilePath | None = None
    """A tuned lens to read through, as `logit_lens` writes it; the logit lens without."""
    check_model: Flag = True
    """Whether the tuned lens must be of a model of the subject's name; false for a renamed copy."""


def check(config: Config) -> None:
    """Finds a missing model or file before anything is written."""
    config.questions.check(check_subject(config), "questions")
    check_lens(config.tuned_lens)
