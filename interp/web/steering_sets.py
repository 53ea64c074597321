"""Steering sets that the OpenAI door offers as models."""

from collections.abc import Mapping, Sequence

from interp.errors import UserError
from interp.monitor.steering import Card
from interp.web.safety import Full, NotFound
from interp.web.sessions import Sessions

MOST_SETS = 64


class SteeringSets:
    """The model under its own name, unsteered, and each steering set as SUBJECT:NAME.

    Raises:
        UserError: a set does not fit the model, or names a file that is in no folder.
    """

    def __init__(self, sessions: Sessions, named: Mapping[str, Sequence[Card]]) -> None:
        self._sessions = sessions
        self._own = sessions.bench.subject.name
        self._sets: dict[str, tuple[Card, ...]] = {self._own: ()}
        for name, cards in named.items():
            self.add(name, cards)

    @property
    def models(self) -> list[str]:
        """The names of all, the unsteered model first."""
        return list(self._sets)

    def add(self, name: str, cards: Sequence[Card]) -> str:
        """Offers a steering set; returns the name of its model.

        Raises:
            UserError: another set has this name, there are too many, or as the class.
        """
        model, found = f"{self._own}:{name}", self._sessions.with_files(cards)
        if self._sets.get(model, found) != found:
            raise UserError(f"another steering set is called {name!r}", "name", "give it another name")
        if len(self._sets) > MOST_SETS:
            raise Full(f"{MOST_SETS} steering sets are saved already", "name", "start the server again")
        self._sessions.bench.steerer.steering(found)
        self._sets[model] = found
        return model

    def cards(self, model: str) -> tuple[Card, ...]:
        """The steering set of a model.

        Raises:
            NotFound: there is no such model.
        """
        if model not in self._sets:
            raise NotFound(f"there is no model {model!r}", "model", f"use {', '.join(self._sets)}")
        return self._sets[model]
