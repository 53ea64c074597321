"""The world card: every behaviour and effect of the bundled world, with its control, over several seeds."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from interp.bundled.world.train import Recipe, check_recipe
from interp.config import ExperimentConfig
from interp.errors import UserError
from interp.fields import CountOrZero, Flag, Name, NonEmpty, PathText, Section
from interp.subject.folder import subject_info
from saes.architecture import Transcoder
from saes.config import SaeTraining


class TrainedWorld(Section):
    """A world model that was trained before."""

    kind: Literal["folder"] = "folder"
    name: Name = "shipped"
    """The name of the model on the card."""
    folder: PathText = "world"
    """`world`, or a folder that train_world wrote."""


class Retrained(Section):
    """A world model that is trained first."""

    kind: Literal["retrained"] = "retrained"
    name: Name
    """The name of the model on the card."""
    seed: CountOrZero
    """Seed of its initial weights."""
    recipe: Recipe = Recipe()
    """How the model is trained; `recipe.corpus_seed` is the seed of its documents."""


class Config(ExperimentConfig):
    """Which world models are measured."""

    models: NonEmpty[Annotated[TrainedWorld | Retrained, Field(discriminator="kind")]] = (TrainedWorld(),)
    """World models; the first is the one that the page is about."""
    recorded: Flag = True
    """Whether recorded results of other seeds, and of worlds without a window, are shown beside."""
    dictionaries: SaeTraining = SaeTraining()
    """How the SAE of each model is trained."""


def check(config: Config) -> None:
    """Finds a folder that is no world, a recipe that cannot be followed, or a name twice."""
    names = [model.name for model in config.models]
    if len(set(names)) < len(names):
        raise UserError("two models have one name", "models.name", "name each differently")
    if isinstance(config.dictionaries.architecture, Transcoder):
        raise UserError(
            "a transcoder does not write where it reads", "dictionaries.architecture", "train an autoencoder"
        )
    for model in config.models:
        if isinstance(model, Retrained):
            check_recipe(model.recipe)
        elif not subject_info(model.folder).speaks_world:
            raise UserError(
                f"{Path(model.folder).name} does not have the world's vocabulary",
                "models.folder",
                "use world, or a folder made by train_world",
            )
