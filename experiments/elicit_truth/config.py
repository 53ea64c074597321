"""Elicit truth: how often, and at what cost, does a search find a trigger that is known to be planted?"""

from interp.bundled.planted.triggers import PLANTED
from interp.elicit.config.investigators import (
    BestOfNSource,
    InvestigatorSource,
    JudgeGuideSource,
    LikelihoodSource,
    RandomSource,
    TemplateSource,
    TokenSource,
    VectorGuideSource,
)
from interp.elicit.spending import Budget
from interp.errors import UserError
from interp.fields import Count, CountOrZero, Extent, NonEmpty, Word
from interp.subject.load import SubjectConfig

from ..common.config import SubjectJobConfig, check_subject

LIKELIHOOD = LikelihoodSource(kind="likelihood", first=4)
VECTOR = VectorGuideSource(kind="vector")


class Config(SubjectJobConfig):
    """Which triggers are looked for, by whom, and at what cost."""

    subject: SubjectConfig = SubjectConfig(name="planted")
    """The model with planted behaviours."""
    triggers: NonEmpty[Word] = tuple(trigger.name for trigger in PLANTED)
    """The planted behaviours that are looked for, by name."""
    investigators: NonEmpty[InvestigatorSource] = (
        RandomSource(kind="random"),
        BestOfNSource(kind="best_of_n"),
        TemplateSource(kind="templates", label="templates, text"),
        TemplateSource(kind="templates", label="templates, likelihood", guide=LIKELIHOOD),
        TemplateSource(kind="templates", label="templates, features", guide=VECTOR),
        TokenSource(
            kind="tokens", label="beam, text", method="beam", hints="vocabulary", scan_first=False,
            guide=JudgeGuideSource(kind="judge"),
        ),
        TokenSource(kind="tokens", label="beam, likelihood", method="beam", guide=LIKELIHOOD),
        TokenSource(kind="tokens", label="beam, features", method="beam", guide=VECTOR),
        TokenSource(kind="tokens", label="coordinate, likelihood", guide=LIKELIHOOD),
        TokenSource(kind="tokens", label="coordinate, features", guide=VECTOR),
    )  # fmt: skip
    """The ways to search; text, likelihood and features say what a guide reads."""
    budget: Budget = Budget(passes=2500)
    """What each search may spend until it finds the behaviour."""
    repeats: Count = 4
    """Searches by each investigator for each behaviour."""
    round_size: Count = 32
    """Proposals in a round."""
    inserted: Count = 2
    """Words that are inserted in an ordinary request, where searches begin and random search stays."""
    scanned_in: Count = 3
    """Requests in which every word of the vocabulary is tried alone."""
    documents: Extent = 4000
    """Documents that features are mined from for their descriptions; a part of them holds triggers."""
    described: CountOrZero = 40
    """Features that matter most for a triggered reply which are described; 0 leaves the linter out."""

    @property
    def labels(self) -> list[str]:
        """What the investigators are called."""
        return [one.label or one.kind for one in self.investigators]


def check(config: Config) -> None:
    """Raises UserError for a model without planted behaviours, or a behaviour that is not planted."""
    info = check_subject(config)
    config.budget.check()
    if not info.speaks_world:
        raise UserError(f"nothing is planted in {info.name}", "subject.name", "use planted, or one like it")
    known = [trigger.name for trigger in PLANTED]
    for name in config.triggers:
        if name not in known:
            raise UserError(f"no behaviour {name!r} is planted", "triggers", f"use {', '.join(known)}")
    if len(set(config.labels)) < len(config.labels):
        raise UserError("two investigators have the same label", "investigators", "give each its own")
