"""Parts of a config that the experiments on dictionaries share, and how their results are named."""

from interp.errors import UserError
from interp.fields import Auroc, Count, Section, Several
from interp.subject.folder import SubjectInfo


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


def check_context(info: SubjectInfo, sizes: dict[str, int]) -> None:
    """Raises UserError if a context size, by its key in the config, is more than the subject sees."""
    for key, size in sizes.items():
        if size > info.n_ctx:
            raise UserError(
                f"{size} tokens do not fit {info.name}, which sees {info.n_ctx}",
                f"{key}.context_size",
                f"use at most {info.n_ctx}",
            )


def slug(name: str) -> str:
    """A name as part of a metric's or a folder's name."""
    return name.replace(", ", "_").replace(" ", "_").replace("/", "_")
