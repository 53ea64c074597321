"""Notes: what people say of features, and descriptions that were kept, in a store of their own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import Polarity
from interp.store.rows import Contents, DescriptionRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store

PREFIX = "person: "
"""What the explainer of a description that a person wrote begins with; the name follows."""
RATING = "rating"
"""The kind of score that a person gives, 1 to 5, with the split `people`."""


def is_persons(description: DescriptionRow) -> bool:
    """Whether a person wrote a description."""
    return description.explainer.startswith(PREFIX)


def rating_of(description: DescriptionRow) -> int | None:
    """The rating that its author gave, of the description that was shown then."""
    values = (one.value for one in description.scores if one.kind == RATING)
    return next((int(value) for value in values if value is not None), None)


@dataclass
class Notes:
    """The notes on one subject's features; they stand apart from what was measured."""

    store: Store
    subject: str
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, feature: FeatureRef) -> list[FeatureRow]:
        """What is noted of a feature: one row, or none."""
        return list(self.store.features(self.subject, [feature.key]))

    def say(self, feature: FeatureRef, name: str, text: str, rating: int | None, rated: str = "") -> None:
        """Keeps a person's description, rating, or both, in place of what that person said before.

        `rated` is the description that the rating is of.

        Raises:
            UserError: neither is given, or there is nothing to rate.
        """
        if not text and rating is None:
            raise UserError(
                "there is nothing to keep", "description", "write a description, or choose a rating"
            )
        if rating is not None and not rated:
            raise UserError("no description is there to be rated", "rating", "write one instead")
        scores = () if rating is None else (ScoreRow(RATING, name, "people", float(rating), n=1),)
        rates = {} if rating is None else {"rates": rated}
        with self._row(feature) as row:
            said = DescriptionRow(text, PREFIX + name, chosen=bool(text), provenance=rates, scores=scores)
            self._put(feature, replace(row, descriptions=(said,), exemplars=()))

    def keep(self, feature: FeatureRef, made: FeatureRow) -> None:
        """Keeps measured descriptions of a feature, with their scores, quantiles and exemplars."""
        with self._row(feature):
            self._put(feature, made)

    @contextmanager
    def _row(self, feature: FeatureRef) -> Iterator[FeatureRow]:
        side: Polarity = 1 if feature.polarity > 0 else -1
        empty = FeatureRow(feature.space.name, feature.feature_id, side)
        with self._writing:
            yield next(iter(self.rows(feature)), empty)

    def _put(self, feature: FeatureRef, row: FeatureRow) -> None:
        of = feature.space
        space = SpaceRow(self.subject, of.name, str(of.site), of.site.layer, of.n_features, of.signed)
        self.store.put_all(Contents([space], {self.subject: [row]}), replaced=False)
