"""Describe features in words without a language model, simulate the descriptions and score them."""

from interp.descriptions.description import Description, Part
from interp.descriptions.evidence import Evidence, Window
from interp.descriptions.pattern import ExplainSettings
from interp.descriptions.population import (
    describe_all,
    describe_features,
    score_descriptions,
)
from interp.descriptions.score import Score
from interp.descriptions.trie import IGNORE, End, PatternTrie
from interp.features.ref import FeatureRef

__all__ = [
    "IGNORE",
    "Description",
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
