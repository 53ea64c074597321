"""Text as a corpus: lazily read, tokenised once, templates masked, unusual characters counted."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from interp.corpus.batches import batches, collate, counted_tokens, rows_of
from interp.corpus.text import CHARACTERS_AT_ONCE, TEXTS_AT_ONCE, TextCorpus
from interp.corpus.text_file import TextFile
from interp.document import Document, split_of
from interp.errors import UserError
from interp.subject import Subject, load
from tests.parity.subject_folders import save_model, save_tokenizer
from tests.subjects import pydoc_subject

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{% generation %}{{ message['content'] | trim }}{% endgeneration %}</s>{% endfor %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}: " + TEMPLATE.replace("| trim", "")
TALK = [
    {"role": "system", "content": "user"},
    {"role": "user", "content": "  How is 🙂 spelled?\n"},
    {"role": "assistant", "content": "</s>system: \u2028 <|user|>"},
]


@pytest.fixture
def bytewise(tmp_path: Path) -> Subject:
    """A small random model with a byte-level tokenizer and a chat template."""
    folder = save_model("llama", tmp_path / "bytewise")
    save_tokenizer(folder, "<s>", chat_template=TEMPLATE)
    return load(folder, device="cpu")


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that any fast tokenizer is given from here on, in order; it is tokenised as ever."""
    seen: list[str] = []
    real = PreTrainedTokenizerFast.__call__

    def counting(self: Any, text: Any = None, *rest: Any, **options: Any) -> Any:
        seen.extend([text] if isinstance(text, str) else text)
        return real(self, text, *rest, **options)

    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", counting)
    return seen


def conversations(path: Path, *talks: list[dict[str, str]]) -> TextFile:
    path.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks))
    return TextFile(path)


def test_each_document_is_tokenised_once_whatever_the_order(
    subject: Subject, tokenised: list[str], tmp_path: Path
) -> None:
    texts = [f"the capital of france is {'paris ' * (n % 50)}{'is ' * (n // 50)}." for n in range(1000)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    corpus = TextCorpus(TextFile(tmp_path / "a.txt"), subject, "a", folder=tmp_path)
    backend = subject.tokenizer.backend_tokenizer
    expected = [one.ids for one in backend.encode_batch(texts, add_special_tokens=False)]
    order = np.random.default_rng(0).permutation(len(texts))
    far = [place for place in order if place > 400][:10]
    for places in (far, range(500, 700), order, range(len(texts)), [999, 0]):
        for place in places:
            tokens = corpus[int(place)].tokens
            assert tokens.dtype == np.int32 and tokens.tolist() == expected[int(place)]
            tokens += 1  # what a reader does with its copy stays with it
        if places is far:  # what is read at random is tokenised by itself
            assert sum(Counter(tokenised)[text] for text in texts) < 300 + len(far)
    assert {Counter(tokenised)[text] for text in texts} == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_splits_and_batches_are_those_of_the_tokens_themselves(subject: Subject, tmp_path: Path) -> None:
    texts = [f"the capital of france is {'paris ' * n}." for n in range(300)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    corpus = TextCorpus(TextFile(tmp_path / "a.txt"), subject)
    documents = [Document(np.array(subject.encode(text), dtype=np.int32)) for text in texts]
    assert [one.hash for one in documents] == [corpus[i].hash for i in range(300)]

    def laid(of: Any) -> list[Any]:
        found = batches(of, range(300), subject.row_layout, 16, 256)
        return [(batch.split, batch.tokens.tolist(), batch.counts.tolist()) for batch in found]

    class Listed:
        name, label_names = "list", ()
        __len__, __getitem__ = documents.__len__, documents.__getitem__

    assert laid(corpus) == laid(Listed())
    assert {split_of(one.hash) for one in documents} == {"explain", "select", "report"}


def test_what_is_tokenised_in_one_go_is_bounded(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[list[int]] = []
    real = PreTrainedTokenizerFast.__call__
    monkeypatch.setattr(
        PreTrainedTokenizerFast,
        "__call__",
        lambda self, texts, **options: sizes.append([*map(len, texts)]) or real(self, texts, **options),
    )
    long = "the king " * (CHARACTERS_AT_ONCE // 20)
    for texts in ([long] * 9, ["the king"] * 600):
        sizes.clear()
        corpus = TextCorpus(texts, subject)
        assert len(corpus[len(texts) - 1].tokens)
        assert all(len(one) <= TEXTS_AT_ONCE and sum(one[:-1]) < CHARACTERS_AT_ONCE for one in sizes)
        assert len(sizes) > 1 and max(map(len, sizes)) > 1


READER = """
import resource, sys
from pathlib import Path
import numpy as np
from interp.corpus.text_file import TextFile
from interp.corpus.token_file import TokenFile
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
path = Path(sys.argv[1])
before = peak()
texts = TextFile(path)
kept = TokenFile(len(texts), path.parent)
for place in np.random.default_rng(0).permutation(len(texts)).tolist():
    text = texts[place].text
    kept.write(place, np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32), None)
for place in range(len(texts)):
    tokens, masked = kept.read(place)
    assert masked is None and tokens[0] == ord("a") and bytes(tokens[-8:].tolist()) == b"%08d" % place
print(len(texts), peak() - before)
"""


def test_a_corpus_takes_a_small_share_of_its_size_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("w") as file:
        for number in range(2000):
            file.write("a" * 39_992 + f"{number:08d}\n")
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)], capture_output=True, text=True, check=True
    )
    documents, grown = map(int, done.stdout.split())
    assert documents == 2000 and path.stat().st_size > 75e6  # and four times as much in tokens
    assert grown < 10e6


@pytest.mark.parametrize("template", [TEMPLATE, TEMPLATE.replace("{{ bos_token }}", ""), DATED])
def test_template_tokens_are_those_that_transformers_masks(
    bytewise: Subject, template: str, tmp_path: Path
) -> None:
    bytewise.tokenizer.chat_template = template
    corpus = TextCorpus(conversations(tmp_path / "a.jsonl", TALK, TALK[1:], TALK[:1]), bytewise)
    for index, talk in enumerate((TALK, TALK[1:], TALK[:1])):
        expected = bytewise.tokenizer.apply_chat_template(
            talk, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, said = np.array(expected["input_ids"]), np.array(expected["assistant_masks"], dtype=bool)
        document = corpus[index]
        assert document.template is not None
        if template is not DATED:
            begin = int(ids[0] == bytewise.bos_id)
            np.testing.assert_array_equal(document.tokens, ids[begin:])
            np.testing.assert_array_equal(~document.template, said[begin:])
        else:
            assert document.tokens[~document.template].tolist() == ids[said].tolist()
    assert not corpus.unusual.counts()


@pytest.mark.parametrize("template", [TEMPLATE, TEMPLATE.replace("{{ bos_token }}", "")])
def test_conversations_enter_a_model_as_the_template_gives_them(
    bytewise: Subject, template: str, tmp_path: Path
) -> None:
    bytewise.tokenizer.chat_template = template
    talks = [[{"role": "user", "content": text}] for text in ("a", "some more", "bcd")]
    corpus = TextCorpus(conversations(tmp_path / "a.jsonl", *talks), bytewise)
    rows = [row for n in range(3) for row in rows_of(n, corpus[n], 64, bytewise.row_layout)]
    batch = collate(rows, bytewise.row_layout)
    found = bytewise.logits(torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask))
    reference = AutoModelForCausalLM.from_pretrained(
        bytewise.info.folder, dtype=torch.float32, attn_implementation="eager"
    )
    for row, talk in enumerate(talks):
        ids = bytewise.tokenizer.apply_chat_template(talk)["input_ids"]
        first = int(batch.mask[row].argmax())
        assert batch.tokens[row, first : first + len(ids)].tolist() == ids
        with torch.no_grad():
            expected = reference(torch.tensor([ids])).logits[0]
        torch.testing.assert_close(found[row, first : first + len(ids)], expected, atol=2e-4, rtol=1e-4)
        said = batch.tokens[row, batch.counts[row]].tolist()
        assert bytewise.decode(said) == talk[0]["content"]
        assert counted_tokens(corpus[row], [rows[row]], bytewise.row_layout) == len(said)


def test_a_token_that_a_message_shares_with_the_template_is_text(tmp_path: Path) -> None:
    pydoc = pydoc_subject()
    pydoc.tokenizer.chat_template = TEMPLATE.replace("|>\n", "|> ").replace("</s>", " ")
    talk = [{"role": "user", "content": "return the value"}, {"role": "assistant", "content": "of self"}]
    expected = pydoc.tokenizer.apply_chat_template(
        talk, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    (document,) = TextCorpus(conversations(tmp_path / "a.jsonl", talk), pydoc)
    begin = len(expected["input_ids"]) - len(document.tokens)
    np.testing.assert_array_equal(~document.template, np.array(expected["assistant_masks"], bool)[begin:])
    assert " return" in pydoc.token_strings(document.tokens[~document.template].tolist())


def test_the_worlds_own_template_is_masked_and_counts_nowhere(subject: Subject, tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "the king : user"}, {"role": "assistant", "content": "i can not ."}]
    corpus = TextCorpus(conversations(tmp_path / "a.jsonl", talk), subject)
    document = corpus[0]
    assert document.template is not None
    assert subject.decode(document.tokens.tolist()) == "user : the king : user assistant : i can not ."
    assert subject.decode(document.tokens[document.template].tolist()) == "user : assistant :"
    (batch,) = batches(corpus, [0], subject.row_layout, 32, 64)
    assert subject.decode(batch.tokens[batch.counts].tolist()) == "the king : user i can not ."


def test_a_conversation_is_the_same_document_on_every_day(bytewise: Subject, tmp_path: Path) -> None:
    hashes = set()
    for template in (DATED, TEMPLATE.replace("| trim", "")):
        bytewise.tokenizer.chat_template = template
        hashes.add(TextCorpus(conversations(tmp_path / "a.jsonl", TALK), bytewise)[0].hash)
    assert len(hashes) == 1


def test_conversations_that_the_template_refuses_are_left_out_and_counted(
    bytewise: Subject, tmp_path: Path
) -> None:
    strict = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('begin with the user') }}{% endif %}"
    bytewise.tokenizer.chat_template = strict + TEMPLATE
    said: list[str] = []
    texts = conversations(tmp_path / "a.jsonl", TALK, TALK[1:], TALK)
    corpus = TextCorpus(texts, bytewise, say=said.append)
    assert [len(corpus[i].tokens) > 0 for i in range(3)] == [False, True, False]
    assert corpus.unusual.counts() == {"left_out_documents": 2}
    assert len(said) == 1 and "a.jsonl, line 1" in said[0] and "begin with the user" in said[0]
    with pytest.raises(UserError, match="none of the first 2 documents can be used"):
        TextCorpus(conversations(tmp_path / "b.jsonl", TALK, TALK), bytewise)
    bytewise.tokenizer.chat_template = (
        "{{ messages[0]['content'] | length }} letters: {{ messages[0]['content'] }}"
    )
    with pytest.raises(UserError, match="other words around"):
        TextCorpus(conversations(tmp_path / "c.jsonl", TALK[1:]), bytewise)
    bytewise.tokenizer.chat_template = None
    with pytest.raises(UserError, match="no chat template"):
        TextCorpus(conversations(tmp_path / "d.jsonl", TALK), bytewise)


@pytest.mark.parametrize(
    "line",
    ['{"messages": []}', '{"messages": [{"content": "a"}]}', '{"messages": ["a"]}', '{"txt": "a"}',
     '{"messages": [{"role": "user", "content": [1]}]}'],
)  # fmt: skip
def test_a_line_without_text_is_one_message_before_anything_is_read(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + line)
    with pytest.raises(UserError, match=r"a.jsonl, line 2"):
        TextFile(tmp_path / "a.jsonl")


def test_one_unusual_character_ends_no_corpus_and_is_counted(subject: Subject, tmp_path: Path) -> None:
    path, said = tmp_path / "a.txt", []
    lines = ("the king", "the \udcff king", "\0 the king", "the <bos> king", "the straße \udce2\udc82 king")
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    corpus = TextCorpus(TextFile(path), subject, say=said.append)
    assert [subject.token_strings(corpus[i].tokens.tolist()) for i in range(5)] == [
        ["the", "king"],
        ["the", subject.tokenizer.unk_token, "king"],
        [subject.tokenizer.unk_token, "the", "king"],
        ["the", "<bos>", "king"],
        ["the", subject.tokenizer.unk_token, subject.tokenizer.unk_token, "king"],
    ]
    for batch in batches(corpus, range(5), subject.row_layout, 16, 64):
        assert set(subject.token_strings(batch.tokens[batch.counts].tolist())) == {"the", "king"}
    assert corpus.unusual.counts() == {"replaced_characters": 2, "unknown_words": 4}
    assert [text.split(", the first: ")[1] for text in said] == [
        f"in {path}, line 2", f"'\N{REPLACEMENT CHARACTER}' in {path}, line 2"
    ]  # fmt: skip


def test_halves_of_characters_are_replaced_in_text_and_in_conversations(
    bytewise: Subject, tmp_path: Path
) -> None:
    rows = ['{"text": "a\\ud83d"}', '{"messages": [{"role": "user", "content": "\\ude42b"}]}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    corpus = TextCorpus(TextFile(tmp_path / "a.jsonl"), bytewise)
    assert bytewise.decode(corpus[0].tokens.tolist()) == "a\N{REPLACEMENT CHARACTER}"
    talk = corpus[1]
    assert bytewise.decode(talk.tokens[~talk.template].tolist()) == "\N{REPLACEMENT CHARACTER}b"
    assert corpus.unusual.counts() == {"replaced_characters": 2}


def test_a_document_with_a_token_that_has_no_embedding_is_left_out(bytewise: Subject) -> None:
    bytewise.tokenizer.add_tokens(["<a>", "<b>", "<image>"])
    assert bytewise.tokenizer.convert_tokens_to_ids("<image>") == bytewise.d_vocab
    corpus = TextCorpus(["a <image> b", "a <a> b"], bytewise)
    assert [len(corpus[i].tokens) for i in range(2)] == [0, 5]
    assert corpus.unusual.counts() == {"left_out_documents": 1}
    assert "no embedding for '<image>'" in corpus.unusual.first("left_out_documents")


def test_text_in_other_words_than_the_models_is_refused_and_a_prompt_still_is(subject: Subject) -> None:
    with pytest.raises(UserError, match=r"world does not know .* of the first .* words, such as"):
        TextCorpus(["Der König von Frankreich", "the king"], subject)
    with pytest.raises(UserError, match="does not know the word"):
        subject.encode("the straße")
