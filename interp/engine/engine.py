"""What an engine does: it computes the parts of a piece of work, in any order, in one place or several."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from interp.engine.config import EngineConfig

Work = Callable[[Any], Any]
"""Computes one part. Often in another process, so that it may change nothing here."""
Found = Callable[[int, Any], None]
"""Takes the result of a part, by the part's place; called in this process."""


@runtime_checkable
class Engine(Protocol):
    """Computes parts of work. A part must give the same result wherever and however often it is computed."""

    config: EngineConfig

    @property
    def n_workers(self) -> int:
        """How many parts are computed at the same time."""
        ...

    def each(self, work: Work, parts: Sequence[Any], found: Found, name: Callable[[int], str]) -> None:
        """Computes every part and hands its result to `found`, in any order; `name` names a part to people.

        Raises:
            UserError: parts that fail whatever is tried; those of all other parts were handed on before.
        """
        ...


class LocalEngine:
    """Computes parts one after the other in this process."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self.n_workers = 1

    def each(self, work: Work, parts: Sequence[Any], found: Found, name: Callable[[int], str]) -> None:
        """Computes the parts in order; the first that fails ends it."""
        for place, part in enumerate(parts):
            found(place, work(part))
