import json
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.corpus.batches import batches
from interp.corpus.text_file import TextFile
from interp.document import SPLITS, Document, split_of
from interp.errors import UserError
from interp.subject.row_layout import RowLayout
from tests.corpora import ListCorpus, random_corpus


@given(st.integers(0, 10_000), st.integers(3, 50), st.integers(1, 300), st.booleans())
def test_batches_hold_every_token_once(seed: int, context: int, per_batch: int, bos: bool) -> None:
    corpus = random_corpus(25, seed)
    seen: dict[tuple[int, int], int] = {}
    for batch in batches(
        corpus, range(25), RowLayout(0 if bos else None, frozenset([0])), context, per_batch
    ):
        assert batch.tokens.shape[1] <= context
        assert batch.tokens.size <= max(per_batch, 0) + context * len(batch.tokens) or len(batch.tokens) == 1
        for row in range(len(batch.tokens)):
            document = corpus[int(batch.document[row])]
            assert split_of(document.hash) == batch.split
            if bos:
                assert batch.tokens[row, 0] == 0 and not batch.counts[row, 0]
            length = min(context - batch.offset, len(document.tokens) - int(batch.start[row]))
            for place in range(length):
                where = int(batch.start[row]) + place
                assert batch.tokens[row, batch.offset + place] == document.tokens[where]
                template = document.template is not None and bool(document.template[where])
                assert bool(batch.counts[row, batch.offset + place]) is not template
                key = (int(batch.document[row]), where)
                seen[key] = seen.get(key, 0) + 1
            assert not batch.counts[row, batch.offset + length :].any()
    expected = {(i, p): 1 for i in range(25) for p in range(len(corpus[i].tokens))}
    assert seen == expected


def test_rows_of_one_length_are_batched_without_padding() -> None:
    tokens = [np.full(7, i + 1, dtype=np.int32) for i in range(64)]
    corpus = ListCorpus([Document(t) for t in tokens])
    for batch in batches(corpus, range(64), RowLayout(0, frozenset([0])), 16, 64):
        assert batch.tokens.shape[1] == 8 and batch.counts[:, 1:].all()


def test_a_row_never_begins_with_a_bos_of_its_document() -> None:
    """Another one stands there; the token in the middle of a row stays, and nothing else is lost."""
    tokens = np.array([0, 0, 5, 6, 7, 0, 8, 9, 0, 3], dtype=np.int32)
    corpus = ListCorpus([Document(tokens), Document(np.array([4], dtype=np.int32))])
    laid = list(batches(corpus, range(2), RowLayout(0, frozenset([0])), 4, 1000))
    rows = sorted(
        (int(index), int(start), row[: 1 + n].tolist(), bool(first))
        for batch in laid
        for index, start, row, n, first in zip(
            batch.document, batch.start, batch.tokens, (batch.tokens > 0).sum(1), batch.first, strict=True
        )
    )
    assert rows == [
        (0, 2, [0, 5, 6, 7], True),
        (0, 6, [0, 8, 9], False),
        (0, 9, [0, 3], False),
        (1, 0, [0, 4], True),
    ]
    assert sum(batch.n_counted for batch in laid) == 7


def test_splits_are_stable_and_have_their_shares() -> None:
    splits = [split_of(Document(np.array([i, i + 1], dtype=np.int32)).hash) for i in range(20_000)]
    shares = [splits.count(split) / len(splits) for split in SPLITS]
    np.testing.assert_allclose(shares, [0.5, 0.2, 0.3], atol=0.015)


def test_an_empty_corpus_is_an_error() -> None:
    for documents in ([], [Document(np.array([], dtype=np.int32))]):
        with pytest.raises(UserError, match="no text"):
            list(batches(ListCorpus(documents), range(len(documents)), RowLayout(0), 16, 64))


def test_texts_are_read_from_lines_and_json(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("one two\n\nthree\n")
    assert [one.text for one in TextFile(tmp_path / "a.txt")] == ["one two", "three"]
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "x"}) + "\n")
    assert [one.text for one in TextFile(tmp_path / "b.jsonl")] == ["x"]
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n{"txt": 1}\n')
    with pytest.raises(UserError, match="line 2"):
        TextFile(tmp_path / "b.jsonl")
    with pytest.raises(UserError, match="no file"):
        TextFile(tmp_path / "c.txt")


class LongDocuments:
    """Documents of some 2,000 tokens, made as they are read; `made` are those that still exist."""

    name, label_names = "long", ()

    def __init__(self, documents: int) -> None:
        self.documents = documents
        self.made: list[weakref.ref[Document]] = []

    def __len__(self) -> int:
        return self.documents

    def __getitem__(self, index: int) -> Document:
        document = Document(np.arange(1, 2000 + 7 * index % 31, dtype=np.int32) + index)
        self.made.append(weakref.ref(document))
        return document


def test_rows_that_wait_for_a_batch_hold_no_documents() -> None:
    corpus, most = LongDocuments(300), 0
    for batch in batches(corpus, range(300), RowLayout(0), 64, 4096):
        assert batch.counts[:, 1:].any()
        most = max(most, sum(one() is not None for one in corpus.made))
    assert len(corpus.made) == 300
    assert most < 20  # full rows, of which 64 of a split make a batch, hold their documents
