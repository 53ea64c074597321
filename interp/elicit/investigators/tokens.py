"""Search over a prompt's own tokens: swaps of single tokens, or a beam that is extended token by token."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple

import torch

from interp.elicit.guide import BACKWARDS, GradientGuide, Guide
from interp.elicit.own_tokens import Ids, OwnTokens, said_in_short
from interp.elicit.prompts import PromptDistribution
from interp.elicit.proposal import Proposal
from interp.elicit.search import History, Try
from interp.elicit.spending import Exhausted, Meter
from interp.errors import UserError
from interp.fields import Count, Flag, NotNegative, Section

_HOW = re.compile(r"start (\d+), value (\S+)$")
DRAWS = 50
"""Prompts that are drawn for a start that the search can work on, before it gives up."""


class TokenSettings(Section):
    """How tokens are searched."""

    method: Literal["coordinate", "beam"] = "coordinate"
    """Swap one token at a time (GCG), or extend the best prompts by one token at a time."""
    hints: Literal["gradient", "words", "vocabulary"] = "gradient"
    """What new tokens are drawn from: the steepest by the guide's gradient, some words, or all tokens."""
    steps: Count = 4
    """Steps in a round."""
    candidates: Count = 64
    """Prompts that the guide scores in a step."""
    top_k: Count = 32
    """Tokens of the steepest gradient that a new one is drawn from, at each place."""
    beam: Count = 4
    """Prompts that a beam keeps."""
    place: Literal["anywhere", "start", "end"] = "anywhere"
    """Where a beam's prompts are extended."""
    scan_first: Flag = True
    """Whether a beam's first step from a new start tries every token of the vocabulary (or of the words)."""
    fluency: NotNegative = 0.0
    """Units of the guide that a prompt loses for each nat by which its tokens are unlikely, on average."""
    longest: Count = 24
    """The most tokens of a prompt."""
    patience: Count = 4
    """Rounds without gain after which the search starts again from a new prompt."""


class Scored(NamedTuple):
    """A prompt, its own tokens, its value (the guide's score less the penalty), and the tries it is from."""

    ids: Ids
    text: str
    value: float
    parents: tuple[int, ...]


@dataclass
class _Climb:
    """One start: what has been scored in this round, by text, and where the search stands."""

    start: int
    standing: list[Scored]
    found: dict[str, Scored] = field(default_factory=dict)


class TokenSearch:
    """Searches the prompt's own tokens by a guide, and proposes the best that it scored.

    `coordinate` is the greedy coordinate gradient of Zou et al. 2023 (arXiv 2307.15043, algorithm 1): at
    every place the `top_k` tokens of the steepest gradient, and `candidates` random swaps of one token, of
    which the best is gone on from, better or not. `beam` keeps the best prompts and extends each by one token
    at a place drawn at random; the gradient there is taken at a token drawn at random. Its first step may
    scan: every token at one place, one score each, which finds any single word that is enough.

    A prompt whose text is read as other tokens is never scored (`OwnTokens`). With `fluency`, prompts that
    are unlikely text to the target lose value, for a pass each; gradients do not know of it. Each round goes
    on from the best prompts of its start, which are found in the history.
    """

    def __init__(
        self,
        guide: Guide,
        prompts: PromptDistribution,
        settings: TokenSettings | None = None,
        words: Sequence[str] = (),
    ) -> None:
        """`prompts` are where it starts; `words` are what is drawn from with `hints` "words".

        Raises:
            UserError: the guide lacks the gradient that `hints` asks for, `words` and `hints` do not go
                together, or the model does not know a word.
        """
        settings = settings or TokenSettings()
        if settings.hints == "gradient" and not isinstance(guide, GradientGuide):
            raise UserError(
                f"the guide ({guide.name}) has no gradient",
                "hints: gradient",
                "use hints: words or vocabulary, or a guide by likelihood or feature",
            )
        if bool(words) != (settings.hints == "words"):
            raise UserError(
                f"{len(words)} words do not go with hints: {settings.hints}",
                "words",
                "give words with hints: words, and with no other",
            )
        self.guide, self.prompts, self.settings = guide, prompts, settings
        self.tokens = OwnTokens(guide.target)
        self._words = tuple(words)
        self._pool = self.tokens.words(words) if words else None

    @property
    def name(self) -> str:
        """The method, its guide, where it starts, and every setting."""
        told = ", ".join(f"{key} {value}" for key, value in self.settings.model_dump().items())
        words = f", {said_in_short(self._words)}" if self._words else ""
        return f"token search (guide {self.guide.name}; from {self.prompts.name}; {told}{words})"

    @property
    def pool(self) -> tuple[Ids, ...]:
        """The pieces that are drawn from without a gradient: the words, or every token."""
        return self.tokens.vocabulary if self._pool is None else self._pool

    def propose(self, history: History, n: int, random: Random, meter: Meter) -> list[Proposal]:
        """Takes some steps from where the history stands, and proposes the `n` best prompts not yet asked.

        Raises:
            Exhausted: not one step fits the budget together with asking what it finds.
            UserError: no prompt of the distribution can be searched from.
        """
        climb = self._resumed(history)
        try:
            if not climb.standing:
                climb = self._started(climb.start, random)
            self._steps(climb, history, n, random, meter)
            if not self._new(climb, history):  # every neighbour was asked
                climb = self._started(climb.start + 1, random)
                self._steps(climb, history, n, random, meter)
        except Exhausted:
            if not climb.found:
                raise
        best = sorted(self._new(climb, history), key=lambda one: -one.value)[:n]
        told = f"{self.settings.method}, start {climb.start}"
        return [Proposal(one.text, f"{told}, value {one.value!r}", one.parents) for one in best]

    def scan(self, prompt: str, place: int) -> list[tuple[str, float]]:
        """Every piece of the pool before the prompt's own token `place`: prompts and values, the best first.

        One score each: of all single words at that place, none is missed.

        Raises:
            Exhausted: it does not fit the budget.
            UserError: the prompt cannot be searched from.
        """
        ids = self.tokens.ids(prompt)
        if ids is None:
            raise UserError("it cannot be asked as its own tokens", f"prompt {prompt!r:.60}", "use another")
        longer = [ids[:place] + piece + ids[place:] for piece in self.pool]
        found = self._scored([(one, ()) for one in longer])
        return [(one.text, one.value) for one in sorted(found, key=lambda one: -one.value)]

    def _resumed(self, history: History) -> _Climb:
        """Where the last start stands: its best prompts; without any where a new start is due."""
        told = [(one, found) for one in history.tries if (found := _HOW.search(one.proposal.how))]
        if not told:
            return _Climb(0, [])
        start = max(int(found[1]) for _, found in told)
        mine = [(one, float(found[2])) for one, found in told if int(found[1]) == start]
        if _stale_rounds(mine) >= self.settings.patience:
            return _Climb(start + 1, [])
        keep = self.settings.beam if self.settings.method == "beam" else 1
        best = sorted(mine, key=lambda each: (-each[1], each[0].number))[:keep]
        standing = []
        for one, value in best:
            ids = self.tokens.ids(one.proposal.prompt)
            if ids is not None:
                standing.append(Scored(ids, one.proposal.prompt, value, (one.number,)))
        return _Climb(start, standing)

    def _started(self, start: int, random: Random) -> _Climb:
        """A new start: the first prompt drawn that can be searched from, with its value."""
        for prompt in (self.prompts.sample(1, random)[0] for _ in range(DRAWS)):
            ids = self.tokens.ids(prompt)
            if ids is not None and len(ids) <= self.settings.longest:
                (first,) = self._scored([(ids, ())])
                return _Climb(start, [first], {first.text: first})
        raise UserError(
            f"of {DRAWS} prompts none can be asked as its own tokens, within {self.settings.longest}",
            self.prompts.name,
            "use prompts that the model can be asked, or raise longest",
        )

    def _new(self, climb: _Climb, history: History) -> list[Scored]:
        return [one for one in climb.found.values() if not history.has(Proposal(one.text))]

    def _steps(self, climb: _Climb, history: History, n: int, random: Random, meter: Meter) -> None:
        """Takes `steps` steps, and up to four times as many until there are `n` prompts to propose."""
        for number in range(4 * self.settings.steps):
            if number >= self.settings.steps and len(self._new(climb, history)) >= n:
                return
            self._step(climb, n, random, meter)

    def _step(self, climb: _Climb, n: int, random: Random, meter: Meter) -> None:
        """Scores candidates, if they can then also be asked, and moves to the best."""
        settings = self.settings
        fresh = climb.found.keys() == {one.text for one in climb.standing}
        scan = fresh and settings.method == "beam" and settings.scan_first
        scan = scan and self._affords(climb.standing, len(self.pool), n, meter)
        if not scan and not self._affords(climb.standing, settings.candidates, n, meter):
            raise Exhausted
        moves = self._scan_moves(climb.standing[0], random) if scan else self._moves(climb.standing, random)
        seen = {one.ids for one in [*climb.found.values(), *climb.standing]}
        wanted: dict[Ids, tuple[int, ...]] = {}
        for ids, parents in moves:
            if ids not in seen and len(ids) <= settings.longest:
                wanted.setdefault(ids, parents)
            if not scan and len(wanted) == settings.candidates:
                break
        scored = self._scored(list(wanted.items()))
        climb.found |= {one.text: one for one in scored}
        if settings.method == "coordinate":
            climb.standing = sorted(scored, key=lambda one: -one.value)[:1] or climb.standing
        else:
            both = [*climb.standing, *scored]
            climb.standing = sorted(both, key=lambda one: -one.value)[: settings.beam]

    def _affords(self, standing: Sequence[Scored], candidates: int, n: int, meter: Meter) -> bool:
        """Whether a step fits, and then asking `n` of what it finds."""
        target, widest = self.guide.target, max(map(len, self._pool or [(0,)]))
        each = max((self.guide.cost([one.text]) for one in standing), key=lambda cost: cost.tokens)
        runs = candidates + (1 + BACKWARDS) * len(standing) * (self.settings.hints == "gradient")
        fluent = candidates if self.settings.fluency else 0
        length = max(len(target.ids(one.text)) for one in standing) + widest
        return meter.affords(
            runs * each.passes + fluent + n,
            runs * (each.tokens + each.passes * widest)
            + fluent * length
            + n * (length + target.frame.new_tokens),
        )

    def _scored(self, wanted: Sequence[tuple[Ids, tuple[int, ...]]]) -> list[Scored]:
        """Values of those candidates that are text."""
        texts = [(text, each) for each in wanted if (text := self.tokens.text(each[0])) is not None]
        prompts = [text for text, _ in texts]
        values = torch.tensor(self.guide.scores(prompts), dtype=torch.float64)
        if self.settings.fluency and prompts:
            values -= self.settings.fluency * self._unlikely(prompts)
        return [
            Scored(ids, text, value, parents)
            for (text, (ids, parents)), value in zip(texts, values.tolist(), strict=True)
        ]

    def _unlikely(self, prompts: Sequence[str]) -> torch.Tensor:
        """The mean negative log-probability of each prompt's own tokens, in nats; a pass each."""
        target = self.guide.target
        tokens = sum(len(target.ids(prompt)) for prompt in prompts)
        target.meter.afford(len(prompts), tokens)
        target.meter.spend(len(prompts), tokens)
        return target.perplexity(prompts).log().nan_to_num(0.0)

    def _scan_moves(self, base: Scored, random: Random) -> Iterator[tuple[Ids, tuple[int, ...]]]:
        place = self._place(base.ids, random)
        for piece in self.pool:
            yield base.ids[:place] + piece + base.ids[place:], base.parents

    def _moves(self, standing: Sequence[Scored], random: Random) -> Iterator[tuple[Ids, tuple[int, ...]]]:
        """Candidates in a random order, of every standing prompt alike; more than are needed."""
        if self.settings.method == "coordinate":
            yield from self._swaps(standing[0], random)
            return
        places = [self._place(one.ids, random) for one in standing]
        options = [list(self.pool)] * len(standing)
        if self.settings.hints == "gradient":
            filler = random.choice(self.tokens.vocabulary)
            longer = [
                one.ids[:place] + filler + one.ids[place:]
                for one, place in zip(standing, places, strict=True)
            ]
            options = self._steepest_at(longer, places, random)
        shuffled = [random.sample(each, len(each)) for each in options]
        for number in range(max(map(len, shuffled))):
            for one, place, pieces in zip(standing, places, shuffled, strict=True):
                if number < len(pieces):
                    yield one.ids[:place] + pieces[number] + one.ids[place:], one.parents

    def _steepest_at(self, rows: Sequence[Ids], places: Sequence[int], random: Random) -> list[list[Ids]]:
        """The tokens of the steepest gradient at one place of each row; any token where a row is no text."""
        found = [random.sample(self.tokens.vocabulary, min(self.settings.top_k, len(self.tokens.vocabulary)))
                 for _ in rows]  # fmt: skip
        texts = [self.tokens.text(row) for row in rows]
        kept = [number for number, text in enumerate(texts) if text is not None]
        gradients = self._gradients([text for text in texts if text is not None])
        for number, gradient in zip(kept, gradients, strict=True):
            found[number] = self._steepest(gradient[places[number]])
        return found

    def _swaps(self, base: Scored, random: Random) -> Iterator[tuple[Ids, tuple[int, ...]]]:
        """Random swaps of one token of a prompt, each place alike likely."""
        if self.settings.hints == "gradient":
            (gradient,) = self._gradients([base.text])
            options = [self._steepest(row, at) for row, at in zip(gradient, base.ids, strict=True)]
        else:
            options = [[piece for piece in self.pool if piece != (at,)] for at in base.ids]
        pairs = [(place, number) for place, row in enumerate(options) for number in range(len(row))]
        for place, number in random.sample(pairs, len(pairs)):
            yield base.ids[:place] + options[place][number] + base.ids[place + 1 :], base.parents

    def _gradients(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        assert isinstance(self.guide, GradientGuide)
        return list(self.guide.gradients(prompts))

    def _steepest(self, gradient: torch.Tensor, but: int | None = None) -> list[Ids]:
        """The tokens that raise the guide most by the gradient at one place, the steepest first."""
        usable = torch.tensor([piece[0] for piece in self.tokens.vocabulary])
        usable = usable if but is None else usable[usable != but]
        best = gradient[usable].topk(min(self.settings.top_k, len(usable))).indices
        return [(i,) for i in usable[best].tolist()]

    def _place(self, ids: Ids, random: Random) -> int:
        if self.settings.place == "anywhere":
            return random.randint(0, len(ids))
        return 0 if self.settings.place == "start" else len(ids)


def _stale_rounds(tries: Sequence[tuple[Try, float]]) -> int:
    """The number of rounds since the best value was first reached."""
    rounds = list(dict.fromkeys(one.round for one, _ in tries))
    best = [max(value for one, value in tries if one.round == number) for number in rounds]
    return len(rounds) - 1 - best.index(max(best))
