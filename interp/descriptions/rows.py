"""Writes described features as rows of a store, with short forms and verdicts."""

from collections.abc import Mapping, Sequence

from interp.descriptions.choice import Choice, ChosenScores
from interp.descriptions.interest import Verdict, by_rule
from interp.descriptions.score import Score
from interp.descriptions.summary import clipped
from interp.document import Corpus
from interp.features.ref import FeatureRef
from interp.features.space import Polarity
from interp.mining.exemplars import quantiles_of
from interp.mining.mined import Mined, MinedSpaces
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store


class RowWriter:
    """Makes rows of a store from what all rows share.

    `short` are the short forms by text, `verdicts` those of a trained classifier by text, if there is one.
    """

    def __init__(
        self,
        run: str,
        seed: int,
        corpus: Corpus,
        mined: MinedSpaces,
        short: Mapping[str, str],
        verdicts: Mapping[str, Verdict] | None,
    ) -> None:
        self._run, self._seed, self._corpus, self._mined = run, seed, corpus, mined
        self._short, self._verdicts = short, verdicts

    def row(
        self, feature: FeatureRef, choices: Sequence[Choice], results: Sequence[ChosenScores | None]
    ) -> FeatureRow:
        """Makes the row of a feature with all that is known of it; `results` are its scores by explainer."""
        found = self._mined[feature.space.name].exemplars
        explain = found["explain"]
        side: Polarity = 1 if feature.polarity > 0 else -1
        rate = float(explain.rate[explain.line(feature.feature_id, side)])
        exemplars = [
            ExemplarRow(self._corpus.name, split, ref.document, ref.start, ref.value, ref.band, ref.quantile)
            for split in ("explain", "select", "report")
            for ref in found[split].windows(feature.feature_id, side)
        ]
        described = []
        for choice, scored in zip(choices, results, strict=True):
            scores = scored.scores if scored else ()
            for place, one in enumerate(choice.candidates):
                own = scores if place == choice.best else ()
                verdict = self._verdict(one.text, own) if own else None
                provenance = {"run": self._run, "seed": self._seed, "select": choice.values[place]}
                described.append(
                    DescriptionRow(
                        one.text, one.explainer, one.sample, self._short[one.text], place == choice.best,
                        verdict.interesting if verdict else None, verdict.reason if verdict else "",
                        provenance, own,
                    )
                )  # fmt: skip
        quantiles = {f"{level:.6g}": value for level, value in quantiles_of(explain, feature).items()}
        return FeatureRow(
            feature.space.name, feature.feature_id, side, rate, quantiles, tuple(described),
            tuple(exemplars),
        )  # fmt: skip

    def _verdict(self, text: str, scores: Sequence[ScoreRow]) -> Verdict:
        if self._verdicts is not None:
            return self._verdicts[text]
        main = next(row for row in scores if row.kind == "simulation")
        nan = float("nan")
        value = nan if main.value is None else main.value
        high = nan if main.null_high is None else main.null_high
        undefined = None if main.value is not None else "its score is not defined"
        return by_rule(text, Score(value, nan, nan, nan, nan, high, 0, 0, 0, 0, undefined))


def put_described(
    store: Store,
    mined: Mined,
    features: Sequence[FeatureRef],
    choices: Sequence[Sequence[Choice]],
    results: Sequence[Sequence[ChosenScores | None]],
    *,
    run: str = "",
    seed: int = 0,
    short: Mapping[str, str] | None = None,
    verdicts: Mapping[str, Verdict] | None = None,
) -> None:
    """Keeps the spaces, and the features with their descriptions, scores and exemplars.

    `short` are short forms by text, clipped by a rule if not given; `verdicts` are those of a classifier.
    """
    subject, corpus = mined.subject, mined.corpus
    for space in mined.spaces.values():
        store.put_space(
            SpaceRow(
                subject.name, space.name, str(space.site), space.site.layer, space.n_features, space.signed,
                {"run": run, "corpus": corpus.name},
            )
        )  # fmt: skip
    if short is None:
        short = {one.text: clipped(one.text) for of in choices for choice in of for one in choice.candidates}
    writer = RowWriter(run, seed, corpus, mined, short, verdicts)
    store.put(subject.name, [writer.row(*one) for one in zip(features, choices, results, strict=True)])
