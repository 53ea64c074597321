"""Writing a trained `world` model as an ordinary Hugging Face folder, with its model card."""

import hashlib
from pathlib import Path

import jinja2
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from interp.bundled.llama.folder import write_model
from interp.bundled.llama.model import Llama
from interp.bundled.world.corpus import FAMILIES, WorldCorpus
from interp.bundled.world.evaluate import Evaluation, Measurement
from interp.bundled.world.lexicon import DATA
from interp.bundled.world.train import Recipe
from interp.bundled.world.vocabulary import BOS, BOS_ID, vocabulary
from interp.track.files import write_bytes, write_json, write_text

# As in the corpus: "user : ... assistant : ...", after one beginning-of-sequence token.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %} {{ message['role'] }} : {{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %} assistant :{% endif %}"
)
SAMPLE_DOCUMENTS = 1000


def export(model: Llama, folder: Path) -> None:
    """Write config, weights and tokenizer to `folder`; the weights are rounded to half precision, once."""
    write_model(model, folder, bos_id=BOS_ID, pad_id=BOS_ID)
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """Write the word-level tokenizer: one id per word, words are separated by spaces."""
    words = {word: index for index, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=BOS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, BOS_ID)]
    )
    tokenizer.add_special_tokens([BOS])
    write_bytes(folder / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": BOS,
            "unk_token": BOS,
            "pad_token": BOS,
            "model_max_length": 256,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def corpus_fingerprint(seed: int) -> str:
    """SHA-256 of the tokens of the first thousand documents of the corpus with `seed`."""
    digest = hashlib.sha256()
    corpus = WorldCorpus(seed, SAMPLE_DOCUMENTS)
    for index in range(SAMPLE_DOCUMENTS):
        digest.update(corpus[index].tokens.astype("<i4").tobytes())
        digest.update(b"\xff\xff\xff\xff")
    return digest.hexdigest()


def write_card(
    folder: Path, recipe: Recipe, seed: int, evaluation: Evaluation, seconds: float | None = None
) -> None:
    """Write README.md, the model card, with the figures of `evaluation` and the `seconds` of training."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((DATA / "model_card.md.j2").read_text(encoding="utf-8"))
    total = sum(family.share for family in FAMILIES)
    shares = {family.name: family.share / total for family in FAMILIES}
    card = template.render(
        recipe=recipe,
        seed=seed,
        tokens=f"{recipe.steps * recipe.rows * recipe.row_length / 1e6:.1f}",
        minutes=None if seconds is None else round(seconds / 60),
        shares=shares,
        unwindowed=[family.name for family in FAMILIES if family.name not in recipe.windowed_families],
        n_words=len(vocabulary()),
        bounded=[figure for figure in evaluation.figures if _bound(figure)],
        unbounded=[figure for figure in evaluation.figures if not _bound(figure)],
        bound=_bound,
        fingerprint=corpus_fingerprint(recipe.corpus_seed),
        weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    )
    write_text(folder / "README.md", card)


def _bound(figure: Measurement) -> str:
    if figure.at_least is not None:
        return f"at least {figure.at_least}"
    return f"at most {figure.at_most}" if figure.at_most is not None else ""
