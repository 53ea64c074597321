"""Train the bundled `pydoc` model and its SAE again, measure both on held-out text, and export them."""

from interp.bundled.pydoc.train import Recipe
from interp.config import ExperimentConfig
from interp.device import usable_device
from interp.errors import UserError
from interp.subject.site import Site, SiteName
from saes.architecture import TopK
from saes.config import SaeTraining


class Config(ExperimentConfig):
    """Everything that determines the weights, besides the text of this Python version."""

    recipe: Recipe = Recipe()
    """How the model is trained."""
    sae_site: SiteName = "resid_post.3"
    """Site at which the SAE is trained, KIND.LAYER."""
    sae: SaeTraining = SaeTraining(
        architecture=TopK(k=16), training_tokens=327680, splits=("explain", "select", "report")
    )
    """How the SAE is trained, on the text that the model was trained on."""


def check(config: Config) -> None:
    """Raises UserError for an impossible device, size, row, context or site, before anything is written."""
    usable_device(config.recipe.device)
    size = config.recipe.size
    if size.d_model % size.n_heads or size.d_model // size.n_heads % 2:
        raise UserError(
            f"{size.n_heads} heads do not divide a width of {size.d_model} into even parts",
            "recipe.size.n_heads",
            "use a width that is an even multiple of the heads",
        )
    rows = {"recipe.row_length": config.recipe.row_length, "sae.context_size": config.sae.context_size}
    for key, length in rows.items():
        if length > size.n_ctx:
            raise UserError(
                f"{length} tokens do not fit {size.n_ctx} positions", key, f"use at most {size.n_ctx}"
            )
    if Site.parse(config.sae_site).layer >= size.n_layers:
        raise UserError(
            f"the model has {size.n_layers} layers", "sae_site", f"use a layer from 0 to {size.n_layers - 1}"
        )
