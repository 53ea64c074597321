"""What the Monitor's pages are told, as plain JSON values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from interp.features.ref import FeatureRef
from interp.monitor.bench import Bench
from interp.monitor.effects import Effects
from interp.monitor.groups import Groups
from interp.monitor.important import Ranking
from interp.monitor.knowledge import Knowledge, Known
from interp.monitor.session import Session
from interp.monitor.steering import Steering
from interp.monitor.watch import Watcher
from interp.statistics.estimate import Estimate
from interp.store.rows import FeatureRow
from interp.store.search import Hit
from interp.subject.stream import TokenRead
from interp.subject.subject import Subject

Json = dict[str, Any]


def view_of(name: str, session: Session) -> Json:
    """All that a page shows of a session: its state, the shown path with its tokens, and what is watched."""
    talk, subject = session.state.conversation, session.subject
    begun = talk.shown is not None
    spans = {span.turn: (span.start, span.end) for span in talk.spans(subject)} if begun else {}
    reads = session.read() if begun else []
    steering = session.steering()
    return {
        "session": name,
        "state": session.state.model_dump(mode="json"),
        "turns": [_turn(session, number, spans.get(number)) for number in talk.path()],
        "tokens": token_views(subject, reads, _places(spans)),
        "can_undo": session.can_undo,
        "can_redo": session.can_redo,
        "steering": {"features": steering.n_features, "left_out": _left_out(steering)},
        "watched": _watched(session, begun),
    }


def token_views(
    subject: Subject,
    reads: Sequence[TokenRead],
    places: Mapping[int, tuple[int, int]] | None = None,
) -> list[Json]:
    """Tokens with their probabilities; `places` are the turn of a token, and its place in that turn."""
    texts = _texts(subject, [one.token for one in reads] + [t for one in reads for t, _ in one.alternatives])
    found = []
    for number, one in enumerate(reads):
        turn, place = (places or {}).get(number, (None, None))
        found.append(
            {
                "text": texts[one.token],
                "id": one.token,
                "special": one.token in subject.special_ids,
                "p": None if one.log_prob is None else math.exp(one.log_prob),
                "alternatives": [
                    {"id": token, "text": texts[token], "p": math.exp(nats)}
                    for token, nats in one.alternatives
                ],
                "turn": turn,
                "place": place,
            }
        )
    return found


def ranking_view(session: Session, ranking: Ranking, filtered_out: int) -> Json:
    """A ranking with what is known of its features."""
    known = session.bench.knowledge.of(one.key for one in ranking.features)
    return {
        "by": ranking.by,
        "target": ranking.target,
        "target_value": ranking.target_value,
        "share": ranking.share,
        "control": _estimate(ranking.control),
        "n_features": ranking.n_features,
        "unknown": ranking.unknown,
        "features": [
            {
                "key": one.key,
                "space": one.key.rpartition("/")[0],
                "layer": one.layer,
                "value": one.value,
                "activation": one.activation,
                "by_token": one.by_token,
                **known_view(known[one.key]),
            }
            for one in ranking.features
        ],
        "filtered_out": filtered_out,
    }


def known_view(known: Known) -> Json:
    """The description of a feature with its score, and whether it is a guess."""
    score = known.score
    return {
        "description": known.text,
        "short": known.short,
        "score": None if score is None else score.value,
        "score_low": None if score is None else score.low,
        "score_high": None if score is None else score.high,
        "null_high": None if score is None else score.null_high,
        "n": None if score is None else score.n,
        "guess": known.is_guess,
    }


def groups_view(ranking: Ranking, found: Groups) -> Json:
    """Groups of a ranking's features by meaning; none where no feature is described."""
    named = [
        {
            "name": one.name,
            "keys": one.keys,
            "share": one.share,
            "signed": one.signed,
            "out_of_place": one.out_of_place,
            "named_by": one.named_by,
            "grade": one.grade,
        }
        for one in found.groups
    ]
    grouped = sum(len(one.keys) for one in found.groups)
    rest = len(ranking.features) - grouped - len(found.ungrouped)
    return {"groups": named, "ungrouped": len(found.ungrouped), "without_description": rest}


def readings_view(session: Session) -> Json | None:
    """What is watched, at the last token that was read while the session writes."""
    place, values = session.live
    return {"place": place, "values": values.tolist()} if len(values) else None


def hits_view(knowledge: Knowledge, hits: Sequence[Hit]) -> Json:
    """What a search found, with what is known of each feature."""
    known = knowledge.of(hit.key for hit in hits)
    return {
        "hits": [
            {
                "key": hit.key,
                "similarity": hit.similarity,
                "text": hit.text,
                "short": hit.summary or hit.text,
                "score": known_view(known[hit.key])["score"],
                "guess": known[hit.key].is_guess,
            }
            for hit in hits
        ]
    }


def effects_view(subject: Subject, found: Effects) -> Json:
    """What a steering set changes, beside a random one."""
    texts = _texts(subject, [one.token for one in found.moved])
    return {
        "unsteered": token_views(subject, found.unsteered),
        "steered": token_views(subject, found.steered),
        "changed": found.changed,
        "random": None if found.random is None else token_views(subject, found.random),
        "moved": [
            {
                "id": one.token,
                "text": texts[one.token],
                "unsteered": one.unsteered,
                "steered": one.steered,
                "random": one.random,
            }
            for one in found.moved
        ],
        "side_effect": _estimate(found.side_effect),
        "random_side_effect": _estimate(found.random_side_effect),
        "features": found.steering.n_features,
        "left_out": _left_out(found.steering),
        "without_random": found.without_random,
    }


def feature_view(bench: Bench, key: str) -> Json:
    """All that the first store that knows a feature says of it.

    Raises:
        UserError: the key names no feature.
    """
    one = FeatureRef.parse(key, bench.all_spaces)
    known = bench.knowledge.of([one.key])[one.key]
    rows = (row for store in bench.knowledge.stores for row in store.features(bench.subject.name, [one.key]))
    row = next(rows, FeatureRow(one.space.name, one.feature_id, -1 if one.polarity < 0 else 1))
    return {
        "key": one.key,
        "space": one.space.name,
        "layer": one.space.site.layer,
        **known_view(known),
        "interesting": known.interesting,
        "rate": known.rate,
        "quantiles": dict(known.quantiles),
        "descriptions": [
            {
                "text": told.text,
                "short": told.summary or told.text,
                "explainer": told.explainer,
                "chosen": told.chosen,
                "scores": [vars(score) for score in told.scores],
            }
            for told in row.descriptions
        ],
    }


def _turn(session: Session, number: int, span: tuple[int, int] | None) -> Json:
    talk = session.state.conversation
    branches = talk.branches(number)
    return {
        "turn": number,
        "role": talk.turns[number].role,
        "text": talk.text(session.subject, number),
        "branches": branches,
        "position": branches.index(number),
        "span": span,
    }


def _places(spans: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    return {
        start + place: (turn, place) for turn, (start, end) in spans.items() for place in range(end - start)
    }


def _watched(session: Session, begun: bool) -> list[Json]:
    watches = session.state.watches
    if not begun:
        Watcher(session.subject, session.bench.spaces, watches)  # raises UserError if one does not fit
    values = session.watched().tolist() if begun and watches else [[] for _ in watches]
    return [{"name": one.name, "values": row} for one, row in zip(watches, values, strict=True)]


def _left_out(steering: Steering) -> list[Json]:
    return [one._asdict() for one in steering.left_out]


def _estimate(found: Estimate | None) -> Json | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def _texts(subject: Subject, ids: Sequence[int]) -> dict[int, str]:
    return dict(zip(ids, subject.token_strings(ids), strict=True))
