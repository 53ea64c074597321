"""A token shows what it adds to a text, its space included, whichever way a tokenizer marks that."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from interp import subject as subjects
from interp.descriptions.excerpt import pieces
from interp.descriptions.wording import on, told_apart
from interp.subject.text import Text
from tests.parity.subject_folders import D_VOCAB, save_model
from tests.subjects import world_subject

TEXTS = (
    "paris is in the city of paris, they say",
    "un paris is unlike  london's ( x + 1 )",
    "a naïve café ü",
)
SPECIAL = ["<unk>", "<s>", "</s>"]


def llama2() -> Tokenizer:
    """As Llama 2 has it: a prefix space, pieces of SentencePiece, bytes for what it lacks."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    ascii_only = [text for text in TEXTS if text.isascii()]
    trained.train_from_iterator(ascii_only, trainers.BpeTrainer(vocab_size=90, special_tokens=SPECIAL))
    merges = [tuple(pair) for pair in _merges(trained)]
    words = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [word for word, _ in sorted(trained.get_vocab().items(), key=lambda pair: pair[1])[3:]]
    model = models.BPE(
        {word: i for i, word in enumerate(words)}, merges, unk_token="<unk>", byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _merges(tokenizer: Tokenizer) -> list[list[str]]:
    found: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return found


def unigram() -> Tokenizer:
    """SentencePiece's Unigram, as T5 and XLM-R have it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=100, special_tokens=SPECIAL, unk_token="<unk>")
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def byte_level() -> Tokenizer:
    """As GPT-2 has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    return tokenizer


def ends_of_words() -> Tokenizer:
    """As GPT has it: the mark stands at a word's end."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.WhitespaceSplit(), decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(vocab_size=100, special_tokens=SPECIAL, end_of_word_suffix="</w>")
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def word_pieces() -> Tokenizer:
    """As BERT has it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        pre_tokenizers.WhitespaceSplit(),
        decoders.WordPiece(cleanup=False),
    )
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=70, special_tokens=SPECIAL))
    return tokenizer


def whole_words() -> Tokenizer:
    """As `world` has it."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=SPECIAL))
    return tokenizer


PREFIXED = {"llama2": llama2, "unigram": unigram}
SPACED = PREFIXED | {"byte_level": byte_level, "ends_of_words": ends_of_words, "word_pieces": word_pieces}


def saved(make: Callable[[], Tokenizer], folder: Path) -> Path:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=make(), bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=True
    )
    fast.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", list(SPACED))
@pytest.mark.parametrize("text", TEXTS)
def test_the_strings_of_a_text_are_the_text(name: str, text: str, tmp_path: Path) -> None:
    made = Text(saved(SPACED[name], tmp_path), 1000)
    ids = made.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = made.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    before = " " if name in (*PREFIXED, "word_pieces") else ""  # what the first word's token begins with
    after = " " if name == "ends_of_words" else ""
    found = "".join(made.strings(ids))
    assert _ascii(found) == _ascii(f"{before}{whole}{after}")
    if "\ufffd" in found:  # tokens that are bytes of a character
        assert name in ("llama2", "byte_level") and not text.isascii()
    else:
        assert found == f"{before}{whole}{after}"


def _ascii(text: str) -> str:
    return re.sub(r"[^\x00-\x7f]+", "?", text)


@pytest.mark.parametrize("name", list(SPACED))
def test_tokens_with_and_without_a_space_look_different(name: str, tmp_path: Path) -> None:
    made = Text(saved(SPACED[name], tmp_path), 1000)
    words = made.tokenizer.get_vocab().items()
    ids = [i for word, i in words if i not in made.special_ids and not word.startswith("<0x")]
    shown = [string for string in made.strings(ids) if "\ufffd" not in string]
    assert len(set(shown)) == len(shown) > 30


def test_whole_words_and_special_tokens_show_themselves(tmp_path: Path) -> None:
    made = Text(saved(whole_words, tmp_path), 1000)
    assert made.strings(made.encode("paris is in the city")) == ["<s>", "paris", "is", "in", "the", "city"]
    world = world_subject()
    assert world.token_strings(world.encode("the capital of france")) == ["the", "capital", "of", "france"]


def test_no_space_of_a_text_is_tidied_away(tmp_path: Path) -> None:
    """`clean_up_tokenization_spaces`, which GPT-2 and Llama 3 come with, would write "london's (x"."""
    made = Text(saved(byte_level, tmp_path), 1000)
    text = "do n't , say 's ."
    assert made.decode(made.encode(text, prepend_bos=False)) == text
    assert "".join(made.strings(made.encode(text, prepend_bos=False))) == text


def test_excerpts_and_descriptions_keep_their_word_boundaries(tmp_path: Path) -> None:
    saved(unigram, save_model("llama", tmp_path))
    subject = subjects.load(tmp_path)
    assert len(subject.tokenizer) <= D_VOCAB
    text = "un paris is unlike london's city"
    assert "".join(pieces(subject, np.array(subject.encode(text)))) == f" {text}"
    forms = [subject.tokenizer.convert_tokens_to_ids(token) for token in ("▁un", "▁", "i", "▁i")]
    assert len(set(forms)) == 4

    def show(ids: object) -> str:
        return "".join(pieces(subject, np.array(ids)))

    shown = [part.text for part in on(forms, told_apart(show, forms)) if part.kind == "tokens"]
    assert shown == ["un", "␣", "i", "␣i"]
