"""Bounds on lines of the card, which the shipped weights must meet."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Gate:
    """Bounds on a line of the card whose `at` begins so; `above` is the least excess over the control."""

    label: str
    group: str
    effect: str
    at: str = ""
    at_least: float | None = None
    at_most: float | None = None
    control_at_least: float | None = None
    control_at_most: float | None = None
    above: float | None = None

    def line(self, card: pd.DataFrame) -> pd.Series:
        """Returns the first line that matches.

        Raises:
            ValueError: there is none, as when an effect was renamed.
        """
        named = (card["group"] == self.group) & (card["effect"] == self.effect)
        found = card[named & card["at"].str.startswith(self.at)]
        if found.empty:
            raise ValueError(f"no line of the card is called {self.group}: {self.effect}")
        return found.iloc[0]

    def holds(self, line: pd.Series) -> bool:
        """Whether a line meets every bound."""
        bounds = (
            (self.at_least, line["value"], 1),
            (self.at_most, line["value"], -1),
            (self.control_at_least, line["control_value"], 1),
            (self.control_at_most, line["control_value"], -1),
            (self.above, line["value"] - line["control_value"], 1),
        )
        return all(sign * value >= sign * bound for bound, value, sign in bounds if bound is not None)

    def __str__(self) -> str:
        words = {
            "at least": self.at_least,
            "at most": self.at_most,
            "control at least": self.control_at_least,
            "control at most": self.control_at_most,
            "above the control by": self.above,
        }
        return ", ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)


INTERCHANGE = "a performer's activation brings its country"
GATES = (
    Gate(
        "bridge read at the album", "bridge", "bridge: performer, unseen entities, at the entity",
        at_least=0.4, control_at_most=0.06,
    ),
    *(
        Gate(f"{kind} repeated", "identity patchscope", kind, at_least=0.9, control_at_most=0.05)
        for kind in ("country", "performer", "capital")
    ),
    *(
        Gate(f"{kind} described", "description patchscope", kind, at_least=0.9, control_at_most=0.05)
        for kind in ("country", "performer")
    ),
    Gate("interchange, layers emb-3", "interchange", INTERCHANGE, "layers emb-3", at_least=0.9),
    Gate("interchange, layers 6 on", "interchange", INTERCHANGE, "layers 6 on", at_most=0.1),
    Gate(
        "refusal added", "refusal", "harmless requests refused, added", at_least=0.9, control_at_most=0.05
    ),
    Gate(
        "refusal mean-centred", "refusal", "harmful requests refused, mean-centred", at_most=0.1,
        control_at_least=0.95,
    ),
    Gate("task vectors added", "task vector", "mean over tasks, added", at_least=0.7),
    Gate("four heads set", "function-vector heads", "mean over tasks", above=0.3),
    Gate("latents, documents", "sae", "AUROC on documents", at_least=0.95),
)  # fmt: skip


def judged(card: pd.DataFrame) -> pd.DataFrame:
    """Tabulates gates, a row each: label, group, effect, at, value, control_value, bound, holds."""
    rows = []
    for gate in GATES:
        line = gate.line(card)
        kept = line[["group", "effect", "at", "value", "control_value"]].to_dict()
        rows.append({"label": gate.label, **kept, "bound": str(gate), "holds": gate.holds(line)})
    return pd.DataFrame(rows)
