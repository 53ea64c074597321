"""Steering by a latent: making a concept appear in what a model writes, and what that costs."""
