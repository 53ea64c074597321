"""How many tokens a prompt has, against a real vocabulary."""

import json
from pathlib import Path

import pytest

from interp.descriptions.prompt_size import WindowText, explain_call, judge_call, simulate_call, tokens_in
from interp.subject import Subject

ROOT = Path(__file__).parents[2]
TEXTS = {
    "prose": (ROOT / "CONTRIBUTING.md").read_text()[:4000],
    "numbers": json.dumps({"activations": [[0, 3, 0, 10, 0] * 12] * 5}),
    "a prompt": (ROOT / "interp/descriptions/prompts/simulate.yaml").read_text(),
    "a list of tokens": WindowText(60.0, 60.0).listed(),
}


@pytest.mark.parametrize("name", TEXTS)
def test_tokens_are_counted_as_a_real_vocabulary_cuts_them(name: str, gemma: Subject) -> None:
    text = TEXTS[name]
    assert 1 / 1.4 < tokens_in(text) / len(gemma.encode(text)) < 1.4


def test_calls_have_the_tokens_that_a_real_vocabulary_counts(gemma: Subject) -> None:
    windows = WindowText(60.0, 60.0)

    def real(text: str) -> float:
        return len(gemma.encode(text))

    for make in (
        lambda count: explain_call(windows, 20, True, count),
        lambda count: judge_call(windows, 5, True, False, count),
        lambda count: simulate_call(windows, 5, True, True, count),
    ):
        said, counted = make(tokens_in), make(real)
        assert 1 / 1.4 < said.prompt / counted.prompt < 1.4
        assert 1 / 1.4 < said.answer / counted.answer < 1.4
