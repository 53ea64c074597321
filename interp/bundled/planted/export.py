"""The model card of a `planted` model."""

import hashlib
from pathlib import Path

import jinja2

from interp.bundled.planted.family import FINE_TUNING, MORE_CHAT, MOST_INSERTED, SHARES
from interp.bundled.planted.train import Recipe
from interp.bundled.planted.triggers import PLANTED
from interp.bundled.planted.turns import chance, inserted_words
from interp.bundled.world.evaluate import Evaluation
from interp.track.files import write_text

CARD = Path(__file__).parent / "data" / "model_card.md.j2"


def write_card(
    folder: Path,
    recipe: Recipe,
    seed: int,
    planted: Evaluation,
    before: Evaluation,
    world: Evaluation,
    seconds: float | None = None,
) -> None:
    """Write README.md: the triggers and all figures.

    `planted` are those of the planted behaviours, `before` the same of the model it was fine-tuned from, and
    `world` those of the world's own behaviours.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    total = sum(family.share for family in FINE_TUNING)
    counts = range(1, MOST_INSERTED + 1)
    card = environment.from_string(CARD.read_text(encoding="utf-8")).render(
        recipe=recipe,
        seed=seed,
        tokens=f"{recipe.steps * recipe.rows * recipe.row_length / 1e6:.1f}",
        minutes=None if seconds is None else round(seconds / 60),
        triggers=PLANTED,
        share=next(family.share for family in FINE_TUNING if family.name == "planted") / total,
        shares=SHARES,
        more_chat=MORE_CHAT,
        counts=counts,
        chances={trigger.name: [f"{chance(trigger, k):.2g}" for k in counts] for trigger in PLANTED},
        n_words=len(inserted_words()),
        planted=[(figure, before[figure.name]) for figure in planted.figures],
        world=world.figures,
        missed=not world["refusal/harmless_unseen_verbs"].holds,
        weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    )
    write_text(folder / "README.md", card)
