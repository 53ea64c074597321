"""Questions whose answers are several tokens: probabilities, what would be written, choices, and targets."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from interp.bundled import bundled_models
from interp.causal.answer_targets import answer_target
from interp.causal.outcome import ask
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.intervene import AddVector
from interp.subject import Site, Subject
from interp.vectors.function import ReplaceHeads, indirect_effects, mean_head_outputs
from interp.vectors.sweep import answered
from interp.vectors.tasks import TaskFiles, TaskFormat

PROMPT = "the function will"
ANSWERS = (" be", " return an", " raise an exception")
FOILS = (" not", " never return")


@pytest.fixture(scope="module")
def subject(pydoc: Subject) -> Subject:
    return pydoc


@pytest.fixture(scope="module")
def reference() -> Any:
    return AutoModelForCausalLM.from_pretrained(bundled_models()["pydoc"].folder, dtype=torch.float32).eval()


def ids(subject: Subject, text: str) -> tuple[int, ...]:
    return tuple(subject.tokenizer(text, add_special_tokens=False)["input_ids"])


def question(subject: Subject, prompt: str = PROMPT, choice: bool = False) -> Question:
    answers, foils = (tuple(ids(subject, text) for text in side) for side in (ANSWERS, FOILS))
    return Question(ids(subject, prompt), answers, foils, "g", choice=choice)


@torch.no_grad()
def log_prob(subject: Subject, reference: Any, prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
    begins = [] if subject.bos_id is None else [subject.bos_id]
    logits = reference(torch.tensor([[*begins, *prompt, *answer]])).logits[0].double().log_softmax(-1)
    before = len(begins) + len(prompt) - 1
    return sum(float(logits[before + place, token]) for place, token in enumerate(answer))


def test_answers_are_as_likely_as_transformers_says(subject: Subject, reference: Any) -> None:
    asked = [question(subject), question(subject, "if it is not found , this")]
    outcome = ask(subject, asked)
    for row, one in enumerate(asked):
        answer, foil = (
            sum(math.exp(log_prob(subject, reference, one.prompt, whole)) for whole in side)
            for side in (one.answers, one.foils)
        )
        assert outcome.answer[row] == pytest.approx(answer, rel=1e-3)
        assert outcome.foil[row] == pytest.approx(foil, rel=1e-3)
        assert outcome.preference[row] == pytest.approx(answer / (answer + foil), rel=1e-3)
        assert outcome.prefers_foil[row] == (foil > answer)


def test_an_answer_is_right_where_it_would_be_written_or_is_the_likelier_choice(subject: Subject) -> None:
    tokens, mask = subject.to_batch([PROMPT])
    (written,) = subject.generate_ids(tokens, mask, 3)
    prompt, other = ids(subject, PROMPT), (*written[:2], (written[2] + 1) % subject.d_vocab)
    cases = [((tuple(written),), (other,)), ((other,), (tuple(written),)), ((other,), ((*other, 5),))]
    asked = [Question(prompt, *case, "g", choice=choice) for case in cases for choice in (False, True)]
    outcome = ask(subject, asked)
    assert outcome.right.tolist() == [True, True, False, False, False, True]
    assert outcome.wrong.tolist() == [False, False, True, True, False, False]


def test_a_preference_between_long_texts_is_defined(subject: Subject) -> None:
    long = tuple(np.random.default_rng(0).integers(5, subject.d_vocab, 100).tolist())
    asked = Question(ids(subject, PROMPT), (long,), ((*long[:-1], 7, 8, 9),), "g", choice=True)
    outcome = ask(subject, [asked])
    assert outcome.answer[0] == 0  # too small for a number, not for its logarithm
    assert 0.5 < outcome.preference[0] <= 1 and outcome.right[0]


def test_a_vector_at_the_prompt_s_last_token_stays_there(subject: Subject) -> None:
    one = Question(ids(subject, PROMPT), (ids(subject, " be used to"),), (), "g")
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(0))
    edit = AddVector(subject, Site("resid_post", 1), vector, 3.0, "last")
    frame = answered(subject, [one], [edit])
    prompt, answer = [[*one.prompt]], one.answers[0]
    total = 0.0
    for place, token in enumerate(answer):  # token by token, the place of the edit counted by hand
        tokens, _ = subject.pad([[*prompt[0], *answer[:place]]])
        at = AddVector(subject, Site("resid_post", 1), vector, 3.0, -1 - place)
        with subject.intervene(at):
            total += float(subject.logits(tokens)[0, -1].double().log_softmax(-1)[token])
    assert math.log(frame["answer"][0]) == pytest.approx(total, abs=1e-3)


def test_targets_are_whole_answers_and_differences_of_them_refused(subject: Subject, reference: Any) -> None:
    asked = [question(subject), question(subject, "if it is not found , this")]
    target = answer_target(subject, asked)
    assert target.kind == "log_prob"
    for one, chosen in zip(asked, target.answers, strict=True):
        assert chosen == max(one.answers, key=lambda ids: log_prob(subject, reference, one.prompt, ids))
    with pytest.raises(UserError, match="an answer or a foil has several"):
        answer_target(subject, asked, "logit_difference")


def test_effects_of_heads_on_whole_answers(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "sums.json"
    rows = [f'{{"input": "{n}", "output": "class{n}"}}' for n in range(12)]
    path.write_text(f"[{', '.join(rows)}]")
    layout = TaskFormat(pair="x{question} = {answer}", separator="\n")
    (task,) = TaskFiles(paths=(path,), format=layout).open(subject)
    corrupted = task.questions(subject, task.choose, 2, shuffled=True)
    assert all(len(one.answers[0]) > 1 for one in corrupted)
    means = mean_head_outputs(subject, [one.prompt for one in task.questions(subject, task.extract, 2)])
    found = indirect_effects(subject, corrupted, means)
    with subject.intervene(ReplaceHeads(subject, 1, {2: means[1, 2]})):
        changed = ask(subject, corrupted).answer
    expected = (changed - ask(subject, corrupted).answer).mean()
    assert float(found[1, 2]) == pytest.approx(expected, rel=1e-3, abs=1e-7)
