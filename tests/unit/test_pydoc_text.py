"""The text that Python carries: cut, parted and identified."""

import ast
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import interp
from interp.bundled.pydoc import pydoc_folder
from interp.bundled.pydoc.cut import LONGEST, module_documents, paragraphs, topic_documents
from interp.bundled.pydoc.sources import Source, modules, topics
from interp.bundled.pydoc.texts import (
    HELD_OUT_SHARE,
    PARTS,
    fingerprint,
    long_paragraphs,
    part_of,
    pydoc_texts,
)
from interp.bundled.pydoc.tokenizer import BOS_ID, train_tokenizer
from interp.corpus.source import PydocSource
from interp.errors import UserError
from interp.subject import Subject
from tests.subjects import world_subject


@pytest.fixture(scope="module")
def subject(pydoc: Subject) -> Subject:
    return pydoc


def test_no_held_out_document_shares_a_paragraph_or_a_source_with_training() -> None:
    training, held_out = pydoc_texts("training"), pydoc_texts("held_out")
    taught = {paragraph for document in training for paragraph in long_paragraphs(document.text)}
    assert len(taught) > 10_000
    for document in held_out:
        assert not taught.intersection(long_paragraphs(document.text)), document.source
    assert not {(d.kind, d.source) for d in training} & {(d.kind, d.source) for d in held_out}
    sizes = {part: sum(len(document.text) for document in pydoc_texts(part)) for part in PARTS}
    assert 0.1 < sizes["held_out"] / sum(sizes.values()) < 0.4


def test_documents_are_different_short_enough_and_of_the_library() -> None:
    for part in PARTS:
        texts = [document.text for document in pydoc_texts(part)]
        assert len(set(texts)) == len(texts)
        assert max(map(len, texts)) <= LONGEST
        assert np.median([len(text) for text in texts]) > 300
    names = {
        document.source.split(".")[0] for document in pydoc_texts("training") if document.kind == "module"
    }
    assert names <= sys.stdlib_module_names
    assert not names & {"test", "encodings", "idlelib", "numpy", "torch"}


def test_the_part_is_decided_by_the_name_alone() -> None:
    def part(name: str) -> str:
        return part_of(Source("module", name, name, ""))

    # fixed by the shipped weights: a rule that moved these would evaluate on what was trained on
    assert [part(name) for name in ("inspect", "pathlib", "functools", "email")] == ["held_out"] * 4
    assert [part(name) for name in ("argparse", "subprocess", "threading", "asyncio")] == ["training"] * 4
    names = [f"module{i}" for i in range(4000)]
    assert np.mean([part(name) == "held_out" for name in names]) == pytest.approx(HELD_OUT_SHARE, abs=0.03)
    owners = {source.name: source.owner for source in modules()}
    assert owners["_pyio"] == owners["io"]
    assert owners["json.decoder"] == "json"


def test_another_process_reads_the_same_text() -> None:
    code = "from interp.bundled.pydoc.texts import *; print(fingerprint('training'), fingerprint('held_out'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [fingerprint("training"), fingerprint("held_out")]


def test_cutting_a_module_loses_no_line_of_code() -> None:
    source = next(source for source in modules() if source.name == "functools")
    lines = "\n".join(module_documents(source.text)).split("\n")
    assert [line for line in lines if line.strip()] == [x for x in source.text.split("\n") if x.strip()]


def test_a_function_keeps_its_decorator_and_the_comment_before_it() -> None:
    filler = "\n".join(f"    x{i} = {i}  # a line that makes the function long enough" for i in range(8))
    start = '"""Doc."""\n\n' + "A = 1  # constants\n" * 10
    text = f"{start}\n\n# about f\n@cache\ndef f():\n{filler}\n\n\ndef g():\n{filler}\n"
    pieces = list(module_documents(text))
    assert [piece.split("\n")[0] for piece in pieces][1:] == ["# about f", "def g():"]
    ast.parse(pieces[1])


def test_a_topic_is_cut_at_its_headings() -> None:
    body = "Words of a paragraph. " * 12
    pieces = list(topic_documents(f"One\n***\n\n{body}\n\nTwo\n===\n\n{body}\n"))
    assert [piece.split("\n")[0] for piece in pieces] == ["One", "Two"]
    names = [source.name for source in topics()]
    assert names == sorted(names)


@given(st.text(alphabet="ab \n\t", max_size=3000))
@settings(max_examples=50)
def test_no_piece_is_too_long_and_no_word_is_lost(text: str) -> None:
    pieces = list(topic_documents(text))
    assert all(0 < len(piece) <= LONGEST for piece in pieces)
    if all(len(line) <= LONGEST for line in text.split("\n")):
        assert "".join("".join(pieces).split()) == "".join(text.split())
    assert paragraphs("a\n \n\t\nb\n\n") == ["a", "b"]


@given(st.text(max_size=200))
@settings(max_examples=200)
def test_the_shipped_tokenizer_gives_every_text_back(text: str) -> None:
    tokenizer = _shipped()
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == BOS_ID
    if "<bos>" not in text and "<pad>" not in text:
        assert tokenizer.decode(ids[1:]) == text
        assert ids.count(BOS_ID) == 1


@cache
def _shipped() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(pydoc_folder())


def test_a_tokenizer_learned_twice_is_the_same_and_has_the_size_asked_for() -> None:
    texts = [document.text for document in pydoc_texts("held_out")[:200]]
    one, other = (train_tokenizer(texts, 600) for _ in range(2))
    assert one.to_str() == other.to_str()
    assert one.get_vocab_size() == 600
    assert one.encode("\x00 é 漢").tokens[0] == "<bos>"


def test_the_corpus_is_by_default_what_the_model_was_not_trained_on(subject: Subject) -> None:
    corpus = PydocSource(documents=50).open(subject)
    assert isinstance(corpus, interp.PydocCorpus)
    assert {document.text for document in corpus.texts} <= {d.text for d in pydoc_texts("held_out")}
    assert len({document.source for document in corpus.texts}) > 15  # a sample of modules, not the first one
    assert corpus.label_names == ()
    assert f"python={sys.version.split()[0]}" in corpus.name
    assert fingerprint("held_out")[:8] in corpus.name
    for index in (0, 49):
        assert subject.decode(corpus[index].tokens.tolist()) == corpus.texts[index].text
        assert BOS_ID not in corpus[index].tokens
    everything = interp.PydocCorpus(subject, "all")
    assert len(everything) == sum(len(pydoc_texts(part)) for part in PARTS)
    assert fingerprint("training")[:8] in everything.name


def test_the_corpus_serves_another_subject_and_refuses_to_be_longer_than_it_is(subject: Subject) -> None:
    PydocSource().check(subject.info)
    with pytest.raises(UserError, match="documents"):
        PydocSource(documents=10**6).open(subject)
    other = world_subject()
    with pytest.raises(UserError, match="world does not know"):
        interp.PydocCorpus(other, documents=3)
