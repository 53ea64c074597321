"""What the page of one feature asks for: the bodies and addresses of its requests."""

from typing import Annotated

from pydantic import Field

from interp.fields import Count, Finite, Line, Section, Text, Word
from interp.inspection.describe_again import ExplainerName

Person = Annotated[Word, Field(max_length=80)]


class OfFeature(Section):
    """A feature."""

    key: Word


class Read(OfFeature):
    """A text on which it is read."""

    text: Text


class ClampOn(Read):
    """How strongly it is held while the model writes on after the text."""

    strength: Finite = 1.0
    new_tokens: Count = 24


class Again(OfFeature):
    """What describes it again."""

    explainer: ExplainerName = "patterns"


class Keep(OfFeature):
    """A description that was made, by the name that its result has."""

    made: Line


class SayOf(OfFeature):
    """What a person says of it: a description, a rating of the present one, or both."""

    name: Person
    text: Annotated[Text, Field(max_length=2_000)] = ""
    rating: Annotated[int, Field(strict=True, ge=1, le=5)] | None = None
