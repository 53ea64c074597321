"""Config sections that the experiments on dictionaries share, and the naming of their results."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from interp.cost import Stage, SubjectShape, TextSize, joined
from interp.fields import Extent, Section, Several
from interp.track.folder import check_run_name
from saes.cost import evaluation_stage, kept_part, together
from saes.train import Plan, check_plans

from ..config import (
    KeepingJobConfig,
    SharedJobConfig,
    check_context,
    check_kept_by_one,
    check_one_context,
    check_subject_and_corpus,
)


class EvaluationConfig(Section):
    """How dictionaries are measured."""

    tokens: Extent = 20_000
    """Tokens of the report split that are read."""
    context_size: Several = 128
    """Context of the subject, in tokens."""
    loss_tokens: Extent | None = None
    """Tokens of a random sample of their documents on which cross-entropy and KL are measured; null: as many
    as have 2^30 logits in the model's vocabulary, 4,096 of 262,144 words."""


class TrainingJobConfig(KeepingJobConfig, SharedJobConfig):
    """A job that trains several dictionaries from one reading of the corpus."""

    evaluation: EvaluationConfig = EvaluationConfig()
    """How the dictionaries are measured."""

    @abstractmethod
    def plans(self) -> list[Plan]:
        """What is trained."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Returns two stages: training all dictionaries from one reading of the text, and measuring them."""
        plans, own = self.plans(), self.evaluation
        training = together(
            [self.training(shape, str(plan.site), plan.training, text) for plan in plans],
            len({site for plan in plans for site in plan.sites}),
        )
        if self.activations is not None:
            sites = [site for plan in plans for site in plan.sites]
            training = replace(
                training, disk=(*training.disk, kept_part(shape, sites, self.activations, text))
            )
        dtype = self.subject.resolved_dtype()
        measured = [
            evaluation_stage(shape, dtype, plan.site, plan.training, own.tokens, own.loss_tokens, text)
            for plan in plans
        ]
        return [training, joined(f"measure {len(plans)} dictionaries", measured)]


def check_training(config: TrainingJobConfig) -> None:
    """Raises UserError if some dictionaries cannot be trained or measured."""
    plans, info = config.plans(), check_subject_and_corpus(config)
    check_plans(plans)
    sizes = {"evaluation": config.evaluation.context_size, "sae": plans[0].training.context_size}
    check_context(info, sizes)
    if config.activations is not None:
        check_one_context(sizes)
        check_kept_by_one(config.engine)
    for plan in plans:
        check_run_name(plan.name, "the name of a dictionary")
        for site in plan.sites:
            info.site_width(site)


def slug(name: str) -> str:
    """Turns a name into a part of a metric's or a folder's name."""
    return name.replace(", ", "_").replace(" ", "_").replace("/", "_")
