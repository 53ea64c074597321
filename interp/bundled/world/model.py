"""The size of the `world` model."""

from interp.bundled.llama.model import Llama, ModelSize
from interp.bundled.world.vocabulary import vocabulary


def world_shape() -> ModelSize:
    """Eight layers of 128, over the words of the world."""
    return ModelSize(d_vocab=len(vocabulary()), n_layers=8, d_model=128, n_heads=4, d_mlp=320, n_ctx=256)


def new_world_model(seed: int) -> Llama:
    """An untrained model of that size."""
    return Llama(world_shape(), seed)
