"""The toy model of superposition: more features than dimensions, and SAEs that recover them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from interp.config import ExperimentConfig
from interp.cost import MemoryPart, Stage, SubjectShape, TextSize
from interp.errors import UserError
from interp.fields import Count, Extent, NonEmpty, PositiveFraction, Section, Several
from interp.subject.site import Site
from interp.toys.superposition import ToyTraining
from saes.architecture import Architecture, Standard, TopK
from saes.config import SaeTraining
from saes.cost import training_stage


class ToyConfig(Section):
    """Toy models that differ in the sparsity of their features."""

    features: Extent = Field(5, ge=2)
    """Number of features of the input."""
    dimensions: Extent = 2
    """Number of dimensions of the hidden space."""
    importance: PositiveFraction = 1.0
    """Weight of a feature's error, as a share of the weight of the feature before it; 1: all equal."""
    densities: NonEmpty[PositiveFraction] = (1.0, 0.3, 0.1, 0.03, 0.01)
    """Probabilities that a feature is present, 1 - S; a model is trained for each."""
    copies: Count = 1
    """Models trained at each density; the one with the least loss is shown."""
    training: ToyTraining = ToyTraining(steps=4000, decay="cosine")
    """How the toy models are trained."""

    def stage(self) -> Stage:
        """Returns the memory of training: inputs, outputs and gradients of all models at once."""
        models, batch = self.copies * len(self.densities), self.training.batch
        parts = (
            MemoryPart("inputs and outputs", 16 * models * self.features * batch, "training.batch or copies"),
            MemoryPart("weights", 16 * models * self.features * self.dimensions, "features or dimensions"),
        )
        return Stage("train the model", parts)

    @model_validator(mode="after")
    def _possible(self) -> "ToyConfig":
        if self.features <= self.dimensions:
            raise ValueError(f"features ({self.features}) must exceed dimensions ({self.dimensions})")
        if not all(0 < density <= 1 for density in self.densities):
            raise ValueError("densities must be above 0 and at most 1")
        if len(set(self.densities)) < len(self.densities):
            raise ValueError("densities must differ")
        return self


class VectorsConfig(ToyConfig):
    """A model with two hidden dimensions, whose features can be drawn."""

    importance: PositiveFraction = 0.9
    """Weight of a feature's error, as a share of the weight of the feature before it."""
    copies: Count = 5
    """Models trained at each density; the one with the least loss is shown."""


class ImportanceConfig(ToyConfig):
    """Features of falling importance."""

    features: Extent = Field(20, ge=2)
    """Number of features of the input."""
    dimensions: Extent = 5
    """Number of dimensions of the hidden space."""
    importance: PositiveFraction = 0.7
    """Weight of a feature's error, as a share of the weight of the feature before it."""
    densities: NonEmpty[PositiveFraction] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
    """Probabilities that a feature is present, 1 - S; a model is trained for each."""
    copies: Count = 2
    """Models trained at each density; the one with the least loss is shown."""


class GeometryConfig(ToyConfig):
    """Many equally important features, to see how they share dimensions (published: 400 in 30)."""

    features: Extent = Field(80, ge=2)
    """Number of features of the input."""
    dimensions: Extent = 8
    """Number of dimensions of the hidden space."""
    densities: NonEmpty[PositiveFraction] = (
        1.0,
        0.66,
        0.43,
        0.28,
        0.19,
        0.12,
        0.081,
        0.053,
        0.035,
        0.023,
        0.015,
        0.01,
    )
    """Probabilities that a feature is present, 1 - S; a model is trained for each."""
    training: ToyTraining = ToyTraining(steps=3000, batch=512, decay="cosine")
    """How the toy models are trained."""


class PlantedConfig(ToyConfig):
    """Toy models whose features SAEs should recover; `copies` is ignored, each seed has its own model."""

    features: Extent = Field(64, ge=2)
    """Number of features of the input."""
    dimensions: Extent = 16
    """Number of dimensions of the hidden space."""
    densities: NonEmpty[PositiveFraction] = (0.2, 0.05, 0.01)
    """Probabilities that a feature is present, 1 - S; a model is trained for each."""
    training: ToyTraining = ToyTraining(steps=2500, batch=512, decay="cosine")
    """How the toy models are trained."""


class RecoveryConfig(Section):
    """SAEs trained on the hidden activations of toy models, and compared with the planted features."""

    toy: PlantedConfig = PlantedConfig()
    """The toy models."""
    sources: NonEmpty[Literal["toy", "random"]] = ("toy",)
    """Planted directions. toy: those of the toy models; random: as many random unit vectors."""
    seeds: Several = 3
    """Number of toy models and SAEs that are reported."""
    choosing_seeds: Count = 1
    """Number of other toy models and SAEs, on which the sparsity setting is chosen."""
    architectures: NonEmpty[Architecture] = (
        TopK(k=1),
        TopK(k=2),
        TopK(k=4),
        *(Standard(l1_coefficient=weight) for weight in (2.0, 4.0, 8.0)),
    )
    """The settings tried; the best one of each kind is kept at each density."""
    choose_by: Literal["recall", "f1"] = "recall"
    """What the kept setting maximises: recall of directions, or F1 of detecting presence."""
    sae: SaeTraining = SaeTraining(
        n_latents=64,
        training_tokens=600 * 512,
        batch_tokens=512,
        buffer_tokens=32768,
        learning_rate=3e-3,
        log_every_steps=100,
        evaluate_every_steps=0,
        checkpoint_every_steps=0,
    )
    """How the SAEs are trained; its architecture is ignored."""
    tokens: Extent = Field(16384, ge=256)
    """Number of held-out activations on which latents are compared with features."""


class Config(ExperimentConfig):
    """The settings of Elhage et al. (2022), and the SAEs."""

    vectors: VectorsConfig = VectorsConfig()
    """A model with two hidden dimensions, whose features can be drawn."""
    sparsity: ImportanceConfig = ImportanceConfig()
    """Features of falling importance, and a linear model for comparison."""
    geometry: GeometryConfig = GeometryConfig()
    """Many equally important features, to see how they share dimensions."""
    recovery: RecoveryConfig = RecoveryConfig()
    """SAEs that recover planted features."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Returns the stages of training SAEs; the toy models return their own."""
        hidden = SubjectShape(d_model=self.recovery.toy.dimensions)
        return [training_stage(hidden, "float32", Site("resid_post", 0), self.recovery.sae, "cpu")]


def check(config: Config) -> None:
    """Raises UserError for impossible settings, before anything is written."""
    if config.vectors.dimensions != 2:
        raise UserError(
            f"features in {config.vectors.dimensions} dimensions cannot be drawn",
            "vectors.dimensions",
            "use 2; the other settings take any number",
        )
    for place in ("vectors", "sparsity", "geometry"):
        _check_device(getattr(config, place).training, f"{place}.training.device")
    _check_device(config.recovery.toy.training, "recovery.toy.training.device")
    for architecture in config.recovery.architectures:
        if architecture.kind == "transcoder":
            raise UserError(
                "a transcoder predicts other activations than it reads; toy models have no others",
                "recovery.architectures",
                "use SAEs",
            )
        try:
            sae_training(config.recovery, architecture, 0)
        except ValueError as error:
            message = str(error).splitlines()
            raise UserError(
                f"{architecture.kind}: {message[-2].strip() if message[1:] else message[0]}",
                "recovery.architectures, recovery.sae",
                "change one of the two",
            ) from None


def sae_training(config: RecoveryConfig, architecture: Architecture, seed: int) -> SaeTraining:
    """Returns the settings of one SAE."""
    changed = {"architecture": architecture.model_dump(), "seed": seed}
    return SaeTraining.model_validate(config.sae.model_dump() | changed)


def _check_device(training: ToyTraining, place: str) -> None:
    if training.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("there is no CUDA device", place, "use device: cpu")
