"""Sparse autoencoders over SAELens: training, loading, measuring, and their latents as a feature space."""

from saes.config import SaeTraining
from saes.latents import SaeLatents
from saes.load import load
from saes.train import train

__all__ = ["SaeLatents", "SaeTraining", "load", "train"]
