"""Attribution graphs: through which features does a prompt lead to its answer? Tested by removing them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from interp.bundled.world.pairs import BEHAVIOURS, pairs
from interp.cost import Stage, SubjectShape, TextSize
from interp.errors import UserError
from interp.fields import (
    Count,
    Extent,
    FilePath,
    Flag,
    Fraction,
    Line,
    Listed,
    NonEmpty,
    Positive,
    Section,
    Several,
    Text,
    Tokens,
    Word,
)
from interp.lenses.item_source import ItemFile, WorldItems
from interp.lines import json_lines
from interp.shape import Shape
from interp.store.store import open_store
from interp.subject.folder import SubjectInfo, subject_info
from interp.subject.site import Site
from saes.architecture import Transcoder
from saes.config import SaeTraining
from saes.source import SaeConfig
from saes.train import Plan

from ..common.config import check_subject
from ..common.dictionaries.config import TrainingJobConfig, check_training

Kind = Literal["neurons", "transcoders"]
DRAWN = 60  # pairs of a behaviour, of which one of each group is taken


class Prompted(Section):
    """A prompt and the word that should follow; a text alone is a prompt."""

    prompt: Annotated[Text, Field(min_length=1)]
    """The prompt."""
    answer: Word | None = None
    """The word whose logit is explained, one token; left out, the likeliest next token."""
    group: Line = ""
    """What the prompt is an example of."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"prompt": value} if isinstance(value, str) else value


class WorldPrompts(WorldItems):
    """Clean prompts of the bundled world's pairs; no two of a behaviour share a word that decides them."""

    names: NonEmpty[Word] = ("capital", "two_hop", "agreement")
    """Behaviours as in `interp.bundled.world.pairs.pairs`."""
    each: Count = 4
    """Number of prompts of each."""

    def check(self, model: SubjectInfo, field: str) -> None:
        """Raises UserError if a name is not known, or the model has another vocabulary."""
        for name in self.names:
            if name not in BEHAVIOURS or self.names.count(name) > 1:
                what = (
                    f"there are no prompts for {name!r}"
                    if name not in BEHAVIOURS
                    else f"{name!r} stands twice"
                )
                raise UserError(what, f"{field}.names", f"use {', '.join(BEHAVIOURS)}, each at most once")
        super().check(model, field)

    def open(self, seed: int) -> list[Prompted]:
        """So many prompts of each behaviour.

        Raises:
            UserError: a behaviour has fewer groups.
        """
        found = []
        for name in self.names:
            of_group = {pair["group"]: pair for pair in reversed(pairs(name, DRAWN, seed))}
            if len(of_group) < self.each:
                what = f"{name} has {len(of_group)} prompts that share no words, not {self.each}"
                raise UserError(what, "prompts.each", f"use at most {len(of_group)}")
            found += [
                Prompted(prompt=pair["clean"], answer=pair["answer"], group=name)
                for pair in list(of_group.values())[: self.each]
            ]
        return found


class PromptFile(ItemFile):
    """Your own prompts: each line has "prompt", and may have "answer" and "group" (`Prompted`)."""

    def open(self, seed: int) -> list[Prompted]:
        """All prompts of the file.

        Raises:
            UserError: there is none, or a line is none (says which).
        """
        fix = 'write {"prompt": "...", "answer": "..."} on each line'
        found = [_PROMPTED.of(values, place, fix) for values, place in json_lines(self.path, fix)]
        if not found:
            raise UserError("there is no prompt in it", str(self.path), fix)
        return found


class PromptList(Section):
    """Your own prompts, in the config."""

    kind: Literal["list"] = "list"
    prompts: NonEmpty[Prompted]
    """Texts, or mappings with `prompt`, `answer` and `group`."""

    def check(self, model: SubjectInfo, field: str) -> None:
        """Nothing can be wrong before the model is loaded."""

    def open(self, seed: int) -> list[Prompted]:
        """The prompts."""
        return list(self.prompts)


_PROMPTED = Shape[Prompted](Prompted)
PromptSource = Annotated[WorldPrompts | PromptFile | PromptList, Field(discriminator="kind")]


class TranscoderTraining(Section):
    """How a transcoder is trained for the MLP of each layer."""

    n_latents: Extent = 1024
    """Latents of each."""
    k: Positive = 16
    """Active latents per token on average."""
    skip: Flag = False
    """Adds a linear map from input to output beside the latents."""
    training_tokens: Tokens = 196_608
    """Activations that each sees."""


class Config(TrainingJobConfig):
    """Which prompts are traced, through which features, and how the graphs are tested."""

    prompts: PromptSource = WorldPrompts()
    """The prompts; a graph is made for each, with either kind of features."""
    spaces: NonEmpty[Kind] = ("neurons", "transcoders")
    """The features that stand in the MLPs' place."""
    transcoders: TranscoderTraining = TranscoderTraining()
    """How transcoders are trained on `corpus`, where no `dictionaries` are given."""
    dictionaries: Listed[SaeConfig] = ()
    """Transcoders that exist already, at most one for each layer; SAEs at mlp_out go, too."""
    max_features: Several = 200
    """The number of features in a graph: those with the largest influence on the answer."""
    node_share: Fraction = 0.8
    """The share of all influence that the nodes of a pruned graph have."""
    edge_share: Fraction = 0.98
    """The share of influence that its edges have."""
    removed: Several = 10
    """Number of features that are removed, one by one and together."""
    random_draws: Count = 5
    """Number of random sets of as many other features of the graph."""
    store: FilePath | None = None
    """A store's file with descriptions of features, or a run's folder; null: what comes with the model."""

    @property
    def trains(self) -> bool:
        """Whether transcoders are trained here."""
        return "transcoders" in self.spaces and not self.dictionaries

    def plans(self) -> list[Plan]:
        """A transcoder for the MLP of every layer, if they are trained here."""
        own = self.transcoders
        return [
            Plan(
                f"transcoder-{layer}",
                Site("resid_mid", layer),
                SaeTraining(
                    architecture=Transcoder(to=f"mlp_out.{layer}", k=own.k, skip=own.skip),
                    n_latents=own.n_latents,
                    training_tokens=own.training_tokens,
                    context_size=self.evaluation.context_size,
                    seed=self.seed,
                ),
            )
            for layer in range(subject_info(self.subject.name).n_layers if self.trains else 0)
        ]

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Training the transcoders, if they are trained here."""
        return super().stages(shape, text) if self.trains else ()


def check(config: Config) -> None:
    """Raises UserError for a missing model, file, corpus or store, before anything is written."""
    info = check_subject(config)
    config.prompts.check(info, "prompts")
    if len({*config.spaces}) < len(config.spaces):
        raise UserError("a kind of features stands twice", "spaces", "name each once")
    if config.dictionaries and "transcoders" not in config.spaces:
        raise UserError("dictionaries are given, but not used", "dictionaries", "add transcoders to spaces")
    for source in config.dictionaries:
        source.check(info, "dictionaries")
    if config.trains:
        check_training(config)
    if config.store is not None:
        open_store(config.store).close()
