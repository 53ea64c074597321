"""Sparse autoencoders over SAELens: training, loading, measuring, and their latents as a feature space."""

from saes.config import SaeTraining
from saes.evaluation import evaluate
from saes.latents import SaeLatents
from saes.load import load, load_release
from saes.release import releases
from saes.train import Plan, train, train_together

__all__ = [
    "Plan",
    "SaeLatents",
    "SaeTraining",
    "evaluate",
    "load",
    "load_release",
    "releases",
    "train",
    "train_together",
]
