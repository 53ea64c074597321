"""Describing one feature again: by an explainer that works here, scored beside its null."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from interp.descriptions.described import describe, score
from interp.descriptions.sample import sample_active
from interp.document import Corpus
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.mining.config import MiningConfig
from interp.mining.mined import Mined, mine
from interp.store.rows import FeatureRow
from interp.subject.folder import find_folder
from interp.subject.subject import Subject
from interp.track.progress import Progress

ExplainerName = Literal["patterns", "local"]
LOCAL_MODEL = "gemma-3-270m"
"""The model that writes descriptions in words, where its folder is found."""
MOST_DOCUMENTS = 3000
"""Documents that are mined."""
OTHERS = 8
"""Other features of the space whose descriptions make the null."""
_OPTIONS: Mapping[ExplainerName, tuple[dict[str, Any], dict[str, Any]]] = {
    "patterns": ({"kind": "patterns"}, {"kind": "known"}),
    "local": ({"kind": "local", "model": LOCAL_MODEL}, {"kind": "likely_words", "model": LOCAL_MODEL}),
}
"""Each explainer with the simulator that reads what it writes."""


def explainers() -> list[ExplainerName]:
    """The explainers that work here without an endpoint."""
    try:
        find_folder(LOCAL_MODEL)
    except UserError:
        return ["patterns"]
    return ["patterns", "local"]


@dataclass(frozen=True)
class Step:
    """What is being done."""

    words: str


def described_again(
    subject: Subject,
    corpus: Corpus,
    feature: FeatureRef,
    explainer: ExplainerName = "patterns",
    progress: Progress | None = None,
) -> Iterator[Step | FeatureRow]:
    """Mines a feature's space, describes the feature and `OTHERS` for the null, and scores them.

    Yields what it does, and at last the feature's row as a store of `interp.score`'s result holds it.

    Raises:
        UserError: no description comes of it.
    """
    n = min(len(corpus), MOST_DOCUMENTS)
    yield Step(f"Mining {feature.space.name} on {n:,} documents of {corpus.name}")
    config = MiningConfig(context_size=min(MiningConfig().context_size, subject.n_ctx))
    mined = mine(subject, [feature.space], corpus, config, documents=range(n), progress=progress)
    features = with_others(mined, feature)
    yield Step(f"Describing it, and {len(features) - 1} others for the null")
    writes, simulates = _OPTIONS[explainer]
    described = describe(mined, [writes], features, simulator=simulates, progress=progress)
    yield Step("Scoring the descriptions on text they were not made from")
    scored = score(described, nulls=OTHERS, progress=progress)
    with scored.store() as store:
        row = store.feature(subject.name, feature.key)
    if not row.descriptions:
        fix = "give the server another text"
        raise UserError(f"nothing can be said of {feature.key} from this text", corpus.name, fix)
    yield row


def with_others(mined: Mined, feature: FeatureRef) -> list[FeatureRef]:
    """The feature, and others of its space that are ever active, drawn at random: they make its null."""
    explain = {name: found.exemplars["explain"] for name, found in mined.items()}
    drawn = sample_active([feature.space], explain, OTHERS + 1, 0)
    return [feature, *(one for one in drawn if one.key != feature.key)][: OTHERS + 1]
