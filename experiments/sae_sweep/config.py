"""Train dictionaries of several sparsities and widths, and draw their sparsity-faithfulness frontier."""

from interp.errors import UserError
from interp.fields import Extent, NonEmpty, Positive, Section
from interp.subject.site import Site, SiteName
from saes.architecture import Architecture, TopK
from saes.config import SaeTraining
from saes.train import Plan

from ..common.dictionaries.config import TrainingJobConfig, check_training


class SweptArchitecture(Section):
    """Dictionaries of one architecture."""

    architecture: Architecture = TopK()
    """The architecture, with all settings but the sparsity."""
    sparsities: NonEmpty[Positive] = (8, 16, 32)
    """Values of its sparsity setting: k, max_latents, l1_coefficient or l0_coefficient."""


class Config(TrainingJobConfig):
    """Which sparsities and widths are trained, and on what."""

    site: SiteName = "resid_post.4"
    """Site that all dictionaries read, KIND.LAYER."""
    families: NonEmpty[SweptArchitecture] = (SweptArchitecture(),)
    """The architectures, each with its sparsities."""
    widths: NonEmpty[Extent] = (512, 1024, 2048)
    """Numbers of latents."""
    sae: SaeTraining = SaeTraining()
    """Everything else about the training; its architecture and n_latents are ignored."""

    def plans(self) -> list[Plan]:
        """Returns a plan for every sparsity of a family and every width."""
        settings = self.sae.model_dump()
        plans = []
        for family in self.families:
            for sparsity in family.sparsities:
                architecture = family.architecture.model_dump() | {family.architecture.sparsity_key: sparsity}
                for width in self.widths:
                    changed = {"architecture": architecture, "n_latents": width}
                    training = SaeTraining.model_validate(settings | changed)
                    name = f"{family.architecture.kind}-{sparsity:g}-{width}"
                    plans.append(Plan(name, Site.parse(self.site), training))
        return plans


def check(config: Config) -> None:
    """Raises UserError for a bad site, sparsity, width, corpus or context, before anything is written."""
    try:
        config.plans()
    except ValueError as error:
        message = str(error).splitlines()
        raise UserError(
            f"a combination of the sweep is impossible: {message[-2].strip() if message[1:] else message[0]}",
            "families.sparsities, widths",
            "leave out the sparsities that do not fit the smallest width",
        ) from None
    check_training(config)
