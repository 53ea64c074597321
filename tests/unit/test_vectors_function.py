"""Heads and their sum: closed forms on both backends, and agreement with one head and prompt at a time."""

import pytest
import torch

from interp.corpus.questions import Question
from interp.errors import UserError
from interp.subject import Site, Subject
from interp.vectors.function import (
    ReplaceHeads,
    function_vector,
    indirect_effects,
    layer_average,
    mean_head_outputs,
    set_heads,
    top_heads,
)
from interp.vectors.tasks import Task, WorldTasks
from tests.subjects import world_subject


@pytest.fixture(scope="module")
def subject(each_backend: Subject) -> Subject:
    return each_backend


@pytest.fixture(scope="module")
def task() -> Task:
    return WorldTasks(tasks=("capital",)).open(world_subject())[0]


def prompts(subject: Subject, task: Task, count: int = 6, shots: int = 2) -> list[Question]:
    return task.questions(subject, task.extract[:count], shots)


def test_all_heads_of_a_layer_sum_up_to_its_attention_output(subject: Subject, task: Task) -> None:
    asked = [question.prompt for question in prompts(subject, task)]
    means = mean_head_outputs(subject, asked)
    assert means.shape == (8, 4, 32)
    for layer in (0, 5):
        whole = function_vector(subject, [(layer, head) for head in range(4)], means, "all")
        site = Site("attn_out", layer)
        each = [subject.read(subject.pad([prompt])[0], [site])[site][0, -1] for prompt in asked]
        torch.testing.assert_close(whole.values, torch.stack(each).mean(0), atol=1e-4, rtol=1e-4)
    assert whole.site == Site("resid_post", 2) and whole.positions == "last"


def test_effects_are_those_of_one_head_and_prompt_at_a_time(subject: Subject, task: Task) -> None:
    means = mean_head_outputs(subject, [question.prompt for question in prompts(subject, task)])
    corrupted = [*task.questions(subject, task.choose[:3]), *prompts(subject, task, 2)]
    found = indirect_effects(subject, corrupted, means)

    def answer(question: Question) -> float:
        tokens = subject.pad([question.prompt])[0]
        return float(subject.logits(tokens)[0, -1].double().softmax(-1)[question.answers[0][0]])

    for layer, head in ((0, 1), (4, 3), (7, 2)):
        differences = []
        for question in corrupted:
            plain = answer(question)
            with subject.intervene(ReplaceHeads(subject, layer, {head: means[layer, head]})):
                differences.append(answer(question) - plain)
        assert float(found[layer, head]) == pytest.approx(sum(differences) / len(differences), abs=1e-5)


def test_only_the_named_heads_change_and_only_at_the_last_token(subject: Subject) -> None:
    tokens, site = subject.to_tokens("the capital of france is"), Site("head_out", 3)
    before = subject.read(tokens, [site])[site].clone()
    with subject.intervene(ReplaceHeads(subject, 3, {1: torch.ones(32)})):
        after = subject.read(tokens, [site])[site].clone()
    assert torch.equal(after[0, -1, 1], torch.ones(32))
    after[0, -1, 1] = before[0, -1, 1]
    assert torch.equal(after, before)


def test_heads_that_do_not_exist_are_refused(subject: Subject, task: Task) -> None:
    means = mean_head_outputs(subject, [question.prompt for question in prompts(subject, task)])
    for head in ((8, 0), (0, 4), (-1, 0)):
        with pytest.raises(UserError, match=r"there is no head|layer"):
            function_vector(subject, [head], means, "v")
        with pytest.raises(UserError, match=r"there is no head|layer"):
            set_heads(subject, [head], means)
    with pytest.raises(UserError, match="no head is given"):
        function_vector(subject, [], means, "v")
    with pytest.raises(UserError, match="width 32"):
        ReplaceHeads(subject, 0, {0: torch.ones(31)})


def test_the_largest_effects_come_first() -> None:
    effects = torch.tensor([[0.1, 0.5], [0.4, -0.2]])
    assert top_heads(effects, 3) == [(0, 1), (1, 0), (0, 0)]


def test_the_baseline_is_the_mean_residual_stream(subject: Subject, task: Task) -> None:
    asked = [question.prompt for question in prompts(subject, task)]
    vector = layer_average(subject, asked, "v")[6]
    site = Site("resid_post", 6)
    each = [subject.read(subject.pad([prompt])[0], [site])[site][0, -1] for prompt in asked]
    torch.testing.assert_close(vector.values, torch.stack(each).mean(0), atol=1e-4, rtol=1e-4)
