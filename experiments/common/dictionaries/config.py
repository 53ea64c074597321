"""Parts of a config that the experiments on dictionaries share, and how their results are named."""

from interp.fields import Auroc, Count, Section, Several


class DescribeConfig(Section):
    """How many features are described, and on how much text a description is scored."""

    sample: Several = 64
    """Features of each population, drawn uniformly from those that are ever active."""
    random_windows: Count = 30
    """Random report windows, the same for every feature."""
    nulls: Count = 32
    """Other features' descriptions that make each score's null."""


class ConceptsConfig(Section):
    """The comparison with the corpus' labels; left out where the corpus has none."""

    least_positives: Count = 10
    """Sampled tokens that must carry a concept, on the select and on the report split."""
    found_auroc: Auroc = 0.9
    """From which AUROC a concept counts as found (its interval must lie above the random baseline's, too)."""


def slug(name: str) -> str:
    """A name as part of a metric's or a folder's name."""
    return name.replace(", ", "_").replace(" ", "_").replace("/", "_")
