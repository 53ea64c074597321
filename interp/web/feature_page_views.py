"""What the page of one feature is told, as plain JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any

from interp.inspection.comparison import kind_of
from interp.inspection.evidence import Activity, Exemplar, Exemplars, Reading
from interp.inspection.feature import LikeDirections, LogitEffects, Said, TokenEffect
from interp.inspection.firing_together import Companions
from interp.inspection.people import PREFIX, rating_of
from interp.monitor.bench import Bench
from interp.store.rows import DescriptionRow, FeatureRow, ScoreRow
from interp.store.search import Hit
from interp.subject.subject import Subject
from interp.web.views import Json, known_view

EXTREME = "0.99999"
"""The quantile at which a feature's heat is full."""


def said_view(said: Said) -> Json:
    """What is said of a feature, by measurement and by people."""
    return {
        "key": said.feature.key,
        "kind": kind_of(said.feature.space.name),
        **known_view(said.known),
        "rate": said.row.rate,
        "quantiles": dict(sorted(said.row.quantiles.items(), key=lambda pair: float(pair[0]))),
        "measured": [described_view(one) for one in said.measured],
        "people": [person_view(one) for one in said.people],
    }


def described_view(one: DescriptionRow) -> Json:
    """A description with its scores; `guess` marks those that are not above their null."""
    return {
        "text": one.text,
        "explainer": one.explainer,
        "sample": one.sample,
        "chosen": one.chosen,
        "scores": [vars(score) | {"guess": _is_guess(score)} for score in one.scores],
    }


def person_view(one: DescriptionRow) -> Json:
    """What a person says."""
    return {
        "name": one.explainer.removeprefix(PREFIX),
        "text": one.text,
        "rating": rating_of(one),
        "rates": str(one.provenance.get("rates", "")),
    }


def made_view(row: FeatureRow, name: str) -> Json:
    """A description that was just made, under the name by which it can be kept."""
    return {"made": name, "measured": [described_view(one) for one in row.descriptions]}


def exemplars_view(subject: Subject, found: Exemplars, quantiles: Mapping[str, float]) -> Json:
    """Windows with activations on one scale: up to the extreme quantile, or the largest peak."""
    peaks = [float(one.window.values[one.peak]) for one in found.shown if one.peak is not None]
    extreme = quantiles.get(EXTREME, 0.0)
    return {
        "windows": [_window(subject, one) for one in found.shown],
        "top": extreme if extreme > 0 else max([0.0, *peaks]),
        "top_is": f"its {EXTREME} quantile" if extreme > 0 else "its largest peak here",
        "missing": dict(found.missing),
        "outside": found.outside,
        "moved": found.moved,
    }


def _window(subject: Subject, one: Exemplar) -> Json:
    row, window = one.row, one.window
    ids = window.tokens.tolist()
    return {
        "corpus": row.corpus,
        "split": row.split,
        "document": row.document,
        "start": row.start,
        "band": row.band,
        "quantile": row.quantile,
        "value": row.value,
        "peak": None if row.band == "silent" else one.peak,
        "tokens": _tokens(subject, ids),
        "values": _rounded(window.values),
    }


def activity_view(found: Activity) -> Json:
    """A histogram of the activation, and how often it is above zero."""
    return {
        "corpus": found.corpus,
        "documents": found.n_documents,
        "tokens": found.n_tokens,
        "active": found.active._asdict(),
        "edges": found.edges.tolist(),
        "counts": found.counts.tolist(),
    }


def logits_view(subject: Subject, found: LogitEffects) -> Json:
    """The tokens that a feature moves most; `beyond` are those that random directions do not move as far."""

    def rows(effects: Sequence[TokenEffect], beyond: Sequence[bool]) -> list[Json]:
        texts = subject.token_strings([one.token for one in effects])
        return [
            {"id": one.token, "text": text, "effect": one.effect, "beyond": out}
            for one, text, out in zip(effects, texts, beyond, strict=True)
        ]

    return {
        "top": rows(found.top, [one.effect > found.highest.high for one in found.top]),
        "bottom": rows(found.bottom, [one.effect < found.lowest.low for one in found.bottom]),
        "highest": found.highest._asdict(),
        "lowest": found.lowest._asdict(),
        "draws": found.draws,
    }


def similar_view(bench: Bench, key: str, hits: Sequence[Hit], found: LikeDirections) -> Json:
    """The features that mean nearly the same, and those that write nearly the same."""
    near = [hit for hit in hits if hit.key != key]
    known = bench.knowledge.of([*(hit.key for hit in near), *(one.key for one in found.nearest)])
    return {
        "by_meaning": [
            {"key": hit.key, "similarity": hit.similarity, **known_view(known[hit.key])} for hit in near
        ],
        "by_direction": [
            {
                "key": one.key,
                "cosine": one.cosine,
                "beyond": one.cosine > found.null.high,
                **known_view(known[one.key]),
            }
            for one in found.nearest
        ],
        "null": found.null._asdict(),
        "draws": found.draws,
        "features": found.n_features,
        "left_out": found.left_out,
    }


def together_view(bench: Bench, found: Companions) -> Json:
    """The features that fire with one, each with its correlation and what is known of it."""
    known = bench.knowledge.of([one.key for one in found.found])
    return {
        "corpus": found.corpus,
        "documents": found.n_documents,
        "tokens": found.n_tokens,
        "features": found.n_features,
        "null": found.null._asdict(),
        "found": [
            {
                "key": one.key,
                "correlation": one.correlation._asdict(),
                "beyond": not one.correlation.value <= found.null.high,
                **known_view(known[one.key]),
            }
            for one in found.found
        ],
    }


def reading_view(subject: Subject, found: Reading, quantiles: Mapping[str, float]) -> Json:
    """A text with the feature's activation on each token."""
    largest = 0.0 if found.peak is None else float(found.values[found.peak])
    extreme = quantiles.get(EXTREME, 0.0)
    return {
        "tokens": _tokens(subject, found.ids),
        "values": _rounded(found.values),
        "peak": found.peak,
        "value": largest,
        "level": found.level,
        "top": extreme if extreme > 0 else max(0.0, largest),
    }


def _tokens(subject: Subject, ids: Sequence[int]) -> list[Json]:
    special = subject.special_ids
    return [
        {"text": text, "id": number} | ({"special": True} if number in special else {})
        for number, text in zip(ids, subject.token_strings(list(ids)), strict=True)
    ]


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _is_guess(score: ScoreRow) -> bool:
    if score.value is None:
        return True
    return score.null_high is not None and score.value <= score.null_high
