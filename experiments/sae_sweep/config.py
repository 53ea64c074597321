"""Train dictionaries of several sparsities and widths together, and draw the frontier that they make."""

from experiments.train_saes.config import EvaluationConfig, check_training
from interp.config import ExperimentConfig
from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.fields import Extent, NonEmpty, Positive, Section
from interp.subject.config import SubjectConfig
from interp.subject.site import Site, SiteName
from saes.architecture import Architecture, TopK
from saes.config import SaeTraining
from saes.train import Plan


class Family(Section):
    """Dictionaries of one architecture."""

    architecture: Architecture = TopK()
    """The architecture, with all settings but the sparsity."""
    sparsities: NonEmpty[Positive] = (8, 16, 32)
    """Values of what makes it sparse: k, max_latents, l1_coefficient or l0_coefficient, whichever it has."""


class Config(ExperimentConfig):
    """Which sparsities and widths are trained, and on what."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""
    corpus: CorpusSource = WorldSource()
    """The text."""
    site: SiteName = "resid_post.4"
    """Where all of them read: KIND.LAYER."""
    families: NonEmpty[Family] = (Family(),)
    """The architectures, each with its sparsities."""
    widths: NonEmpty[Extent] = (512, 1024, 2048)
    """Numbers of latents."""
    sae: SaeTraining = SaeTraining()
    """Everything else about the training; its architecture and n_latents are not looked at."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How they are measured."""

    def plans(self) -> list[Plan]:
        """One dictionary for every sparsity of a family and every width."""
        return [plan for plan, _, _ in self.grid()]

    def grid(self) -> list[tuple[Plan, str, float]]:
        """Every dictionary with its architecture's kind and its sparsity."""
        settings = self.sae.model_dump()
        cells = []
        for family in self.families:
            kind, key = family.architecture.kind, family.architecture.sparsity_key
            for sparsity in family.sparsities:
                architecture = family.architecture.model_dump() | {key: sparsity}
                for width in self.widths:
                    training = SaeTraining.model_validate(
                        settings | {"architecture": architecture, "n_latents": width}
                    )
                    name = f"{kind}-{sparsity:g}-{width}"
                    cells.append((Plan(name, Site.parse(self.site), training), kind, sparsity))
        return cells


def check(config: Config) -> None:
    """Finds an impossible site, sparsity, width, corpus or context before anything is written."""
    try:
        plans = config.plans()
    except ValueError as error:
        message = str(error).splitlines()
        raise UserError(
            f"a combination of the sweep is impossible: {message[-2].strip() if message[1:] else message[0]}",
            "families.sparsities, widths",
            "leave out the sparsities that do not fit the smallest width",
        ) from None
    check_training(config.subject, config.corpus, plans, config.evaluation)
