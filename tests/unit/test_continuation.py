"""Which tokens a word is after a prompt, held to the tokenizer itself on the whole text."""

from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from interp.bundled import bundled_models
from interp.errors import UserError
from interp.subject.continuation import continuation, single_token
from interp.subject.text import Text
from tests.subjects import pydoc_subject

TURN = "<|end|>"


def saved(tokenizer: Tokenizer, folder: Path, **special: str) -> Path:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=TURN, **special)
    fast.save_pretrained(folder)
    return folder


def metaspace(folder: Path) -> Path:
    """As Llama 2: a text begins with "▁", a space is one, and the word alone is written with one, too."""
    words = [
        "▁city",
        "▁of",
        "▁Paris",
        "Paris",
        "▁is",
        '▁"',
        '"',
        "水",
        "▁",
        "▁San",
        "▁Francisco",
        "\n",
        ":",
        "▁水",
    ]
    vocabulary = [("<s>", 0.0), (TURN, 0.0), ("<unk>", -20.0), *((word, -1.0 - len(word)) for word in words)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.add_special_tokens(["<s>", TURN])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return saved(tokenizer, folder, unk_token="<unk>")


def replaced(folder: Path) -> Path:
    """As Gemma: spaces are "▁", and none is put before a text."""
    pieces = ["▁", *'cityofParsPis"水\n:']
    merges = [("P", "a"), ("Pa", "r"), ("Par", "i"), ("Pari", "s"), ("▁", "Paris"), ("o", "f"), ("▁", "of")]
    vocabulary = dict.fromkeys(["<s>", TURN, *pieces, *(a + b for a, b in merges)])
    model = models.BPE(vocab={word: place for place, word in enumerate(vocabulary)}, merges=merges)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(["<s>", TURN])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return saved(tokenizer, folder)


def byte_level(folder: Path) -> Path:
    """As GPT-4: a bracket is one token with the word after it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("s", "e"), ("l", "f"), ("se", "lf"), ("(", "self"), ("Ġ", "self")]
    vocabulary = {word: place for place, word in enumerate([*alphabet, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken(TURN, special=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return saved(tokenizer, folder)


MAKERS = {"metaspace": metaspace, "replaced": replaced, "byte_level": byte_level}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}
    return made | {name: model.folder for name, model in bundled_models().items()}


def own(folder: Path, whole: str, prompt: str) -> list[int]:
    """The tokens that transformers' tokenizer has after those of the prompt, which must be its first."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    before, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, whole))
    assert ids[: len(before)] == before and len(ids) > len(before)
    return list(ids[len(before) :])


@pytest.mark.parametrize(
    ("name", "prompt", "word", "form", "other"),
    [
        ("pydoc", "the function will", "be", " be", "be"),
        ("pydoc", "the function will", " be", " be", None),
        ("pydoc", "def find(", "self", "self", " self"),
        ("pydoc", "It is called by the function", ".", ".", " ."),
        ("pydoc", 'Français: "eau" - 中文: "', "水", "水", " 水"),
        ("pydoc", "a well-", "known", "known", " known"),
        ("pydoc", "a minus -", "known", " known", "known"),
        ("pydoc", 'he said "no"', "and", " and", "and"),
        ("pydoc", "one of them:\n", "self", "self", None),
        ("metaspace", "city of", "Paris", " Paris", "Paris"),
        ("metaspace", "city of", "San Francisco", " San Francisco", None),
        ("metaspace", 'is "', "Paris", "Paris", " Paris"),
        ("metaspace", 'is "', "水", "水", " 水"),
        ("replaced", "city of", "Paris", " Paris", "Paris"),
        ("replaced", "city of", TURN, TURN, f" {TURN}"),
        ("replaced", "水", "Paris", "Paris", " Paris"),
        ("replaced", f"city{TURN}", "Paris", "Paris", " Paris"),
        ("byte_level", "call", "self", " self", "self"),
        ("world", "the capital of france is", "paris", " paris", None),
        ("world", "larger of 9 . 11 or 9 . 9 ? answer : 9 .", "11", " 11", None),
    ],
)
def test_a_word_is_what_the_tokenizer_writes_when_the_text_goes_on(
    folders: dict[str, Path], name: str, prompt: str, word: str, form: str, other: str | None
) -> None:
    text = Text(folders[name], 1 << 20)
    expected = own(folders[name], prompt + form, prompt)
    found = continuation(text, prompt, word)
    assert (list(found.ids), found.text, found.other) == (expected, form, other)
    ids = text.encode(prompt)  # after a BOS, if there is one
    assert continuation(text, ids, word) == found


def test_the_tokens_of_a_conversation_are_a_prompt(tmp_path: Path) -> None:
    folder = replaced(tmp_path)
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}\n{% endfor %}"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    text = Text(folder, 1 << 20)
    conversation = text.chat([{"role": "user", "content": "city"}])
    (paris,) = tokenizer.convert_tokens_to_ids(["Paris"])
    for prompt in (conversation, torch.tensor([conversation]), torch.tensor(conversation)):
        assert continuation(text, prompt, "Paris").ids == (paris,)  # after the line's end
    with pytest.raises(UserError, match="2 rows of tokens are not one prompt"):
        continuation(text, torch.tensor([conversation] * 2), "Paris")


@pytest.mark.parametrize("name", list(MAKERS))
def test_the_prompts_tokens_stand_where_the_tokenizer_would_join_them_with_the_word(
    folders: dict[str, Path], name: str
) -> None:
    text = Text(folders[name], 1 << 20)
    prompt, word = ("call(", "self") if name == "byte_level" else ("city of ", "Paris")
    (expected,) = text.tokenizer.convert_tokens_to_ids([word])
    joined = text.encode(prompt + word, prepend_bos=False)
    assert joined[:-1] != text.encode(prompt, prepend_bos=False)
    assert continuation(text, prompt, word).ids == (expected,)


def test_the_bare_form_can_be_forced_and_a_token_id_is_taken_as_it_is(folders: dict[str, Path]) -> None:
    text = Text(folders["metaspace"], 1 << 20)
    (bare, spaced) = text.tokenizer.convert_tokens_to_ids(["Paris", "▁Paris"])
    assert continuation(text, "city of", "Paris", spaced=False).ids == (bare,)
    assert continuation(text, "city of", bare).ids == (bare,)
    assert continuation(text, 'is "', "Paris", spaced=True).ids == (spaced,)


def test_which_form_was_taken_is_said(folders: dict[str, Path]) -> None:
    pydoc = Text(folders["pydoc"], 1 << 20)
    assert str(continuation(pydoc, "the function will", "be")) == "' be' (not 'be')"
    assert str(continuation(pydoc, "the function will", " be")) == "' be'"


def test_the_continuation_is_what_the_model_expects() -> None:
    subject = pydoc_subject()
    prompt = "the function will"
    probability = subject.run(prompt).logits[0, -1].softmax(-1)
    be = subject.single_token("be", prompt=prompt)
    (alone,) = subject.continuation(prompt, "be", spaced=False).ids
    assert be == probability.argmax() and probability[alone] < 0.001


def test_no_word_and_an_unknown_word_are_refused(folders: dict[str, Path]) -> None:
    world = Text(folders["world"], 1 << 20)
    with pytest.raises(UserError, match="empty"):
        continuation(world, "the capital of france is", "")
    with pytest.raises(UserError, match="does not know the word 'pariss'"):
        continuation(world, "the capital of france is", "pariss")


def test_a_word_of_several_tokens_is_no_single_token(folders: dict[str, Path]) -> None:
    found = continuation(Text(folders["metaspace"], 1 << 20), "city of", "San Francisco")
    with pytest.raises(UserError, match="' San Francisco' is not one token but 2") as caught:
        found.token("answers")
    assert caught.value.place == "answers"


def test_without_a_prompt_a_word_of_two_tokens_is_refused(folders: dict[str, Path]) -> None:
    pydoc, world = (Text(folders[name], 1 << 20) for name in ("pydoc", "world"))
    with pytest.raises(UserError, match="'be' and ' be' are two tokens, and which is meant depends"):
        single_token(pydoc, "be", "target")
    assert [single_token(pydoc, " be", "target")] == pydoc.encode(" be", prepend_bos=False)
    assert [single_token(world, "paris", "target")] == world.encode("paris", prepend_bos=False)
