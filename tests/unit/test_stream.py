"""Streaming: what generation writes, each token with its probability, and what is known is not run again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import pytest
import torch
from torch import Tensor

import interp
from interp.errors import UserError
from interp.intervene import Add, Clamp
from interp.subject import Site, Subject
from interp.subject.forward import Intervention
from interp.subject.stream import KeptPrefix, TokenRead
from tests.parity.subject_folders import D_VOCAB, save_model
from tests.subjects import BACKENDS, world_subject

PROMPT = "the capital of france is"
WINDOW = 5  # of the folders with sliding windows
FOLDERS = [
    ("gpt2", "hooked"),
    ("gemma3", "hooked"),
    ("gemma3", "bridge"),
    ("mistral", "bridge"),
    ("gpt-oss", "bridge"),
    ("bloom", "bridge"),
    ("mpt", "bridge"),  # with a cache the library is wrong
]
SLIDES = ("MistralForCausalLM", "Gemma3ForCausalLM", "GptOssForCausalLM")


@pytest.fixture(autouse=True)
def no_text_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in BACKENDS:
        monkeypatch.setattr(world_subject(backend), "end_ids", frozenset())


@pytest.fixture(scope="module", params=FOLDERS, ids="-".join)
def folder_subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    name, backend = request.param
    subject = interp.load(save_model(name, tmp_path_factory.mktemp(name)), backend, device="cpu")
    subject.end_ids = frozenset()
    return subject


def prompt_of(subject: Subject) -> list[int]:
    return subject.to_tokens(PROMPT)[0].tolist()


def drawn(n_tokens: int, d_vocab: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [0, *torch.randint(2, d_vocab, (n_tokens - 1,), generator=generator).tolist()]


def ids(reads: Sequence[TokenRead]) -> list[int]:
    return [read.token for read in reads]


def same(found: Sequence[TokenRead], expected: Sequence[TokenRead]) -> None:
    """Holds that two readings agree, to 1e-5 nats."""

    def nats(reads: Sequence[TokenRead]) -> Tensor:
        return torch.tensor([[read.log_prob, *(nats for _, nats in read.alternatives)] for read in reads[1:]])

    assert ids(found) == ids(expected)
    assert found[0] == expected[0]
    torch.testing.assert_close(nats(found), nats(expected), atol=1e-5, rtol=1e-5)
    best = [[[token for token, _ in read.alternatives] for read in reads] for reads in (found, expected)]
    assert best[0] == best[1]


def farthest(found: Sequence[TokenRead], expected: Sequence[TokenRead]) -> float:
    """The largest difference of log-probabilities of the same tokens, in nats."""
    pairs = list(zip(found, expected, strict=True))
    assert all(one.token == other.token for one, other in pairs)
    return max(abs(one.log_prob - other.log_prob) for one, other in pairs if one.log_prob is not None)


@contextmanager
def counted(subject: Subject) -> Iterator[list[int]]:
    """The number of columns of every pass that the model runs."""
    ran: list[int] = []
    with subject.edited({Site("resid_post", 0): lambda x: ran.append(x.shape[1]) or x}):
        yield ran


def after(subject: Subject, start: list[int], text: list[int], **options: object) -> list[int]:
    """The passes of streaming `text` after `start` with one prefix; held to the same from scratch."""
    kept = KeptPrefix("counted")
    list(subject.stream(start, 4, kept=kept))
    with counted(subject) as ran:
        found = list(subject.stream(text, 3, kept=kept, **options))
    same(found, list(subject.stream(text, 3, **options)))
    assert list(kept.tokens) == ids(found)[:-1]
    return ran


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_it_writes_what_generation_writes_as_likely(each_backend: Subject, temperature: float) -> None:
    subject = each_backend
    written = subject.generate(PROMPT, 8, temperature, seed=3)
    reads = list(subject.stream(prompt_of(subject), 8, temperature, seed=3))
    new = reads[len(written.prompt) :]
    assert ids(reads) == [*written.prompt, *written.tokens]
    assert [read.log_prob for read in new] == pytest.approx(written.log_probs, abs=1e-5)
    logits = subject.logits(torch.tensor([ids(reads)]))[0, :-1]
    expected = logits.log_softmax(-1)
    best = expected.topk(5)
    following = torch.tensor(ids(reads)[1:])
    torch.testing.assert_close(
        torch.tensor([read.log_prob for read in reads[1:]]),
        expected.gather(-1, following[:, None])[:, 0],
        atol=1e-4,
        rtol=1e-4,
    )
    assert [[token for token, _ in read.alternatives] for read in reads[1:]] == best.indices.tolist()
    nats = torch.tensor([[value for _, value in read.alternatives] for read in reads[1:]])
    torch.testing.assert_close(nats, best.values, atol=1e-4, rtol=1e-4)
    assert reads[0] == TokenRead(written.prompt[0], None, ())


def test_every_architecture_writes_what_it_generates(folder_subject: Subject) -> None:
    text = drawn(9, D_VOCAB)
    tokens = torch.tensor([text])
    for temperature in (0.0, 1.0):
        expected = folder_subject.generate_ids(tokens, torch.ones_like(tokens), 6, temperature, 5)[0]
        assert ids(list(folder_subject.stream(text, 6, temperature, 5))) == [*text, *expected]


def test_only_what_differs_is_run(each_backend: Subject) -> None:
    subject = each_backend
    start = drawn(8, subject.d_vocab)
    whole = ids(list(subject.stream(start, 4)))
    other = drawn(12, subject.d_vocab, seed=1)
    assert after(subject, start, [*whole[:5], *other[5:8]]) == [3, 1, 1], "a fork"
    assert after(subject, start, [*whole, *other[1:6]]) == [6, 1, 1], "longer; the last token was not run yet"
    assert after(subject, start, whole) == [1, 1, 1], "what was written"
    assert after(subject, start, whole[:6]) == [1, 1, 1], "shorter"
    assert after(subject, start, start) == [1, 1, 1], "the same"
    assert after(subject, start, [5, *other]) == [13, 1, 1], "another"
    assert after(subject, start, [*whole[:5], *other[5:8]], alternatives=9) == [3, 1, 1], "read anew"


def test_readings_that_are_kept_are_not_unembedded_again(subject: Subject) -> None:
    text, kept, rows = drawn(12, subject.d_vocab), KeptPrefix(), []
    list(subject.stream(text, 3, kept=kept))
    unembed = subject._backend.unembed

    def counting(normed: Tensor) -> Tensor:
        rows.append(len(normed))
        return unembed(normed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject._backend, "unembed", counting)
        list(subject.stream([*text[:10], 7, 8, 9], 2, kept=kept))
        assert rows == [3, 1, 1]
        rows.clear()
        list(subject.stream([*text[:10], 7, 8, 9], 0, kept=kept, alternatives=2))
        assert rows == [12]
        rows.clear()
        patch.setattr("interp.subject.unembedding.LOGITS_AT_ONCE", 5 * subject.d_vocab)
        list(subject.stream(text, 0))
        assert rows == [5, 5, 1], "never the logits of all tokens at once"


def test_a_prefix_is_right_on_every_architecture_also_beyond_a_window(folder_subject: Subject) -> None:
    start, cached = drawn(9, D_VOCAB), folder_subject.gap.cache_holds
    whole = ids(list(folder_subject.stream(start, 4)))
    fork, longer = [*whole[:7], 9, 10, 11], [*whole, 9, 10, 11]
    if not cached:
        text = KeptPrefix()
        same(
            list(folder_subject.stream(fork, 3, kept=text)),
            list(folder_subject.stream(fork, 3)),
        )
        assert text.tokens == ()
        return
    drops = folder_subject.backend == "bridge" and folder_subject.info.architecture in SLIDES
    assert after(folder_subject, start, fork) == [10 if drops else 3, 1, 1]
    assert after(folder_subject, start, longer) == [4, 1, 1]
    short = drawn(WINDOW - 2, D_VOCAB)
    kept = KeptPrefix("counted")
    list(folder_subject.stream(short, 0, kept=kept))
    with counted(folder_subject) as ran:  # inside the window the cache can be cut
        found = list(folder_subject.stream([*short[:-1], 9, 10, 11, 12], 6, kept=kept))
    assert ran == [4, 1, 1, 1, 1, 1]
    same(found, list(folder_subject.stream([*short[:-1], 9, 10, 11, 12], 6)))


def edits(subject: Subject) -> dict[str, Callable[[], Intervention]]:
    neurons = interp.MlpNeurons(subject, 2)
    return {
        "everywhere": lambda: Clamp(neurons, range(60), 4.0),
        "at some positions": lambda: Clamp(neurons, range(200), 9.0, [1, 4, 6]),
        "where tokens say": lambda: Add(neurons, range(60), 4.0, lambda tokens: tokens % 2 == 0),
    }


@pytest.mark.parametrize("name", ["everywhere", "at some positions", "where tokens say"])
def test_under_an_intervention(each_backend: Subject, name: str) -> None:
    subject = each_backend
    make, text = edits(subject)[name], drawn(9, subject.d_vocab)
    plain = list(subject.stream(text, 4))
    kept = KeptPrefix(name)
    with subject.intervene(make()):
        start = list(subject.stream(text, 4, kept=kept))
        tokens = torch.tensor([text])
        assert ids(start)[len(text) :] == subject.generate_ids(tokens, torch.ones_like(tokens), 4)[0]
    assert farthest(start[:9], plain[:9]) > 0.1
    for fork, new in (([*ids(start)[:11], 9], 1), (ids(start)[:8], 1), ([*ids(start)[:5], 9, 10, 11], 3)):
        with subject.intervene(make()), counted(subject) as ran:
            found = list(subject.stream(fork, 3, kept=kept))
        assert ran == [new, 1, 1]
        with subject.intervene(make()):
            same(found, list(subject.stream(fork, 3)))


def test_an_intervention_is_checked_where_a_prompt_goes_on(subject: Subject) -> None:
    text = drawn(9, subject.d_vocab)
    kept = KeptPrefix("position 8")
    with subject.intervene(edit := Clamp(interp.MlpNeurons(subject, 2), [1], 4.0, 8)):
        list(subject.stream(text, 0, kept=kept))
    with subject.intervene(edit), pytest.raises(UserError, match="past the prompt"):
        list(subject.stream(text[:6], 0, kept=kept))
    assert kept.tokens == ()


def test_blocked_attention_is_blocked_where_a_prompt_goes_on(each_backend: Subject) -> None:
    subject, text = each_backend, drawn(9, each_backend.d_vocab)
    blocked = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    blocked[..., 4, 1] = blocked[..., 7, 2:5] = True
    kept = KeptPrefix("blocked")
    with subject.attention_blocked(range(3), blocked):
        list(subject.stream(text, 2, kept=kept))
        fork = [*text[:6], 8, 9, 10]
        found = list(subject.stream(fork, 3, kept=kept))
        same(found, list(subject.stream(fork, 3)))
    assert farthest(found[8:9], list(subject.stream(fork, 3))[8:9]) > 1e-3, "of the token after query 7"


@pytest.mark.parametrize("taken", [0, 1, 9, 10, 12])
def test_a_stream_that_is_left_early_leaves_what_was_computed(each_backend: Subject, taken: int) -> None:
    subject, kept = each_backend, KeptPrefix("counted")
    text = drawn(9, subject.d_vocab)
    whole = list(subject.stream(text, 8))
    stream = subject.stream(text, 8, kept=kept)
    same([*islice(stream, taken), *whole[taken:]], whole)
    stream.close()
    assert list(kept.tokens) == ids(whole)[: min(taken, 1) * max(len(text), taken - 1)]
    with counted(subject) as ran:
        same(list(subject.stream(text, 8, kept=kept)), whole)
    assert ran[0] == (1 if taken else 9)


def test_a_pass_that_fails_leaves_nothing(each_backend: Subject) -> None:
    subject, kept, text = each_backend, KeptPrefix("fails"), drawn(9, each_backend.d_vocab)

    def fail(activation: Tensor) -> Tensor:
        raise KeyboardInterrupt

    stream = subject.stream(text, 8, kept=kept)
    list(islice(stream, 11))
    with subject.edited({Site("resid_post", 4): fail}), pytest.raises(KeyboardInterrupt):
        next(stream)
    assert kept.tokens == ()
    same(list(subject.stream(text, 8, kept=kept)), list(subject.stream(text, 8)))


def test_interventions_count_while_tokens_are_taken(subject: Subject) -> None:
    text, edit = drawn(9, subject.d_vocab), edits(subject)["everywhere"]
    stream = subject.stream(text, 3)
    with subject.intervene(edit()):
        found = list(stream)
        same(found, list(subject.stream(text, 3)))
    assert found != list(subject.stream(text, 3))
    assert torch.is_grad_enabled()


def test_the_token_that_ends_a_text_is_given(each_backend: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, text = each_backend, drawn(9, each_backend.d_vocab)
    whole = list(subject.stream(text, 8))
    new = ids(whole)[9:]
    end = next(token for token in reversed(new) if token != min(new))
    monkeypatch.setattr(subject, "end_ids", frozenset({end, 0}))
    assert end != min(subject.end_ids)
    kept = KeptPrefix()
    same(list(subject.stream(text, 8, kept=kept)), whole[: 10 + new.index(end)])
    assert list(kept.tokens) == ids(whole)[: 9 + new.index(end)]


def test_nothing_new(subject: Subject) -> None:
    text = drawn(9, subject.d_vocab)
    same(list(subject.stream(text, 0)), list(subject.stream(text, 4))[:9])
    assert list(subject.stream(text[:1], 0)) == [TokenRead(0, None, ())]
    assert all(read.alternatives == () for read in subject.stream(text, 2, alternatives=0))


def test_two_streams_do_not_share_a_prefix(subject: Subject) -> None:
    kept, text = KeptPrefix(), drawn(9, subject.d_vocab)
    first, second = (subject.stream(text[:n], 4, kept=kept) for n in (9, 6))
    list(islice(first, 10))
    next(second)
    with pytest.raises(UserError, match="another stream"):
        list(first)
    same([TokenRead(0, None, ()), *second], list(subject.stream(text[:6], 4)))


def test_what_is_refused(subject: Subject) -> None:
    text = drawn(9, subject.d_vocab)
    for message, tokens, new in (
        ("no tokens", [], 3),
        ("do not fit the context", text * 40, 0),
        ("exceed the context", text, subject.n_ctx),
        ("vocabulary", [*text, subject.d_vocab], 3),
        ("max_new_tokens", text, -1),
    ):
        with pytest.raises(UserError, match=message):
            subject.stream(tokens, new)  # at once, before a token is taken
    with counted(subject), pytest.raises(UserError, match="under which"):
        subject.stream(text, 3, kept=KeptPrefix())
