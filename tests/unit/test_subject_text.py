"""What a user relies on between text and tokens: one BOS, left padding, no silent unknown words."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.bundled.world import world_folder
from interp.errors import UserError
from interp.subject.text import Text
from tests.parity.subject_folders import D_VOCAB, save_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def text_of(folder: Path, **options: object) -> Text:
    save_tokenizer(folder, **options)  # type: ignore[arg-type]
    return Text(folder, D_VOCAB)


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return text_of(tmp_path_factory.mktemp("bytewise"), bos="<s>")


@pytest.mark.parametrize("adds_bos", [False, True])
def test_one_bos_whether_or_not_the_tokenizer_adds_one(tmp_path: Path, adds_bos: bool) -> None:
    text = text_of(tmp_path, bos="<s>", adds_bos=adds_bos)
    assert text.encode("ab").count(0) == 1
    assert text.encode("ab")[0] == 0
    assert text.encode("<s>ab") == text.encode("ab")
    assert 0 not in text.encode("ab", prepend_bos=False)


def test_a_model_without_a_bos_gets_none(tmp_path: Path) -> None:
    text = text_of(tmp_path, bos=None)
    assert text.bos_id is None
    assert len(text.encode("ab")) == 2


def test_several_texts_are_padded_left_behind_a_mask(tmp_path: Path) -> None:
    text = text_of(tmp_path, bos="<s>")
    tokens, mask = text.batch(["abcd", "x"])
    assert mask.tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
    assert tokens[1, -2:].tolist() == text.encode("x")


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=20))
def test_token_strings_are_one_a_token_and_decode_gives_the_text_back(bytewise: Text, written: str) -> None:
    ids = bytewise.encode(written, prepend_bos=False)
    if set(ids) & bytewise.special_ids:
        return  # the text spells a special token
    assert len(bytewise.strings(ids)) == len(ids)
    assert bytewise.decode(ids) == written


def test_chat_follows_the_template_with_one_bos(tmp_path: Path) -> None:
    text = text_of(tmp_path, bos="<s>", adds_bos=True, chat_template=TEMPLATE)
    ids = text.chat([{"role": "user", "content": "hi"}])
    assert list(ids) == text.encode("<user>hi\n<assistant>") == text.with_bos(ids)
    assert ids.count(0) == 1


def test_chat_without_a_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no chat template"):
        text_of(tmp_path, bos="<s>").chat([{"role": "user", "content": "hi"}])


def test_special_tokens_are_known(tmp_path: Path) -> None:
    assert text_of(tmp_path, bos="<s>").special_ids == {0, 1}


def test_an_unknown_word_is_named_with_the_nearest_known_ones() -> None:
    text = Text(world_folder(), 1041)
    with pytest.raises(UserError) as caught:
        text.encode("the capitol of france is")
    assert "'capitol'" in caught.value.thing
    assert "capital" in caught.value.fix
    assert text.encode("<bos> the capital of france is") == text.encode("the capital of france is")


def test_nothing_to_encode_is_refused(tmp_path: Path) -> None:
    text = text_of(tmp_path, bos=None)
    for texts in ([], [""], ["a", ""]):
        with pytest.raises(UserError, match="no t"):
            text.batch(texts)


def test_a_text_with_an_id_beyond_the_embedding_is_refused(tmp_path: Path) -> None:
    text = text_of(tmp_path, bos="<s>", pad_token="<pad>", additional_special_tokens=["<image>"])
    assert text.tokenizer.convert_tokens_to_ids("<image>") >= D_VOCAB - 2
    small = Text(tmp_path, D_VOCAB - 2)
    assert small.encode("ab") == text.encode("ab")
    assert small.special_ids == {0, 1}
    tokens, mask = small.batch(["abcd", "x"])
    assert int(tokens.max()) < D_VOCAB - 2
    assert mask.tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
    with pytest.raises(UserError, match="the token '<image>' has id"):
        small.encode("ab<image>")


def test_a_text_with_half_a_character_is_refused(tmp_path: Path) -> None:
    text = text_of(tmp_path, bos="<s>", chat_template="{{ messages[0]['content'] }}")
    for encode in (text.encode, lambda said: text.chat([{"role": "user", "content": said}])):
        with pytest.raises(UserError, match="half a character"):
            encode("a\ud83d")
        assert text.decode(encode("🙂")).endswith("🙂")


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((world_folder() / "config.json").read_text())
    with pytest.raises(UserError, match="tokenizer"):
        Text(tmp_path, 1041)


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, bos="<s>")
    whole = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="tokenizer"):
        Text(tmp_path, D_VOCAB)


def test_padding_never_counts_as_text(tmp_path: Path) -> None:
    tokens, mask = text_of(tmp_path, bos="<s>").batch(["a", "abc"])
    assert int(mask.sum()) == 2 + 4
    assert tokens.dtype == mask.dtype == torch.int64
