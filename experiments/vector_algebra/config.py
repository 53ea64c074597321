"""Vector algebra: do sums and differences of task vectors do composed tasks better than their parts?"""

from interp.errors import UserError
from interp.fields import CountOrZero, Finite, NonEmpty, PathText, Section, Several, Word

from ..common.vectors.config import NamedTasksConfig, check_vector_config


class Term(Section):
    """One vector of a sum."""

    task: PathText
    """A task of the world, or a .json file of examples."""
    weight: Finite = 1
    """The factor of the vector."""
    shots: CountOrZero = 5
    """Examples in its prompts; the vector is their mean minus that of prompts without examples. With 0, the
    mean of prompts without examples alone: for differences of tasks that are asked in words."""

    @property
    def title(self) -> str:
        """Returns its weight and its task as text."""
        return f"{self.weight:+g} {self.task}"


class Composition(Section):
    """A sum of vectors, and the target task that it should do."""

    name: Word
    """The name of the composition."""
    target: PathText
    """A task of the world, or a .json file; its queries are asked without examples, its answers count."""
    parts: NonEmpty[Term]
    """The vectors that are summed, with their weights."""


class Config(NamedTasksConfig):
    """Which sums are compared with their parts."""

    compositions: NonEmpty[Composition]
    """Sums and their targets."""
    strengths: NonEmpty[Finite] = (1.0, 2.0)
    """Multiples of a sum, and of each part alone."""
    prompts: Several = 96
    """Number of prompts whose mean is a vector."""


def check(config: Config) -> None:
    """Raises UserError for missing files and unknown tasks, before anything is written."""
    info = check_vector_config(config)
    names = [composition.name for composition in config.compositions]
    if len(set(names)) < len(names):
        raise UserError("two compositions have one name", "compositions", "name each differently")
    for composition in config.compositions:
        if len({(part.task, part.weight) for part in composition.parts}) < len(composition.parts):
            raise UserError("a part stands twice", f"composition {composition.name}", "give it one weight")
        for name in (composition.target, *(part.task for part in composition.parts)):
            if not name.endswith(".json") and not info.speaks_world:
                raise UserError(f"{name!r} is a task of the world", "compositions", "give .json files")
            config.task_source(name).check(info)
