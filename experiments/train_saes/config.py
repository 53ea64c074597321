"""Train dictionaries at any sites from one reading of the corpus, and measure each on held-out text."""

from pydantic import Field

from experiments.common.config import check_context
from interp.config import ExperimentConfig
from interp.corpus.source import CorpusSource, WorldSource, check_corpus
from interp.fields import Extent, Name, Section, Several
from interp.subject.config import SubjectConfig
from interp.subject.folder import subject_info
from interp.subject.site import Site, SiteName
from interp.track.folder import check_run_name
from saes.config import SaeTraining
from saes.train import Plan, check_plans


class DictionaryConfig(Section):
    """One dictionary."""

    site: SiteName
    """Where it reads: KIND.LAYER, such as resid_post.4, mlp_out.3, mlp_post.3, head_out.3 (attention z)."""
    sae: SaeTraining = SaeTraining()
    """How it is trained."""


class EvaluationConfig(Section):
    """How dictionaries are measured."""

    tokens: Extent = 20_000
    """Tokens of the report split."""
    context_size: Several = 128
    """Tokens the subject sees at once."""


class Config(ExperimentConfig):
    """Which dictionaries are trained, and on what."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""
    corpus: CorpusSource = WorldSource()
    """The text; which splits of it are trained on is said in `sae.splits`."""
    dictionaries: dict[Name, DictionaryConfig] = Field(
        {"topk": DictionaryConfig(site="resid_post.4")}, min_length=1
    )
    """The dictionaries by name; all share `seed`, `splits`, `context_size` and `buffer_tokens`."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How they are measured."""

    def plans(self) -> list[Plan]:
        """What is trained."""
        return [Plan(name, Site.parse(one.site), one.sae) for name, one in self.dictionaries.items()]


def check(config: Config) -> None:
    """Finds an impossible site, name, corpus or context before anything is written."""
    check_training(config.subject, config.corpus, config.plans(), config.evaluation)


def check_training(
    subject: SubjectConfig, corpus: CorpusSource, plans: list[Plan], evaluation: EvaluationConfig
) -> None:
    """Raises UserError if some dictionaries cannot be trained or measured."""
    info = subject_info(subject.name)
    check_corpus(corpus)
    check_plans(plans)
    check_context(info, {"evaluation": evaluation.context_size, "sae": plans[0].training.context_size})
    for plan in plans:
        check_run_name(plan.name, "the name of a dictionary")
        for site in plan.sites:
            info.site_width(site)
