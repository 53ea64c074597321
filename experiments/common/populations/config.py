"""Config sections of the experiments that describe populations of features and compare them with concepts."""

from interp.fields import Auroc, Count, Section, Several


class ScoringConfig(Section):
    """On how much text a description is scored."""

    random_windows: Count = 30
    """Random windows of the report split, the same for every feature."""
    nulls: Count = 32
    """Other features' descriptions, whose scores are the null of each score."""


class DescribeConfig(ScoringConfig):
    """How many features are described, and on how much text a description is scored."""

    sample: Several = 64
    """Features of each population, drawn uniformly from those that are ever active."""


class ConceptsConfig(Section):
    """The comparison with the labels of the corpus; skipped if it has none."""

    least_positives: Count = 10
    """Least number of sampled tokens with a concept, on the select and on the report split."""
    found_auroc: Auroc = 0.9
    """Least AUROC of a concept that counts as found; its interval must also lie above random's."""
