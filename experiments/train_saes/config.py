"""Train dictionaries at any sites from one reading of the corpus, and measure each on held-out text."""

from pydantic import Field

from interp.fields import Name, Section
from interp.subject.site import Site, SiteName
from saes.config import SaeTraining
from saes.train import Plan

from ..common.dictionaries.config import TrainingJobConfig, check_training


class DictionaryConfig(Section):
    """One dictionary: its site and its training."""

    site: SiteName
    """Site, KIND.LAYER, such as resid_post.4, mlp_out.3, mlp_post.3, head_out.3 (attention z)."""
    sae: SaeTraining = SaeTraining()
    """How it is trained; `splits` names the splits of the text it is trained on."""


class Config(TrainingJobConfig):
    """Which dictionaries are trained, and on what."""

    dictionaries: dict[Name, DictionaryConfig] = Field(
        {"topk": DictionaryConfig(site="resid_post.4")}, min_length=1
    )
    """The dictionaries by name; all share `seed`, `splits`, `context_size` and `buffer_tokens`."""

    def plans(self) -> list[Plan]:
        """Returns a plan for every name."""
        return [Plan(name, Site.parse(one.site), one.sae) for name, one in self.dictionaries.items()]


def check(config: Config) -> None:
    """Raises UserError for an impossible site, name, corpus or context, before anything is written."""
    check_training(config)
