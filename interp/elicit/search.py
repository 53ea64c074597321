"""A search: an investigator proposes, the model replies, a judge judges, until the budget is spent."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Protocol, runtime_checkable

from interp.elicit.behaviour import Behaviour
from interp.elicit.proposal import Proposal
from interp.elicit.spending import Exhausted, Meter, Spent
from interp.elicit.target import Target
from interp.errors import UserError
from interp.fields import Count, Seed, taken
from interp.track.journal import Journal
from interp.track.progress import Progress, silent

Number = float | int
Ending = Literal["budget", "found", "nothing new", "stopped"]
ROUNDS_WITHOUT_NEW = 20
"""Rounds in a row that bring no prompt that is new and can be asked, after which a search ends."""


@dataclass(frozen=True)
class Try:
    """What came of one proposal.

    `score` and `shown` are the judge's; None where it could not judge. `spent` is what the whole search had
    spent when this was judged.
    """

    number: int
    round: int
    proposal: Proposal
    reply: str
    score: Number | None
    shown: bool | None
    spent: Spent

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "number": self.number,
            "round": self.round,
            "proposal": self.proposal.to_json(),
            "reply": self.reply,
            "score": self.score,
            "shown": self.shown,
            "spent": list(self.spent),
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Try":
        """Reads what `to_json` gave."""
        made = {"proposal": Proposal.from_json(plain["proposal"]), "spent": Spent(*plain["spent"])}
        return cls(**{**plain, **made})


class History:
    """All tries of a search, in their order, and what it has spent so far."""

    def __init__(self, tries: Sequence[Try] = (), spent: Spent | None = None) -> None:
        self.tries = list(tries)
        self.spent = spent or Spent()
        self._asked = {one.proposal.asked for one in tries}

    def __len__(self) -> int:
        return len(self.tries)

    def add(self, tries: Sequence[Try], spent: Spent) -> None:
        """Adds a round."""
        self.tries += tries
        self.spent = spent
        self._asked |= {one.proposal.asked for one in tries}

    def has(self, proposal: Proposal) -> bool:
        """Whether the same was asked before."""
        return proposal.asked in self._asked

    @property
    def shown(self) -> list[Try]:
        """Tries in which the behaviour showed."""
        return [one for one in self.tries if one.shown]

    def best(self, k: int) -> list[Try]:
        """The `k` tries of highest score, the earliest first among equals; those without a score never."""
        judged = [one for one in self.tries if one.score is not None]
        return sorted(judged, key=lambda one: (-float(one.score or 0), one.number))[:k]


@runtime_checkable
class Investigator(Protocol):
    """A way to find prompts.

    What it proposes is a function of the history, the random numbers and its own settings, so that a search
    which was stopped goes on as if it had not been; what it learns beside that it makes again or keeps in a
    folder of its own.
    """

    @property
    def name(self) -> str:
        """Its method and settings, in words."""
        ...

    def propose(self, history: History, n: int, random: Random, meter: Meter) -> list[Proposal]:
        """Makes about `n` proposals; none at all ends the search.

        What it runs models on is counted by `meter`, which is asked first whether it fits.

        Raises:
            Exhausted: what it would do does not fit the budget.
        """
        ...


class Search:
    """One search, whose rounds are kept in a journal and never run twice.

    Raises:
        UserError: the journal is of another search.
    """

    def __init__(
        self,
        target: Target,
        behaviour: Behaviour,
        investigator: Investigator,
        *,
        seed: int = 0,
        round_size: int = 32,
        stop_after: int | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Prepare a search within the budget of the target's meter.

        `round_size` is the number of proposals asked for at a time; `stop_after` ends the search once so many
        tries show the behaviour.
        """
        target.meter.budget.check()
        self.target, self.behaviour, self.investigator = target, behaviour, investigator
        self.seed, self.round_size = taken(Seed, seed, "seed"), taken(Count, round_size, "round_size")
        self.stop_after = stop_after
        self.unusable = 0
        """Proposals that could not be asked: words that the model does not know, or too long."""
        self.ended: Ending | None = None
        self._journal = journal or Journal()
        self.history = self._read()
        target.meter.spent = self.history.spent

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the search besides its budget."""
        return {
            "target": self.target.name,
            "behaviour": self.behaviour.name,
            "judge": self.behaviour.judge.name,
            "investigator": self.investigator.name,
            "seed": self.seed,
            "round_size": self.round_size,
        }

    def rounds(self) -> Generator[list[Try], None, None]:
        """Runs round after round, and gives the tries of each; `ended` then says why it ended.

        A round is kept before it is given. Closing the iterator stops the search between two rounds.
        """
        empty = 0
        while True:
            if self.stop_after is not None and len(self.history.shown) >= self.stop_after:
                self.ended = "found"
                return
            try:
                tries = self._round(self._next)
            except Exhausted:
                self.ended = "budget"
                return
            if tries is None or (empty := 0 if tries else empty + 1) >= ROUNDS_WITHOUT_NEW:
                self.ended = "nothing new"
                return
            yield tries

    def run(self, progress: Progress | None = None, stopped: Callable[[], bool] = lambda: False) -> History:
        """Runs to the end, or until `stopped()` after a round.

        Raises:
            UserError: as the judge and the investigator.
        """
        meter, shown = self.target.meter, len(self.history.shown)
        what = f"{self.investigator.name.split(' (')[0]}: {self.behaviour.name}"
        with (progress or silent()).task(what, 1000, "thousandths of the budget") as advance:
            done = 0
            for tries in self.rounds():
                shown += sum(bool(one.shown) for one in tries)
                now = int(1000 * meter.used)
                advance(now - done, note=f"{shown} of {len(self.history)} show it")
                done = now
                if stopped():
                    self.ended = "stopped"
                    break
        return self.history

    def _round(self, number: int) -> list[Try] | None:
        random = Random(f"{self.seed} {number}")
        meter = self.target.meter
        proposals = self.investigator.propose(self.history, self.round_size, random, meter)
        if not proposals:
            return None
        fresh = self._fresh(proposals)
        exchanges = self.target.ask(fresh, random.randrange(2**32))
        judged = self.behaviour.judge.judge(exchanges)
        tries = [
            Try(
                len(self.history) + place,
                number,
                proposal,
                exchange.reply,
                None if found is None else found.score,
                None if found is None else found.shown,
                meter.spent,
            )
            for place, (proposal, exchange, found) in enumerate(zip(fresh, exchanges, judged, strict=True))
        ]
        self._journal.add(
            str(number), {"tries": [one.to_json() for one in tries], "spent": list(meter.spent)}
        )
        self._next = number + 1
        self.history.add(tries, meter.spent)
        return tries

    def _fresh(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        """Those that can be asked; of a model that always replies the same, those not asked before."""
        usable = [one for one in proposals if self.target.takes(one.prompt)]
        self.unusable += len(proposals) - len(usable)
        if self.target.frame.temperature > 0:
            return usable
        once = {one.asked: one for one in usable if not self.history.has(one)}
        return list(once.values())

    def _read(self) -> History:
        done = self._journal.done
        if not len(done):
            self._journal.add("search", self.identity)
        elif (known := done.get("search", {})) != self.identity:
            differing = [key for key, value in self.identity.items() if known.get(key) != value]
            raise UserError(
                f"the kept search is another one ({', '.join(differing)})",
                str(self._journal.file or "search"),
                "give the same settings, or another folder",
            )
        self._next = max(0, len(done) - 1)
        return read_history(self._journal)


def read_history(journal: Journal) -> History:
    """Reads all rounds of a search that were kept."""
    history, number = History(), 0
    while (key := str(number)) in journal.done:
        kept = journal.done[key]
        history.add([Try.from_json(one) for one in kept["tries"]], Spent(*kept["spent"]))
        number += 1
    return history
