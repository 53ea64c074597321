"""Positions: which tokens are changed, under padding, in batches and with a cache."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from interp.errors import UserError
from interp.intervene import AddVector, Clamp, Positions, Replace
from interp.subject import Site, Subject
from interp.subject.forward import Intervention
from tests.interventions import BEHIND, SPACES, TOKENS, activation_edits, feature_edits, space, vector
from tests.subjects import BACKENDS, world_subject

PROMPTS = ["the capital of france is", "the river", "the capital of the"]
BATCH, MASK = world_subject().to_batch(PROMPTS)  # <bos> and 5, 2 and 4 words; 0, 3 and 1 columns of padding
THE = int(BATCH[0, 1])
LEFT = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0]])  # a mask over padding, too


def is_the(tokens: Tensor) -> Tensor:
    return tokens == THE


# What is chosen in a prompt of `n` tokens whose tokens are `row`; and whether generated tokens are.
POSITIONS: dict[str, tuple[Positions, Callable[[Tensor, int], list[int]], bool]] = {
    "all": ("all", lambda row, n: list(range(n)), True),
    "prompt": ("prompt", lambda row, n: list(range(n)), False),
    "generated": ("generated", lambda row, n: [], True),
    "last": ("last", lambda row, n: [n - 1], False),
    "steps": ("steps", lambda row, n: [n - 1], True),
    "one": (2, lambda row, n: [2], False),
    "from the end": (-1, lambda row, n: [n - 1], False),
    "list": ([0, 2, -2], lambda row, n: [0, 2, n - 2], False),
    "range": (range(1, 3), lambda row, n: [1, 2], False),
    "none": ([], lambda row, n: [], False),
    "predicate": (is_the, lambda row, n: (row == THE).nonzero().flatten().tolist(), False),
}
on_both_backends = pytest.mark.parametrize("backend", BACKENDS)
at_every_kind = pytest.mark.parametrize("name", POSITIONS)


def expected_columns(name: str) -> Tensor:
    """Which columns of the batch are to change, padding aside."""
    _, places, _ = POSITIONS[name]
    chosen = torch.zeros_like(BATCH, dtype=torch.bool)
    for row, (tokens, real) in enumerate(zip(BATCH, MASK.bool(), strict=True)):
        n = int(real.sum())
        for place in places(tokens[real], n):
            chosen[row, BATCH.shape[1] - n + place] = True
    return chosen


class Changes:
    """At which columns an intervention changes the stream, pass by pass."""

    def __init__(self) -> None:
        self.before = torch.empty(0)
        self.columns: list[Tensor] = []

    @contextmanager
    def around(self, subject: Subject, intervention: Intervention) -> Iterator[None]:
        outside, inside = {BEHIND: self._before}, {BEHIND: self._behind}
        with subject.edited(outside), subject.intervene(intervention), subject.edited(inside):
            yield

    def _before(self, x: Tensor) -> Tensor:
        self.before = x.clone()
        return x

    def _behind(self, x: Tensor) -> Tensor:
        self.columns.append((x != self.before).any(-1))
        return x


@on_both_backends
@at_every_kind
def test_exactly_the_tokens_that_are_meant_change(name: str, backend: str) -> None:
    subject = world_subject(backend)
    positions, _, every_new = POSITIONS[name]
    push = AddVector(subject, BEHIND, vector(128), positions=positions)
    real = MASK.bool()
    for use_cache in (True, False):
        seen = Changes()
        with seen.around(subject, push):
            subject.logits(BATCH, MASK)
            rows = subject.generate_ids(BATCH, MASK, 4, use_cache=use_cache)
        forward, *passes = seen.columns
        assert torch.equal(forward & real, expected_columns(name) & real)
        if name != "all":
            assert not bool((forward & ~real).any())
        whole = torch.cat(passes, 1) if use_cache else passes[-1]
        assert torch.equal(whole[:, :6] & real, expected_columns(name) & real)
        new = torch.tensor([row[:3] for row in rows])
        assert new.shape == whole[:, 6:].shape == (3, 3)
        assert torch.equal(
            whole[:, 6:], new == THE if name == "predicate" else torch.full_like(new, every_new) > 0
        )


@on_both_backends
@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
def test_a_mask_is_laid_over_the_prompt_as_it_is_given(backend: str, dtype: torch.dtype) -> None:
    subject, seen = world_subject(backend), Changes()
    push = AddVector(subject, BEHIND, vector(128), positions=LEFT.to(dtype))
    with seen.around(subject, push):
        subject.logits(BATCH, MASK)
        subject.generate_ids(BATCH, MASK, 3)
    for columns in seen.columns[:2]:
        assert torch.equal(columns, (LEFT * MASK).bool())
    assert not any(bool(columns.any()) for columns in seen.columns[2:])
    every_row = torch.tensor([False, True, False, False, False, True])
    with subject.intervene(AddVector(subject, BEHIND, vector(128), positions=every_row)):
        one = subject.logits(BATCH, MASK)
    with subject.intervene(AddVector(subject, BEHIND, vector(128), positions=every_row.expand(3, -1))):
        assert torch.equal(subject.logits(BATCH, MASK), one)


@at_every_kind
def test_padding_on_the_right_chooses_the_same_tokens(name: str) -> None:
    subject, seen = world_subject(), Changes()
    lengths = MASK.sum(1)
    rolled = torch.stack([row.roll(int(n)) for row, n in zip(BATCH, lengths, strict=True)])
    real = torch.arange(6) < lengths[:, None]
    push = AddVector(subject, BEHIND, vector(128), positions=POSITIONS[name][0])
    with seen.around(subject, push):
        subject.logits(rolled, real.long())
    expected = [row.roll(int(n)) for row, n in zip(expected_columns(name), lengths, strict=True)]
    assert torch.equal(seen.columns[0] & real, torch.stack(expected) & real)


@on_both_backends
@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("name", ["all", "list"])
def test_a_padded_batch_is_its_prompts_one_by_one(name: str, kind: str, backend: str) -> None:
    subject = world_subject(backend)
    clamp = Clamp(space(kind, backend), range(20), 4.0, POSITIONS[name][0])
    with subject.intervene(clamp):
        batch = subject.logits(BATCH, MASK)
        for row, (tokens, real) in enumerate(zip(BATCH, MASK.bool(), strict=True)):
            alone = subject.logits(tokens[real][None])[0]
            torch.testing.assert_close(batch[row, real], alone, atol=1e-3, rtol=1e-4)


EDITS = [*feature_edits("neurons", "hooked"), *activation_edits("hooked")]
MANY: dict[str, Positions] = {
    "all": "all",
    "prompt": "prompt",
    "generated": "generated",
    "last": "last",
    "steps": "steps",
    "list": [1, 2, -1],
    "mask": LEFT[:2].roll(2, 1),
    "predicate": lambda tokens: tokens % 2 == 1,
}


def generated(subject: Subject, edits: list[Intervention], use_cache: bool) -> tuple[list[list[int]], Tensor]:
    """The tokens, and the residual stream they were read from [batch, step, d_model]."""
    read: list[Tensor] = []
    last = Site("resid_post", 7)
    with subject.intervene(*edits), subject.edited({last: lambda x: read.append(x[:, -1].clone()) or x}):
        rows = subject.generate_ids(BATCH[:2], MASK[:2], 3, use_cache=use_cache)
    return rows, torch.stack(read, 1)


@pytest.fixture(scope="module")
def plain() -> Tensor:
    return generated(world_subject(), [], True)[1]


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("where", MANY)
def test_generation_with_the_cache_is_generation_without(where: str, name: str, plain: Tensor) -> None:
    """Every position with every intervention; spaces and backends take turns."""
    i, j = list(MANY).index(where), EDITS.index(name)
    backend, kind = BACKENDS[(i + j // 2) % 2], SPACES[(i + j) % 4]
    edit = (feature_edits(kind, backend, MANY[where]) | activation_edits(backend, MANY[where]))[name]
    tokens, stream = generated(world_subject(backend), [edit], use_cache=True)
    again, whole = generated(world_subject(backend), [edit], use_cache=False)
    assert tokens == again
    torch.testing.assert_close(stream, whole, atol=2e-3, rtol=1e-3)
    steps = min(stream.shape[1], plain.shape[1])  # else all of this would prove nothing
    assert float((stream[:, :steps] - plain[:, :steps]).abs().max()) > 0.1


@on_both_backends
def test_values_by_position_end_with_the_prompt(backend: str) -> None:
    """Whatever the positions: after the prompt there are no values, with the cache and without."""
    subject, whole = world_subject(backend), vector(2, 6, 128)
    edits: list[Intervention] = [
        Replace(subject, BEHIND, whole),
        AddVector(subject, BEHIND, whole, 3, "steps"),
    ]
    edits.append(Clamp(space("directions", backend), range(20), vector(2, 6, 20), is_the))
    for edit in edits:
        tokens, stream = generated(subject, [edit], use_cache=True)
        again, computed = generated(subject, [edit], use_cache=False)
        assert tokens == again
        torch.testing.assert_close(stream, computed, atol=2e-3, rtol=1e-3)
        seen = Changes()
        with seen.around(subject, edit):
            subject.generate_ids(BATCH[:2], MASK[:2], 3)
        assert not any(bool(columns.any()) for columns in seen.columns[1:])
        assert bool(seen.columns[0].any())


@on_both_backends
def test_sampling_a_prompt_in_a_batch_is_sampling_it_alone(backend: str) -> None:
    subject = world_subject(backend)
    push = AddVector(subject, BEHIND, vector(128), 0.5, "steps")
    with subject.intervene(push):
        batch = subject.generate(PROMPTS, 8, temperature=1.0, seed=5)
        alone = [subject.generate(text, 8, temperature=1.0, seed=5 + row) for row, text in enumerate(PROMPTS)]
        assert batch == alone
        assert batch == subject.generate(PROMPTS, 8, temperature=1.0, seed=5, use_cache=False)
        assert batch != subject.generate(PROMPTS, 8, temperature=1.0, seed=6)
    assert batch != subject.generate(PROMPTS, 8, temperature=1.0, seed=5)


@on_both_backends
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_generated_text_has_the_probabilities_of_its_tokens(
    backend: str, use_cache: bool, temperature: float
) -> None:
    subject = world_subject(backend)
    with subject.intervene(AddVector(subject, BEHIND, vector(128), 0.5, "all")):
        found = subject.generate(PROMPTS, 40, temperature, use_cache=use_cache)
        for text, ids, real in zip(found, BATCH, MASK, strict=True):
            prompt = ids[real.bool()].tolist()
            assert text.prompt == tuple(prompt) and text == subject.decode(text.tokens)
            logits = subject.logits(torch.tensor([[*prompt, *text.tokens]]))[0, len(prompt) - 1 : -1]
            expected = logits.double().log_softmax(-1).gather(-1, torch.tensor(text.tokens)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(text.log_probs), expected.float(), atol=1e-4, rtol=1e-4)
        scored = subject.score_ids(BATCH, MASK, [text.tokens for text in found])
    for text, row in zip(found, scored.per_token, strict=True):
        torch.testing.assert_close(
            torch.tensor(text.log_probs), row[: len(text.tokens)].float(), atol=1e-4, rtol=1e-4
        )


BAD: dict[str, tuple[Positions, str]] = {
    "past the prompt": (9, "position 9 is past the prompt, which has 9 tokens.*use -9 to 8"),
    "before it": ([0, -10], "position -10 is past"),
    "mask of another shape": (torch.ones(2, 8), r"mask of shape \(2, 8\).*tokens of shape \(2, 9\)"),
    "positions as a tensor": (torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8]), "other than 0 and 1.*as a list"),
    "truth values": ([True, False], "truth values"),
    "predicate of another shape": (lambda tokens: (tokens > 3).any(-1), r"mask of shape \(2,\)"),
}


@pytest.mark.parametrize("case", BAD)
@on_both_backends
def test_positions_that_do_not_exist_are_refused_before_the_model_runs(case: str, backend: str) -> None:
    subject, ran = world_subject(backend), []
    positions, message = BAD[case]
    ask: list[Callable[[], object]] = [
        lambda: subject.logits(TOKENS),
        lambda: subject.read(TOKENS, [BEHIND]),
        lambda: subject.run(TOKENS, [space("neurons", backend)]),
        lambda: subject.generate_ids(TOKENS, torch.ones_like(TOKENS), 3),
    ]
    push = AddVector(subject, BEHIND, vector(128), positions=positions)
    with subject.edited({Site("embed"): lambda x: ran.append(1) or x}), subject.intervene(push):
        for call in ask:
            with pytest.raises(UserError, match="(?s)" + message):
                call()
    assert not ran


def test_the_shortest_prompt_decides() -> None:
    with world_subject().intervene(AddVector(world_subject(), BEHIND, vector(128), positions=3)):
        world_subject().logits(BATCH[:1], MASK[:1])
        with pytest.raises(UserError, match=r"(?s)has 3 tokens.*shortest prompt"):
            world_subject().logits(BATCH, MASK)


def test_generation_behind_padding_is_refused() -> None:
    with pytest.raises(UserError, match="ends in padding"):
        world_subject().generate_ids(BATCH, MASK.flip(1), 3)
