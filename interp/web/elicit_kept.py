"""Searches that a server keeps: each under a name that cannot be guessed, run turn by turn."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from random import Random

from interp.elicit.behaviour import Judgement
from interp.elicit.prompts import PromptDistribution
from interp.elicit.proposal import Proposal
from interp.elicit.search import Search, Try
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Target
from interp.errors import UserError
from interp.statistics.estimate import Estimate, share_interval
from interp.web.elicit_asked import Asked, beside, prompt_source
from interp.web.elicit_opened import (
    calibrated,
    check_passes,
    check_prompts,
    open_behaviour,
    open_target,
    uncounted,
)
from interp.web.elicit_ways import Opening, way_of
from interp.web.safety import Full, NotFound
from interp.web.served import Served
from interp.web.sessions import SHORTEST_IDLE

ORDINARY, ROUND = 64, 32
"""Prompts drawn at random for comparison, and prompts of a round."""
TURN_SECONDS = 1.0
"""How long a search has the model before others have their turn; it ends with a round."""
MOST_SEARCHES = 32
"""Searches that are kept; a new one takes the place of the one that was not used for longest."""


@dataclass(frozen=True)
class Ordinary:
    """Prompts drawn at random: the share that shows the behaviour, and the passes that each cost."""

    shown: Estimate
    each: float


@dataclass(frozen=True)
class Confirmed:
    """Replies drawn at temperature 1: to one prompt, and one each to as many prompts drawn at random.

    Of those that could be judged, the shares that show the behaviour; `reply` is the first that does.
    """

    own: Estimate
    others: Estimate
    reply: str | None


@dataclass(eq=False)
class Kept:
    """One search with what it was opened from; everything here happens on the model's thread."""

    name: str
    served: Served
    asked: Asked
    prompts: PromptDistribution
    target: Target
    ordinary: Ordinary | None = None
    search: Search | None = None
    confirmed: dict[int, Confirmed] = field(default_factory=dict)

    @classmethod
    def open(cls, served: Served, asked: Asked) -> "Kept":
        """Checks everything that is asked for; nothing is run yet.

        Raises:
            UserError: something is wrong with a field, which is its place.
        """
        check_passes(asked.passes)
        way_of(asked)
        target = open_target(served, asked, Meter(Budget(passes=asked.passes)))
        open_behaviour(served, asked, target)
        prompts = prompt_source(asked).open()
        check_prompts(served, prompts, target)
        return cls(secrets.token_urlsafe(12), served, asked, prompts, target)

    @property
    def tries(self) -> list[Try]:
        """What was tried."""
        return [] if self.search is None else self.search.history.tries

    def tried(self, number: int) -> Try:
        """One of its tries.

        Raises:
            UserError: there is none of this number.
        """
        if number >= len(self.tries):
            said = f"there is no try {number}"
            raise UserError(said, "number", f"this search has made {len(self.tries)}")
        return self.tries[number]

    def more(self, passes: int) -> None:
        """Takes another budget, larger than what was spent.

        Raises:
            UserError: it is not larger, or too large.
        """
        check_passes(passes)
        spent = 0 if self.search is None else self.search.history.spent.passes
        if passes <= spent:
            said = f"{spent:,} passes are spent already"
            raise UserError(said, "passes", "give a larger budget")
        self.asked = self.asked.model_copy(update={"passes": passes})
        self.target.meter.budget = Budget(passes=passes)
        if self.search is not None:
            self.search.ended = None

    def begin(self) -> Search:
        """Asks prompts at random, which is beside the budget, and opens the search.

        A reading without a threshold gets its from them.

        Raises:
            UserError: the judge or the investigator cannot be used.
        """
        if self.search is not None:
            return self.search
        random, meter = Random(f"{self.asked.seed} ordinary"), uncounted()
        drawn = self._drawn(ORDINARY, random)
        beside_it = open_target(self.served, self.asked, meter)
        exchanges = beside_it.ask(drawn, self.asked.seed)
        first = open_behaviour(
            self.served, self.asked, open_target(self.served, self.asked, uncounted()), exchanges
        )
        self.asked = calibrated(self.asked, first)
        judged = open_behaviour(self.served, self.asked, beside_it).judge.judge(exchanges)
        self.ordinary = Ordinary(share(judged), meter.spent.passes / max(1, len(drawn)))
        silent = [
            one.prompt
            for one, found in zip(exchanges, judged, strict=True)
            if found is not None and not found.shown
        ]
        behaviour = open_behaviour(self.served, self.asked, self.target)
        opening = Opening(self.served, self.asked, self.prompts, self.target, behaviour, silent)
        with beside("investigator"):
            investigator = way_of(self.asked).open(opening)
        self.search = Search(self.target, behaviour, investigator, seed=self.asked.seed, round_size=ROUND)
        return self.search

    def turn(self) -> Generator[list[Try], None, None]:
        """Runs rounds for about `TURN_SECONDS`, at least one that tries something; gives the tries of each.

        What a round spent that was stopped in its midst is not counted, and the round is done again.
        """
        search, until = self.begin(), time.monotonic() + TURN_SECONDS
        self.target.meter.spent = search.history.spent
        for tries in search.rounds():
            if tries:
                yield tries
            if tries and time.monotonic() > until:
                return

    def confirm(self, number: int, draws: int) -> Confirmed:
        """Draws replies at temperature 1 to one prompt, and to others that are drawn at random.

        Raises:
            UserError: there is no such try.
        """
        one = self.tried(number).proposal
        warm = self.target.frame.model_copy(update={"temperature": 1.0})
        target = Target(self.target.subject, warm, uncounted(), self.target.directions)
        judge = open_behaviour(self.served, self.asked, target).judge
        others = self._drawn(draws, Random(f"{self.asked.seed} confirm"))
        seed = Random(f"{self.asked.seed} {number} {draws}").randrange(2**32)
        own = target.ask([Proposal(one.prompt, steer=one.steer)] * draws, seed)
        judged = judge.judge(own)
        shown = [one.reply for one, found in zip(own, judged, strict=True) if found and found.shown]
        self.confirmed[number] = Confirmed(
            share(judged),
            share(judge.judge(target.ask(others, seed))),
            shown[0] if shown else None,
        )
        return self.confirmed[number]

    def _drawn(self, n: int, random: Random) -> list[Proposal]:
        """Prompts drawn at random, without those that the model cannot be asked."""
        return [Proposal(one) for one in self.prompts.sample(n, random) if self.target.takes(one)]


@dataclass
class Searches:
    """The searches of a server, by name; the one that was used last is the last."""

    most: int = MOST_SEARCHES
    clock: Callable[[], float] = time.monotonic
    _kept: OrderedDict[str, tuple[Kept, float]] = field(default_factory=OrderedDict)

    def add(self, kept: Kept) -> None:
        """Keeps a search.

        Raises:
            Full: there are too many that are used.
        """
        if len(self._kept) >= self.most:
            name, (_, used) = next(iter(self._kept.items()))
            if self.clock() - used < SHORTEST_IDLE:
                fix = "try again in some minutes, or go on with one of them"
                raise Full(f"there are {len(self._kept)} searches already", "searches", fix)
            del self._kept[name]
        self._kept[kept.name] = kept, self.clock()

    def get(self, name: str) -> Kept:
        """A search by its name.

        Raises:
            NotFound: there is none, or a newer one took its place.
        """
        if name not in self._kept:
            raise NotFound("there is no such search", "search", "start a new one")
        kept, _ = self._kept[name]
        self._kept[name] = kept, self.clock()
        self._kept.move_to_end(name)
        return kept


def share(judged: Sequence[Judgement | None]) -> Estimate:
    """The share that shows the behaviour, of what could be judged."""
    known = [one for one in judged if one is not None]
    return share_interval(sum(one.shown for one in known), len(known))
