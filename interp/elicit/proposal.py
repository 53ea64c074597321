"""A proposal: a prompt to try, perhaps with the model steered, and how it was made."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Steer:
    """One of a target's directions, at a strength in that direction's own units."""

    direction: str
    strength: float | int


@dataclass(frozen=True)
class Proposal:
    """A prompt to ask, while the model is steered by `steer`.

    `how` says in words how it was made, `parents` are the numbers of the tries that it was made from.
    """

    prompt: str
    how: str = ""
    parents: tuple[int, ...] = ()
    steer: tuple[Steer, ...] = ()

    @property
    def asked(self) -> tuple[str, tuple[Steer, ...]]:
        """What decides a greedy reply: proposals of which this is equal get the same."""
        return self.prompt, self.steer

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "prompt": self.prompt,
            "how": self.how,
            "parents": list(self.parents),
            "steer": [[one.direction, one.strength] for one in self.steer],
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Proposal":
        """Reads what `to_json` gave."""
        steer = tuple(Steer(str(name), strength) for name, strength in plain["steer"])
        return cls(plain["prompt"], plain["how"], tuple(plain["parents"]), steer)
