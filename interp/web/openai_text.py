"""Text as it is written for the OpenAI door: joined from tokens, cut at a stop, steered by cards."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from interp.monitor.bench import Bench
from interp.monitor.steering import Card
from interp.outside import REPLACEMENT
from interp.subject.stream import TokenRead
from interp.subject.subject import Subject

Prompt = str | Sequence[int] | Sequence[dict[str, str]]
"""A text, its tokens as they are, or the messages of a chat."""
Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Asked:
    """What is to be written.

    `most` new tokens, or as many as fit the context and `longest`; up to one of the texts `stops`; with `top`
    alternatives of each token (None: no probabilities); after the prompt itself with `echo`.
    """

    prompt: Prompt
    cards: Sequence[Card]
    most: int | None
    longest: int
    temperature: float
    seed: int
    stops: Sequence[str] = ()
    top: int | None = None
    echo: bool = False

    @property
    def chats(self) -> bool:
        """Whether it is the answer in a chat."""
        return isinstance(self.prompt, list)


@dataclass(frozen=True)
class Piece:
    """A piece of text with its tokens, each with its place in the whole text.

    The last piece says why it ends, and how many tokens were read and written.
    """

    text: str
    reads: Sequence[tuple[TokenRead, int]] = ()
    finish: Finish | None = None
    n_prompt: int = 0
    n_new: int = 0


def written(bench: Bench, asked: Asked) -> Generator[Piece, None, None]:
    """Writes; the pieces joined are the text.

    Raises:
        UserError: the prompt does not fit the model or its context, or a card does not fit the model.
    """
    subject = bench.subject
    ids = _ids(subject, asked.prompt)
    most = max(0, min(asked.longest, subject.n_ctx - len(ids))) if asked.most is None else asked.most
    with subject.intervene(*bench.steerer.steering(asked.cards).edits):
        reads = subject.stream(ids, most, asked.temperature, asked.seed, alternatives=asked.top or 0)
        given = list(islice(reads, len(ids)))
        start = 0
        if asked.echo:
            echo = asked.prompt if isinstance(asked.prompt, str) else subject.decode(ids)
            whole = given[1:] if isinstance(asked.prompt, str) and ids[0] == subject.bos_id else given
            yield Piece(echo, _placed(subject, echo, whole))
            start = len(echo)
        yield from _pieces(subject, reads, _joiner(subject, asked, ids), asked.stops, start, len(ids))


def _pieces(
    subject: Subject,
    reads: Iterator[TokenRead],
    joined: Callable[[Sequence[int]], str],
    stops: Sequence[str],
    start: int,
    n_prompt: int,
) -> Iterator[Piece]:
    new: list[int] = []
    waiting: list[tuple[TokenRead, int]] = []
    text, sent, n_new = "", 0, 0
    finish: Finish = "length"
    for read in reads:
        n_new += 1
        if read.token in subject.end_ids:
            finish = "stop"
            break
        new.append(read.token)
        waiting.append((read, start + len(text)))
        text = joined(new)
        cut = min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
        if cut is not None:
            text, finish = text[:cut], "stop"
            waiting = [one for one in waiting if one[1] < start + cut]
            break
        safe = _safe(text, stops)
        if safe > sent:
            yield Piece(text[sent:safe], tuple(waiting))
            waiting, sent = [], safe
    yield Piece(text[sent:], tuple(waiting), finish, n_prompt, n_new)


def _safe(text: str, stops: Sequence[str]) -> int:
    """How much of a text can be sent: not what may begin a stop, nor half a character."""
    held = max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])),
        default=0,
    )
    return min(len(text) - held, len(text.rstrip(REPLACEMENT)))


def _ids(subject: Subject, prompt: Prompt) -> list[int]:
    if isinstance(prompt, str):
        return subject.with_bos(subject.encode(prompt))
    if isinstance(prompt, list):
        return list(subject.conversation(prompt))
    return [one for one in prompt if isinstance(one, int)]


def _joiner(subject: Subject, asked: Asked, ids: Sequence[int]) -> Callable[[Sequence[int]], str]:
    """How new tokens become text: with the space after the prompt, if a text is continued."""
    last = [] if asked.chats or ids[-1] in subject.special_ids else [ids[-1]]
    before = subject.decode(last) if last else ""

    def joined(new: Sequence[int]) -> str:
        whole = subject.decode([*last, *new])
        return whole[len(before) :] if whole.startswith(before) else subject.decode(new)

    return joined


def _placed(subject: Subject, text: str, reads: Sequence[TokenRead]) -> list[tuple[TokenRead, int]]:
    """The tokens of a prompt with their places in its text."""
    found, place = [], 0
    for read, string in zip(reads, subject.token_strings([one.token for one in reads]), strict=True):
        at = text.find(string, place)
        place = place if at < 0 else at
        found.append((read, place))
        place += len(string) if at >= 0 else 0
    return found
