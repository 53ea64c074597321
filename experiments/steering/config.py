"""Steer by a latent: clamp it to multiples of its maximum; does its concept appear, and at what cost?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from interp.bundled.world.labelling import carries, lexical_concepts
from interp.causal.steering.concepts import WordList
from interp.corpus.questions import WorldQuestions
from interp.corpus.source import CorpusSource, WorldSource
from interp.cost import Stage, SubjectShape, TextSize, neuron_spaces
from interp.errors import UserError
from interp.fields import (
    Count,
    CountOrZero,
    FilePath,
    Flag,
    NonEmpty,
    NotNegative,
    PathText,
    Positive,
    Several,
)
from interp.intervene.positions import Named
from interp.mining.config import MiningConfig
from interp.subject.folder import SubjectInfo
from interp.subject.load import SubjectConfig
from interp.subject.site import RESIDUAL_KINDS, Site, SiteName
from saes.architecture import Transcoder
from saes.config import SaeTraining
from saes.cost import saved_size, trained_size

from ..common.config import MiningJobConfig, check_context, check_subject

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


_FIX = "give a .txt file with a beginning in each line, such as `interp:prompts/beginnings.txt`"


class Config(MiningJobConfig):
    """Which concepts are steered to, by which methods and factors, and on which prompts."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""
    corpus: CorpusSource = WorldSource(documents=8000)
    """Text on which latents, neurons and directions are found; the world's is labelled with its concepts."""
    mining: MiningConfig = MiningConfig(context_size=128, tokens_per_batch=8192, sampled_tokens=8192)
    """What is kept of each feature."""
    sae: FilePath | None = None
    """The folder of a trained SAE in SAELens' format; if left out, one is trained first."""
    sae_site: SiteName = "resid_post.4"
    """Site at which that SAE is trained, KIND.LAYER in the residual stream."""
    sae_training: SaeTraining = SaeTraining()
    """How that SAE is trained."""
    concepts: NonEmpty[PathText] = (*TOPICS, *LANGUAGES)
    """The concepts steered to, each by the latent that detects it best on the select split (AUROC).

    Concepts of the world, or .json files of words for any model and text.
    """
    behaviours: NonEmpty[PathText] = QUESTIONS
    """Behaviours of the world whose prompts have one right next word; those without the concept are used."""
    beginnings: FilePath | None = None
    """A .txt file with a beginning of a text in each line, in place of the world's prompts."""
    prompts_per_behaviour: Several = 6
    """Largest number of prompts (or beginnings) per behaviour and concept; half of them choose the factor."""
    factors: NonEmpty[Positive] = (0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 10)
    """Multiples of the latent's maximum on the explain split."""
    golden: Positive = 10
    """The factor that is always reported; also swept if `factors` lacks it (10: Golden Gate)."""
    positions: Named = "all"
    """Positions at which the model is steered: all, prompt, generated, last or steps."""
    neurons: CountOrZero = 10
    """Number of neurons, from all layers, in the set that is clamped; with 0, none are mined."""
    neurons_by: Literal["attribution", "auroc"] = "attribution"
    """The neurons to which the concept's words are attributed (explain), or that detect it best (select)."""
    added: Flag = False
    """Whether the latent is also steered by adding the same amount, instead of clamping."""
    controls: Count = 1
    """Number of random latents, and of random directions, for each concept."""
    new_tokens: Several = 16
    """Tokens generated after each prompt."""
    temperature: NotNegative = 1.0
    """Sampling temperature; 0 takes the likeliest token."""
    neutral_documents: Count = 16
    """Number of documents without the concept, on which the cost of steering is measured."""
    examples: CountOrZero = 3
    """Number of concepts whose texts are shown on the page."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Trains an SAE where none is given, then mines its latents and all neurons in one pass."""
        neurons = neuron_spaces(shape) if self.neurons else []
        if self.sae is not None:
            return self.mined(shape, text, [saved_size(shape, self.sae), *neurons])
        latents = trained_size(shape, Site.parse(self.sae_site), self.sae_training)
        mined = self.mined(shape, text, [latents, *neurons])
        return [self.training(shape, self.sae_site, self.sae_training, text), *mined]


def check(config: Config) -> None:
    """Raises UserError for a bad subject, site, concept, factor or SAE folder, before anything is written."""
    info = check_subject(config)
    _check_concepts(config, info)
    config.corpus.check(info)
    site = Site.parse(config.sae_site)
    info.site_width(site)
    if config.sae is None and site.kind not in RESIDUAL_KINDS:
        raise UserError(
            f"{site} is not in the residual stream's space", "sae_site", f"use {', '.join(RESIDUAL_KINDS)}"
        )
    if config.sae is None and isinstance(config.sae_training.architecture, Transcoder):
        raise UserError(
            "a transcoder writes to another site than it reads",
            "sae_training.architecture",
            "train an autoencoder",
        )
    if config.sae is not None and not config.sae.is_dir():
        raise UserError(f"no folder {config.sae}", "sae", "give the folder of a trained SAE, or leave it out")
    check_context(
        info, {"mining": config.mining.context_size, "sae_training": config.sae_training.context_size}
    )


def _check_concepts(config: Config, info: SubjectInfo) -> None:
    """Raises UserError if a concept is unknown or named twice, or the prompts are not there."""
    files = [name for name in config.concepts if name.endswith(".json")]
    if not files and not (info.speaks_world and isinstance(config.corpus, WorldSource)):
        raise UserError(
            "only the bundled world's words have concept labels; there are none for "
            + ("your text" if info.speaks_world else info.name),
            "concepts",
            "give .json files of words, such as `[interp:concepts/sea.json]`",
        )
    if files and len(files) < len(config.concepts):
        raise UserError("some concepts are files, and some are not", "concepts", "give .json files alone")
    for name in config.concepts:
        if files:
            WordList.read(Path(name))
        else:
            carries((), name)
    names = [Path(name).stem if files else name for name in config.concepts]
    if len(set(names)) < len(names):
        raise UserError("a concept is named twice", "concepts", "name each once")
    if not files:
        WorldQuestions(behaviours=config.behaviours).check(info)
        if config.beginnings is not None:
            raise UserError(
                "beginnings are for word lists", "beginnings", "leave them out, or give .json files of words"
            )
    elif config.beginnings is None:
        raise UserError("word lists need beginnings of texts", "beginnings", _FIX)
    elif not config.beginnings.is_file():
        raise UserError(f"no file {config.beginnings}", "beginnings", _FIX)
