"""Writing a trained `pydoc` model as an ordinary Hugging Face folder, with its card."""

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path

import jinja2
from tokenizers import Tokenizer

from interp.bundled.llama.folder import write_model
from interp.bundled.llama.model import Llama
from interp.bundled.pydoc.cut import LONGEST
from interp.bundled.pydoc.evaluate import PROMPTS, REPEATED, Evaluation
from interp.bundled.pydoc.texts import HELD_OUT_SHARE, PARTS, SHARED_FROM, fingerprint, pydoc_texts
from interp.bundled.pydoc.tokenizer import BOS_ID, PAD_ID, write_tokenizer
from interp.bundled.pydoc.train import Recipe
from interp.subject.folder import count_parameters
from interp.track.files import write_text


def export(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Write config, weights and tokenizer to `folder`; the weights are rounded to half precision, once."""
    write_model(model, folder, bos_id=BOS_ID, pad_id=PAD_ID)
    write_tokenizer(tokenizer, folder, model.shape.n_ctx)


PREDICTORS = {
    "model": "**pydoc**",
    "model on topics": "pydoc, topics only",
    "model on modules": "pydoc, modules only",
    "model on training text": "pydoc, on a sample of its training text",
    "trigram": "trigram with back-off",
    "bigram": "bigram with back-off",
    "unigram": "unigram",
}
COMPRESSORS = ("zlib", "lzma", "lzma after the training text")


def write_card(
    folder: Path, recipe: Recipe, seed: int, evaluation: Evaluation, seconds: float | None = None
) -> None:
    """Write README.md, the model card, with the figures of `evaluation` and the `seconds` of training."""
    everything = [document for part in PARTS for document in pydoc_texts(part)]
    tokens = recipe.steps * recipe.rows * recipe.row_length
    card = _template("model_card.md.j2").render(
        recipe=recipe,
        size=recipe.size,
        seed=seed,
        e=evaluation,
        python=platform.python_version(),
        parameters=f"{count_parameters(folder) / 1e6:.1f}",
        n_topics=len({document.source for document in everything if document.kind == "topic"}),
        n_modules=len({document.source for document in everything if document.kind == "module"}),
        longest=LONGEST,
        shared_from=SHARED_FROM,
        held_out_share=HELD_OUT_SHARE,
        parts=[
            {
                "name": part.replace("_", " "),
                "documents": len(pydoc_texts(part)),
                "characters": sum(len(document.text) for document in pydoc_texts(part)),
                "sha256": fingerprint(part),
            }
            for part in PARTS
        ],
        tokens=f"{tokens / 1e6:.1f}",
        epochs=f"{tokens / evaluation.training_tokens:.1f}",
        minutes=None if seconds is None else round(seconds / 60),
        predictors=PREDICTORS,
        compressors=COMPRESSORS,
        repeated=REPEATED,
        prompts=PROMPTS,
        weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    )
    write_text(folder / "README.md", card)


def write_sae_card(folder: Path, metrics: Mapping[str, float], training: str, held_out: str) -> None:
    """Write README.md, the card of an SAE, from its configuration and its figures on `held_out`."""
    settings = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    card = _template("sae_card.md.j2").render(
        c=settings,
        m=metrics,
        site=settings["metadata"]["hook_name"],
        training=training,
        held_out=held_out,
    )
    write_text(folder / "README.md", card)


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((Path(__file__).parent / "data" / name).read_text(encoding="utf-8"))
