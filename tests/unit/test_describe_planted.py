"""Features with a known rule: the description must say the rule and predict it on text it never saw."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from interp.descriptions import Description, Evidence, Window, describe_all, score_descriptions
from interp.descriptions.query import Activations, ask_of

TEXT = (
    "the a of over under old new bridge river lake house king queen capital france spain italy paris is was "
    "not very one two three . , : ? red green blue"
)
WORDS = TEXT.split()
ID = {word: i for i, word in enumerate(WORDS)}
Rule = Callable[[list[str]], list[float]]


def show(tokens: list[int]) -> str:
    return " ".join(WORDS[token] for token in tokens)


def activations(rule: Rule) -> Activations:
    def run(rows: list[np.ndarray]) -> list[np.ndarray]:
        return [np.array(rule([WORDS[t] for t in row]), dtype=np.float64) for row in rows]

    return run


def text(seed: int, n: int, length: int = 24) -> list[np.ndarray]:
    """Random words in which the planted contexts are frequent enough to be found."""
    rng = np.random.default_rng(seed)
    phrases = ["over the", "capital of", "not very", "the old bridge", "over the bridge", "is paris"]
    rows = []
    for _ in range(n):
        words: list[str] = []
        while len(words) < length:
            words += rng.choice(phrases).split() if rng.random() < 0.35 else [str(rng.choice(WORDS))]
        rows.append(np.array([ID[word] for word in words[:length]]))
    return rows


def windows(rule: Rule, rows: list[np.ndarray], first_document: int) -> list[Window]:
    values = activations(rule)(rows)
    everywhere = np.ones(len(rows[0]), dtype=bool)
    return [
        Window(row, value.astype(np.float32), first_document + i, everywhere)
        for i, (row, value) in enumerate(zip(rows, values, strict=True))
    ]


def strongest(found: list[Window], k: int) -> list[Window]:
    return sorted(found, key=lambda w: -w.values.max())[:k]


def token_rule(words: list[str]) -> list[float]:
    return [2.0 * (w in ("bridge", "river")) for w in words]


def context_rule(words: list[str]) -> list[float]:
    return [
        3.0 * (w == "bridge" and words[max(i - 2, 0) : i] == ["over", "the"]) for i, w in enumerate(words)
    ]


def stronger_after_rule(words: list[str]) -> list[float]:
    return [
        (w == "bridge") * (4.0 if words[max(i - 2, 0) : i] == ["over", "the"] else 2.2)
        for i, w in enumerate(words)
    ]


def follower_rule(words: list[str]) -> list[float]:
    return [1.5 * (i >= 2 and words[i - 2 : i] == ["capital", "of"]) for i in range(len(words))]


def skip_rule(words: list[str]) -> list[float]:
    return [2.0 * (w == "lake" and i >= 2 and words[i - 2] == "not") for i, w in enumerate(words)]


def graded_rule(words: list[str]) -> list[float]:
    return [{"three": 3.0, "two": 2.0, "one": 1.6}.get(w, 0.1) for w in words]


def two_rules(words: list[str]) -> list[float]:
    return [
        2.0 * (w == "queen") + 1.8 * (w == "paris" and i > 0 and words[i - 1] == "is")
        for i, w in enumerate(words)
    ]


def negative_rule(words: list[str]) -> list[float]:
    return [-a for a in (-3.0 if w == "blue" else 0.5 for w in words)]


def never(words: list[str]) -> list[float]:
    return [-1.0] * len(words)


def constant(words: list[str]) -> list[float]:
    return [1.0] * len(words)


def diverse_rule(words: list[str]) -> list[float]:
    return [1.0 + 0.01 * ID[w] if ID[w] >= 10 else 0.0 for w in words]


RULES: dict[str, tuple[Rule, str]] = {
    "token": (token_rule, "fires on “bridge” and “river”"),
    "context": (context_rule, "fires on “bridge” after “over the”"),
    "stronger after": (stronger_after_rule, "fires on “bridge”, most strongly after “over the”"),
    "follower": (follower_rule, "fires on any token after “capital of”"),
    "skip": (skip_rule, "fires on “lake” two tokens after “not”"),
    "graded": (graded_rule, "fires on “three”, “two” and “one”"),
    "two": (two_rules, "fires on “queen”; also on “paris” after “is”"),
    "negative": (negative_rule, "fires on “blue”"),
    "never": (never, "never fires on the text it was described from"),
    "constant": (constant, "is about equally active on every token"),
}
LEARNABLE = [name for name in RULES if name not in ("never", "constant")]


@pytest.fixture(scope="module")
def described() -> dict[str, Description]:
    rows = text(0, 400)
    evidence = []
    for rule, _ in RULES.values():
        found = windows(rule, rows, 0)
        evidence.append(Evidence(strongest(found, 20), found[:200]))
    ask = ask_of([activations(rule) for rule, _ in RULES.values()])
    return dict(zip(RULES, describe_all(ask, evidence, show), strict=True))


@pytest.mark.parametrize("name", RULES)
def test_sentence_states_the_planted_rule(described: dict[str, Description], name: str) -> None:
    assert described[name].text == RULES[name][1]


def test_simulation_predicts_unseen_text(described: dict[str, Description]) -> None:
    rows = text(1, 400)
    found = {name: windows(RULES[name][0], rows, 10_000) for name in RULES}
    scores = score_descriptions(
        list(described.values()), [strongest(found[n], 20) for n in RULES], [found[n][:200] for n in RULES]
    )
    for name, score in zip(RULES, scores, strict=True):
        if name in LEARNABLE:
            assert score.both.value > 0.95, name
            assert score.random.value > 0.9, name
            assert abs(score.both.null_mean) < 0.3, name
            assert score.both.null_high < score.both.low, name
        else:
            assert np.isnan(score.both.value), name
            assert score.both.undefined == "the feature is constant on these windows"


def describe_planted(names: list[str], ordinary: int = 60) -> list[Description]:
    rows = text(0, 120)
    found = [windows(RULES[name][0], rows, 0) for name in names]
    evidence = [Evidence(strongest(one, 12), one[:20], one[:ordinary]) for one in found]
    return describe_all(ask_of([activations(RULES[name][0]) for name in names]), evidence, show)


def test_describing_twice_gives_the_same_bytes() -> None:
    first, second = (
        [json.dumps(one.to_json()).encode() for one in describe_planted(list(RULES))] for _ in range(2)
    )
    assert first == second


def test_a_description_does_not_depend_on_what_is_described_beside_it() -> None:
    together = dict(zip(RULES, describe_planted(list(RULES), 120), strict=True))
    for name in RULES:
        (alone,) = describe_planted([name], 120)
        # With all rows as ordinary text both draw substitutes from nearly the same stock.
        assert alone.text == together[name].text


def test_only_the_evidence_is_ever_read() -> None:
    asked: list[np.ndarray] = []
    rule = activations(context_rule)

    def recording(rows: list[np.ndarray]) -> list[np.ndarray]:
        asked.extend(rows)
        return rule(rows)

    explain_rows, report_rows = text(0, 60), text(1, 60)
    found = windows(context_rule, explain_rows, 0)
    (description,) = describe_all(ask_of([recording]), [Evidence(strongest(found, 12), found)], show)
    before = description.to_json()
    report = windows(context_rule, report_rows, 1000)
    asked.clear()
    score_descriptions([description], [strongest(report, 10)], [report[:10]])
    assert description.to_json() == before
    assert asked == [], "scoring asks the feature for nothing: it only compares"


def test_tokens_that_do_not_count_are_neither_peaks_nor_calibration() -> None:
    rows = text(0, 80)
    found = []
    for window in windows(token_rule, rows, 0):
        counts = window.tokens != ID["river"]
        values = np.where(counts, window.values, 99.0).astype(np.float32)
        found.append(Window(window.tokens, values, window.document, counts))
    (description,) = describe_all(ask_of([activations(token_rule)]), [Evidence(found[:20], found)], show)
    assert description.trie.patterns[ID["bridge"],].value == pytest.approx(2.0)
    assert max(description.trie.values) < 3.0
