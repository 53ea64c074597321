"""Steer by a latent: hold it at multiples of its maximum, see if its concept appears and what that costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments._dictionary_config import check_context
from interp.config import ExperimentConfig
from interp.corpus.questions import WorldQuestions, check_questions
from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.intervene.positions import Named
from interp.mining.config import MiningConfig
from interp.organism.labelling import carries, lexical_concepts
from interp.subject.config import SubjectConfig
from interp.subject.folder import subject_info
from interp.subject.site import RESIDUAL_KINDS, Site
from saes.architecture import Transcoder
from saes.config import SaeTraining

if TYPE_CHECKING:
    from interp.track.run import Run

TOPICS = tuple(name for name in lexical_concepts() if name.startswith("topic_"))
LANGUAGES = tuple(name for name in lexical_concepts() if name.startswith("lang_"))
QUESTIONS = (
    "facts/question",
    "agreement/near",
    "in_context/4_shots/plural",
    "translation/zorvic_to_english",
    "translation/tamric_to_english",
    "refusal/harmful",
)


class Config(ExperimentConfig):
    """What is steered to what, how far, and on which prompts."""

    subject: SubjectConfig = SubjectConfig()
    """The model: the bundled world, whose words say which concepts they carry."""
    corpus: CorpusSource = WorldSource(documents=8000)
    """The text that latents, neurons and directions are found on; labelled, so the world's."""
    mining: MiningConfig = MiningConfig(context_size=128, tokens_per_batch=8192, sampled_tokens=8192)
    """What is kept of each feature."""
    sae: Path | None = None
    """The folder of a trained SAE in SAELens' format; left out, one is trained first."""
    sae_site: str = "resid_post.4"
    """Where that one is trained: KIND.LAYER, in the residual stream."""
    sae_training: SaeTraining = SaeTraining()
    """How it is trained."""
    concepts: tuple[str, ...] = Field((*TOPICS, *LANGUAGES), min_length=1)
    """The concepts steered to, each by the latent that tells it best on the select split (AUROC)."""
    behaviours: tuple[str, ...] = Field(QUESTIONS, min_length=1)
    """Prompts with one right next word; for each concept, those in which no word carries it."""
    prompts_per_behaviour: int = Field(6, ge=2)
    """At most so many prompts of each behaviour and concept; half of them choose the factor."""
    factors: tuple[float, ...] = Field((0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 10), min_length=1)
    """Multiples of the latent's maximum on the explain split."""
    golden: float = Field(10, gt=0)
    """The factor that is reported in any case; swept, too, if `factors` lacks it (10: Golden Gate)."""
    positions: Named = "all"
    """Where the model is steered: all, prompt, generated, last or steps."""
    neurons: int = Field(10, ge=1)
    """How many neurons of all layers make up the set that is clamped."""
    neurons_by: Literal["attribution", "auroc"] = "attribution"
    """Those to which the concept's words are attributed (explain split), or that tell it best (select)."""
    added: bool = False
    """Whether the latent's amount is also added in place of set."""
    controls: int = Field(1, ge=1)
    """Random latents, and random directions, for each concept."""
    new_tokens: int = Field(16, ge=2)
    """Tokens written after each prompt."""
    temperature: float = Field(1.0, ge=0)
    """Of sampling; 0 takes the likeliest token."""
    neutral_documents: int = Field(16, ge=1)
    """Documents without each concept on which steering's cost is measured."""
    examples: int = Field(3, ge=0)
    """Concepts whose texts are shown on the page."""


def check(config: Config) -> None:
    """Finds an impossible subject, site, concept, factor or SAE folder before anything is written."""
    info = subject_info(config.subject.name)
    if not info.speaks_world or not isinstance(config.corpus, WorldSource):
        raise UserError(
            "steered text is judged by the labels of the bundled world's words; there are none for "
            + ("your text" if info.speaks_world else info.name),
            "corpus.kind" if info.speaks_world else "subject.name",
            "use subject world and corpus.kind world, or interp.Clamp(latents, id, 10 * maximum) from Python",
        )
    for concept in config.concepts:
        carries((), concept)
    if len(set(config.concepts)) < len(config.concepts):
        raise UserError("a concept is named twice", "concepts", "name each once")
    check_questions(WorldQuestions(behaviours=config.behaviours))
    if min(config.factors) <= 0:
        raise UserError(f"{min(config.factors)} is no factor", "factors", "use numbers above 0")
    site = Site.parse(config.sae_site)
    info.site_width(site)
    if config.sae is None and site.kind not in RESIDUAL_KINDS:
        raise UserError(
            f"{site} is not in the residual stream's space", "sae_site", f"use {', '.join(RESIDUAL_KINDS)}"
        )
    if config.sae is None and isinstance(config.sae_training.architecture, Transcoder):
        raise UserError(
            "a transcoder does not write where it reads",
            "sae_training.architecture",
            "train an autoencoder",
        )
    if config.sae is not None and not config.sae.is_dir():
        raise UserError(f"no folder {config.sae}", "sae", "give the folder of a trained SAE, or leave it out")
    check_context(
        info, {"mining": config.mining.context_size, "sae_training": config.sae_training.context_size}
    )


def run(config: Config, run: "Run") -> None:
    """Trains or loads an SAE, finds each concept's latent, steers, scores the texts and reports."""
    from experiments._steering import Steering

    Steering(config, run).run()
