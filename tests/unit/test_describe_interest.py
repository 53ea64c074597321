"""Which descriptions are of interest: the rule, and the classifier that a user trains."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from interp.descriptions.interest import FEWEST, InterestClassifier, by_rule, read_labels, train_interest
from interp.descriptions.score import Score
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError

NAN = math.nan
GOOD = ("names of cities", "years of a war", "verbs of motion", "kinds of fruit", "words for colours")
BAD = ("various tokens", "common words", "a mix of text", "random pieces", "general language")


def _score(value: float, null_high: float = 0.1, undefined: str | None = None) -> Score:
    return Score(value, NAN, NAN, NAN, NAN, null_high, 10, 100, 5, 0, undefined)


def _labels(n: int = 60, swapped: bool = False) -> tuple[list[str], np.ndarray]:
    texts = [f"{(GOOD if i % 2 else BAD)[i // 2 % 5]} {i}" for i in range(n)]
    return texts, np.array([bool(i % 2) != swapped for i in range(n)])


def _written(
    file: Path, rows: list[tuple[str, str]], head: tuple[str, ...] = ("description", "interesting")
) -> Path:
    with file.open("w", newline="", encoding="utf-8") as output:
        csv.writer(output).writerows([head, *rows])
    return file


@pytest.mark.parametrize(
    ("description", "score", "interesting", "reason"),
    [
        ("names of rivers", _score(0.6), True, "0.60"),
        ("names of rivers", _score(0.6, NAN), True, "0.60"),
        ("names of rivers", _score(0.19), False, "under 0.2"),
        ("names of rivers", _score(0.6, 0.7), False, "reach 0.70"),
        ("names of rivers", _score(NAN, NAN, "no tokens"), False, "no tokens"),
        (" \n", _score(0.6), False, "says nothing"),
        ("Various words and other Tokens.", _score(0.9), False, "vague"),
        ("the word “the”", _score(0.9), True, "0.90"),
        ("words with 3 letters", _score(0.9), True, "0.90"),
        ("— …", _score(0.9), True, "0.90"),
        ("<b>various</b> tokens", _score(0.9), True, "0.90"),
    ],
)
def test_the_rule_asks_for_a_score_clear_of_its_null_and_for_words_that_say_something(
    description: str, score: Score, interesting: bool, reason: str
) -> None:
    verdict = by_rule(description, score)
    assert verdict.interesting is interesting
    assert reason in verdict.reason


def test_a_planted_difference_is_learnt_and_kept_on_disk(tmp_path: Path) -> None:
    texts, labels = _labels()
    embedder = TfidfEmbedder.fit(texts, width=16)
    found = train_interest(texts, labels, embedder, seed=1, shuffles=10)
    report = found.report
    assert report.auroc[0] > 0.95
    assert report.auroc[1] <= report.auroc[0] <= report.auroc[2]
    assert report.null_auroc[1] < 0.5 < report.null_auroc[2]
    assert report.balanced_accuracy[0] > 0.9 and report.accuracy[0] > 0.9
    assert (report.n, report.n_interesting, report.embedder) == (60, 30, embedder.name)
    new = ["names of towns", "various general tokens"]
    assert [verdict.interesting for verdict in found.verdicts(new, embedder)] == [True, False]
    found.save(tmp_path)
    loaded = InterestClassifier.load(tmp_path)
    assert loaded.report == report
    assert loaded.verdicts(new, embedder) == found.verdicts(new, embedder)
    assert train_interest(texts, labels, embedder, seed=1, shuffles=10).report == report
    with pytest.raises(UserError, match="use the embedder"):
        loaded.verdicts(new, TfidfEmbedder.fit(new))
    (tmp_path / "interest.json").write_text("{}")
    with pytest.raises(UserError, match="train it again"):
        InterestClassifier.load(tmp_path)


def test_labels_without_a_rule_are_not_learnt() -> None:
    texts, _ = _labels(80)
    labels = np.random.default_rng(3).permutation(np.arange(80) % 2 == 0)
    report = train_interest(texts, labels, TfidfEmbedder.fit(texts, width=16), shuffles=10).report
    assert report.auroc[1] < 0.5 + 0.15
    assert report.null_auroc[0] == pytest.approx(0.5, abs=0.1)


def test_copies_of_a_description_do_not_help() -> None:
    """Each text stands there three times, its answer drawn by chance: a known copy would give it away."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 8)) for _ in range(60)]
    once = rng.permutation(np.arange(60) % 2 == 0)
    texts = [*words, *(word.upper() for word in words), *(f" {word} " for word in words)]
    report = train_interest(texts, np.tile(once, 3), TfidfEmbedder.fit(texts, width=48), shuffles=2).report
    assert report.auroc[0] < 0.75


def test_labels_are_read_with_whatever_is_in_a_description(tmp_path: Path) -> None:
    odd = [
        "<script>alert(1)</script>",
        "a\x0bb\x1cc\u2028d\x85e",
        "two\nlines",
        'quoted "x", y',
        "nul \x00",
        "é🙂",
    ]
    texts = [*odd, *(f"more {i}" for i in range(14))]
    answers = ["1", "NO", "yes", "false", "True", "0", *("yes" if i % 2 else "no" for i in range(14))]
    file = _written(tmp_path / "labels.csv", list(zip(texts, answers, strict=True)))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    found, labels = read_labels(file)
    assert found == texts
    assert labels[:6].tolist() == [True, False, True, False, True, False]


@pytest.mark.parametrize(
    ("head", "rows", "said"),
    [
        (("text", "interesting"), [("a", "1")], "no column description"),
        (("description", "label"), [("a", "1")], "no column interesting"),
        (("description", "interesting"), [("a", "maybe")], "'maybe' is no answer"),
        (
            ("description", "interesting"),
            [(f"{i}", "1") for i in range(30)],
            "only 0 descriptions are not interest",
        ),
        (
            ("description", "interesting"),
            [(f"{i}", "1" if i < FEWEST - 1 else "0") for i in range(30)],
            "only 9 descriptions are interesting",
        ),
        (
            ("description", "interesting"),
            [*[("same", "1")] * 20, *[(f"{i}", "0") for i in range(20)]],
            "only 1 descriptions are interesting",
        ),
        ((), [], "no column"),
    ],
)
def test_labels_that_will_not_do_are_said(
    tmp_path: Path, head: tuple[str, ...], rows: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_labels(_written(tmp_path / "labels.csv", rows, head))


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"description,interesting\n\xff\xfe,1\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_labels(tmp_path / "bytes.csv")
    (tmp_path / "long.csv").write_text("description,interesting\n" + "x" * 200_000 + ",1\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_labels(tmp_path / "long.csv")
