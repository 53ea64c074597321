"""A behaviour: what a model is asked, what it replies, and a judge that says whether the behaviour shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable


@dataclass(frozen=True)
class Exchange:
    """One prompt and one reply.

    `prompt` is what was asked, `reply` what the model wrote. `asked` are all token ids before the reply (a
    chat template and a beginning-of-sequence token included), `written` those of the reply, without a token
    that ended it.
    """

    prompt: str
    reply: str
    asked: tuple[int, ...] = ()
    written: tuple[int, ...] = ()


class Judgement(NamedTuple):
    """How strongly a behaviour shows in one exchange, in the judge's own units, and whether that counts."""

    score: float | int
    shown: bool


@runtime_checkable
class Judge(Protocol):
    """Says whether a behaviour shows."""

    @property
    def name(self) -> str:
        """Everything that decides its judgements, in words."""
        ...

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        """Judges each exchange; None where no judgement could be made (an answer that cannot be read)."""
        ...


@dataclass(frozen=True, eq=False)
class Behaviour:
    """A judge with a name.

    `words` say what the behaviour is, for models that propose prompts. `examples` are replies that show it:
    what likelihoods, gradients, vectors and fine-tuning aim at, and what the judge is tried on first.
    """

    name: str
    judge: Judge
    words: str = ""
    examples: tuple[str, ...] = ()
