"""Lists of words as concepts: which tokens carry them, and which files are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from interp.causal.steering.concepts import LabelledByWords, WordList, WordLists
from interp.document import SPLITS, Document, split_of
from interp.errors import UserError
from interp.subject import Subject
from tests.corpora import ListCorpus
from tests.subjects import pydoc_subject


@pytest.fixture(scope="module")
def pydoc() -> Subject:
    return pydoc_subject()


@pytest.fixture(scope="module")
def lists(pydoc: Subject) -> WordLists:
    files = WordList("files", frozenset({"file", "directory", "untouchable"}), "About files.")
    return WordLists([files, WordList("both", frozenset({"file", "tuple"}))], pydoc)


def test_a_token_carries_a_list_if_its_whole_word_is_in_it(pydoc: Subject, lists: WordLists) -> None:
    text = "The FILE and a profile: filename, directory-like untouchable, tuple"
    tokens = pydoc.encode(text)
    carried = lists.carries(tokens, "files")
    strings = pydoc.token_strings(tokens)
    said = "".join(one for one, own in zip(strings, carried, strict=True) if own).split()
    assert said == ["FILE", "directory", "untouchable"]  # each with all its tokens, and no part of a word
    both = lists.carries(tokens, "both")
    assert [one.strip() for one, own in zip(strings, both, strict=True) if own][-1].endswith("le")
    assert len(lists.carries([], "files")) == 0


def test_a_corpus_is_labelled_with_the_lists(pydoc: Subject, lists: WordLists) -> None:
    tokens = pydoc.encode("open the file or a tuple")
    plain = Document(np.array(tokens, dtype=np.int32))
    labelled = LabelledByWords(ListCorpus([plain]), lists)
    assert labelled.label_names == ("files", "both") and len(labelled) == 1
    found = labelled[0]
    assert found.labels is not None and found.hash == plain.hash
    for bit, name in enumerate(lists.names):
        own = found.labels >> np.uint64(bit) & np.uint64(1) != 0
        np.testing.assert_array_equal(own, lists.carries(tokens, name))
        assert own.any()
    own_split = split_of(plain.hash)
    labelled.check_carried(own_split)
    other = next(split for split in SPLITS if split != own_split)
    with pytest.raises(UserError, match=f"no word of both, files is in the {other} split"):
        labelled.check_carried(other)


def test_words_are_those_of_one_token_and_an_announcement_is_optional(
    pydoc: Subject, lists: WordLists
) -> None:
    words = {pydoc.decode(ids).strip() for ids in lists.words("files")}
    assert "file" in words and all(len(ids) == 1 for ids in lists.words("files"))
    assert lists.announcement("files") == tuple(pydoc.encode("About files."))
    assert lists.announcement("both") is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({}, "no words"),
        ({"words": []}, "no words"),
        ({"words": [1]}, "no words"),
        ({"words": ["two words"]}, "not one word"),
        ({"words": ["sea"], "announcement": 3}, "announcement"),
    ],
)
def test_a_file_without_words_is_refused(tmp_path: Path, content: object, what: str) -> None:
    file = tmp_path / "sea.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=what):
        WordList.read(file)
