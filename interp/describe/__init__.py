"""Describe features in words without a language model, simulate the descriptions and score them."""

from interp.describe.description import Description, Part
from interp.describe.evidence import Evidence, Window
from interp.describe.pattern import ExplainSettings
from interp.describe.population import (
    Described,
    DescriptionScores,
    describe_all,
    describe_features,
    score_descriptions,
)
from interp.describe.score import Score
from interp.describe.trie import IGNORE, End, PatternTrie
from interp.features.ref import FeatureRef

__all__ = [
    "IGNORE",
    "Described",
    "Description",
    "DescriptionScores",
    "End",
    "Evidence",
    "ExplainSettings",
    "FeatureRef",
    "Part",
    "PatternTrie",
    "Score",
    "Window",
    "describe_all",
    "describe_features",
    "score_descriptions",
]
