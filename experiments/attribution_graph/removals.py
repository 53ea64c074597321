"""Removes features of an attribution graph: what it predicted, and what happens to the answer."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from interp.circuits.attribution_graphs import AttributionGraph, Effects, intervene, node_influence
from interp.circuits.attribution_graphs.interventions import Hold
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.inspection.feature import direction_of, logit_effects
from interp.subject import Subject

PROMOTED = 4  # tokens that are named of those that a feature promotes
PREDICTED: Mapping[Hold, Literal["total", "direct"]] = {"nothing": "total", "everything": "direct"}
"""Which effects of the graph are held to what happens, by what an intervention holds."""


class Removals:
    """What removing features of one graph does to its answer, and what the graph predicted.

    The most influential features are removed one by one and together, and so are random others of the graph.
    """

    def __init__(
        self,
        subject: Subject,
        spaces: Sequence[ReadableFeatures],
        graph: AttributionGraph,
        removed: int,
        random_draws: int,
        seed: Sequence[int],
    ) -> None:
        self.subject, self.spaces, self.graph, self.seed = subject, spaces, graph, seed
        strength = node_influence(graph)
        features = graph.of_kind("feature").nonzero()[:, 0]
        order = features[strength[features].argsort(descending=True, stable=True)].tolist()
        k = min(removed, len(order) // 2)
        self.top, rest = order[:k], order[k:]
        rng = np.random.default_rng(seed)
        self.random = [rng.choice(rest, k, replace=False).tolist() for _ in range(random_draws)]
        self.influence = (strength / graph.logit_weights.sum()).tolist()
        sets, singles = [self.top, *self.random], [[node] for node in (*self.top, *self.random[0])]
        self.names = ["top"] * k + ["random"] * k
        self.sets = {hold: self._removed(sets, hold) for hold in PREDICTED}
        self.singles = {hold: self._removed(singles, hold) for hold in PREDICTED}

    def measures(self) -> dict[str, object]:
        """What is averaged over prompts: drops of the answer's logit, and how well they were predicted."""
        actual = -self.sets["nothing"].logits("actual")[:, 0].numpy()
        predicted = -self.sets["nothing"].logits("total")[:, 0].numpy()
        row: dict[str, object] = {
            "drop": float(actual[0]),
            "predicted": float(predicted[0]),
            "random": float(actual[1:].mean()),
            "random_predicted": float(predicted[1:].mean()),
            "more": float(actual[0] - actual[1:].mean()),
        }
        row |= self._agreement("nothing", "", logits_only=False)
        row |= self._agreement("nothing", "logit_", logits_only=True)
        row |= self._agreement("everything", "held_", logits_only=False)
        held = self.sets["everything"]
        size = float(held.actual.abs().max())
        row["held_gap"] = (
            float((held.actual - held.direct)[held.changed == 0].abs().max()) / size if size else 0.0
        )
        return row

    def table(self) -> pd.DataFrame:
        """Changes of the answer's logit, by what was removed and what was held."""
        parts = []
        for hold, part in PREDICTED.items():
            for effects, names, one in (
                (self.sets[hold], ["top", *["random"] * len(self.random)], False),
                (self.singles[hold], self.names, True),
            ):
                columns: dict[str, object] = {"hold": hold, "removed": names, "one": one}
                columns |= {"predicted": effects.logits(part)[:, 0].numpy()}
                parts.append(pd.DataFrame(columns | {"actual": effects.logits("actual")[:, 0].numpy()}))
        return pd.concat(parts, ignore_index=True)

    def features(self) -> pd.DataFrame:
        """The most influential features: where, what is known of them, and what they do."""
        spaces = {space.name: space for space in self.spaces}
        effects, rows = self.singles["nothing"], []
        for row, place in enumerate(self.top):
            node = self.graph.nodes[place]
            ref = FeatureRef(spaces[node.space], node.feature, -1 if node.value < 0 else 1)
            found = logit_effects(self.subject, direction_of(ref), n=PROMOTED, draws=1)
            promoted = self.subject.token_strings([token.token for token in found.top])
            rows.append(
                {
                    "feature": ref.key,
                    "token": self.graph.words[node.position].strip(),
                    "position": node.position,
                    "description": node.label or None,
                    "promotes": " ".join(word.strip() for word in promoted),
                    "activation": node.value,
                    "influence": self.influence[place],
                    "predicted": float(effects.logits("total")[row, 0]),
                    "actual": float(effects.logits("actual")[row, 0]),
                }
            )
        return pd.DataFrame(rows)

    def _removed(self, sets: Sequence[Sequence[int]], hold: Hold) -> Effects:
        factors = [{self.graph.nodes[node].key: 0.0 for node in one} for one in sets]
        return intervene(self.subject, self.spaces, self.graph, factors, hold=hold)

    def _agreement(self, hold: Hold, prefix: str, *, logits_only: bool) -> dict[str, object]:
        """Rank correlation of predicted and actual changes by single features; its null is another order."""
        try:
            found = self.singles[hold].agreement(
                PREDICTED[hold], logits_only=logits_only, seed=self.seed[0], draws=1
            )
        except UserError:  # fewer than two changes were predicted
            return {f"{prefix}spearman": float("nan"), f"{prefix}shuffled": float("nan")}
        of = {"spearman": found.approximation, "shuffled": found.random}
        return {f"{prefix}{name}": each.spearman.value for name, each in of.items()}
