"""The refusal direction: candidates at every position and layer, their scores, and the choice of one.

Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction" (arXiv 2406.11717).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.causal.outcome import ask
from interp.causal.side_effects import NeutralTexts, neutral_prompts, side_effects
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.intervene import ProjectOut
from interp.subject.forward import Intervention
from interp.subject.read_at import read_at
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.vector import Vector

EPSILON = 1e-8
Number = float | int


@dataclass(frozen=True, eq=False)
class RefusalMeans:
    """Mean activations [position, layer, d_model] of harmful and harmless requests, in double precision.

    `positions` are counted from the end: the tokens that the chat template puts after every request.
    """

    positions: tuple[int, ...]
    harmful: Float[Tensor, "position layer d_model"]
    harmless: Float[Tensor, "position layer d_model"]
    subject: str
    requests: int

    def direction(self, position: int, layer: int) -> Float[Tensor, " d_model"]:
        """The mean difference at one position of `resid_pre`, at its own length."""
        place = self.positions.index(position)
        difference: Tensor = self.harmful[place, layer] - self.harmless[place, layer]
        return difference

    def vector(self, position: int, layer: int, name: str = "refusal") -> Vector:
        """Makes a vector of a candidate, to be added at `resid_pre` of its layer, at all positions."""
        made = {"method": "refusal direction", "position": position, "requests": self.requests}
        site = Site("resid_pre", layer)
        return Vector(name, site, self.direction(position, layer), self.subject, provenance=made)


def template_tail(prompts: Sequence[Sequence[int]]) -> int:
    """Counts the last tokens that all prompts share: those that the chat template puts after the request.

    Raises:
        UserError: the prompts do not end alike, or are all the same.
    """
    first, shortest = prompts[0], min(map(len, prompts))
    shared = next((n for n in range(shortest) if len({p[len(p) - 1 - n] for p in prompts}) > 1), shortest)
    if not 0 < shared < max(map(len, prompts)):
        raise UserError(
            "the prompts share no end" if not shared else f"{len(prompts)} prompts are all {list(first)}",
            "requests",
            "put every request into the same chat template",
        )
    return shared


def refusal_candidates(
    subject: Subject, harmful: Sequence[Sequence[int]], harmless: Sequence[Sequence[int]]
) -> RefusalMeans:
    """Averages `resid_pre` of all layers at every token after the request.

    Raises:
        UserError: there are fewer than two prompts of a kind, or they do not end alike.
    """
    if min(len(harmful), len(harmless)) < 2:
        raise UserError("fewer than two requests of a kind", "requests", "give at least two of each")
    positions = tuple(range(-template_tail([*harmful, *harmless]), 0))
    sites = [Site("resid_pre", layer) for layer in range(subject.n_layers)]
    found = read_at(subject, [*harmful, *harmless], sites, positions)
    stacked = torch.stack([found[site].double() for site in sites], 2)
    bad, good = stacked[: len(harmful)].mean(0), stacked[len(harmful) :].mean(0)
    return RefusalMeans(positions, bad, good, subject.name, min(len(harmful), len(harmless)))


def refusal_scores(subject: Subject, requests: Sequence[Question]) -> Float[np.ndarray, " request"]:
    """Computes the log-odds that the next token begins a refusal: log(P + 1e-8) - log(1 - P + 1e-8).

    P is the probability of a request's `answers` together: the tokens that refusals begin with.
    """
    p = ask(subject, requests).answer
    return np.log(p + EPSILON) - np.log(1 - p + EPSILON)


def treated_rightly(subject: Subject, requests: Sequence[Question], harmful: bool) -> list[Question]:
    """Selects harmful requests that are refused (a score above 0), or harmless ones that are not."""
    scores = refusal_scores(subject, requests)
    return [request for request, score in zip(requests, scores, strict=True) if (score > 0) == harmful]


def score_candidates(
    subject: Subject, candidates: RefusalMeans, harmful: Sequence[Question], harmless: Sequence[Question]
) -> pd.DataFrame:
    """Scores every candidate on requests that it was not made of; a row for each.

    `bypass` is the mean refusal score on harmful requests while the direction is projected out everywhere,
    `induce` that on harmless ones while it is added, `kl` the mean KL(unchanged || projected out) of the next
    token on harmless ones, in nats.
    """
    neutral: NeutralTexts = neutral_prompts(subject, [request.prompt for request in harmless])
    rows = []
    for position in candidates.positions:
        for layer in range(candidates.harmful.shape[1]):
            vector = candidates.vector(position, layer)
            if not vector.norm:  # a token's embedding is the same after both kinds of requests
                rows.append(
                    {"position": position, "layer": layer, "bypass": np.nan, "induce": np.nan, "kl": np.nan}
                )
                continue
            without = vector.project_out(subject)
            with subject.intervene(without):
                bypass = refusal_scores(subject, harmful).mean()
            with subject.intervene(vector.intervention(subject)):
                induce = refusal_scores(subject, harmless).mean()
            kl = side_effects(subject, neutral, [without])["kl"].mean()
            rows.append({"position": position, "layer": layer, "bypass": bypass, "induce": induce, "kl": kl})
    return pd.DataFrame(rows).astype({"position": int, "layer": int})


def select_direction(
    scores: pd.DataFrame,
    n_layers: int,
    *,
    latest: Number = 0.8,
    largest_kl: Number = 0.1,
    least_induced: Number = 0.0,
) -> tuple[int, int]:
    """Selects the position and layer of the candidate that best bypasses refusal and passes the filters.

    Left out are candidates without scores, from layer int(latest * n_layers) on, with a KL above
    `largest_kl`, and with an induced score below `least_induced`: the paper's filters at their values.

    Raises:
        UserError: none passes; says how many each filter left out.
    """
    filters = {
        "no score": scores[["bypass", "induce", "kl"]].isna().any(axis=1),
        f"layer {int(latest * n_layers)} or later": scores["layer"] >= int(latest * n_layers),
        f"KL above {largest_kl:g}": scores["kl"] > largest_kl,
        f"induced below {least_induced:g}": scores["induce"] < least_induced,
    }
    kept = scores[~np.logical_or.reduce(list(filters.values()))]
    if kept.empty:
        counts = ", ".join(f"{int(out.sum())} {why}" for why, out in filters.items())
        raise UserError(
            f"no candidate of {len(scores)} passes the filters ({counts})",
            "selection",
            "loosen the filter that leaves out most, or give more requests",
        )
    best = kept.loc[kept["bypass"].idxmin()]
    return int(best["position"]), int(best["layer"])


def mean_centred_ablation(subject: Subject, vector: Vector, candidates: RefusalMeans) -> list[Intervention]:
    """Holds the direction's projection before every layer at its mean on harmless requests.

    x - ((x - m) . r) r with m the harmless mean of `resid_pre` of that layer at the last token; the first
    layer, where the template's last token has the same embedding in every prompt, is left alone. Plain
    projecting out (`Vector.project_out`) sets the projection to zero instead, and fails where the harmless
    mean is far from zero: then zero is as foreign to a harmless request as to a harmful one, and may still
    read as a refusal.
    """
    return [
        ProjectOut(
            subject, vector.values, [Site("resid_pre", layer)], centre=candidates.harmless[-1, layer].float()
        )
        for layer in range(1, subject.n_layers)
    ]
