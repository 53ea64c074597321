"""Mining on a GPU: the same bits as on a CPU, and the host never waits; both seen without a GPU."""

import pickle
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from interp.corpus.batches import Batch, batches
from interp.document import SPLITS, Document
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.space import ReadableFeatures
from interp.mining.config import MiningConfig
from interp.mining.exemplars import exemplars, token_sample
from interp.mining.fold import MiningState, feed, fold_batches
from interp.mining.state import SpaceState
from interp.subject import Subject
from tests.corpora import ListCorpus, random_corpus
from tests.unit.embedding_coordinates import EmbeddingCoordinates
from tests.unit.waiting import NoWaiting

CONFIG = MiningConfig(
    context_size=16,
    tokens_per_batch=256,
    top_windows={"explain": 4, "select": 3, "report": 3},
    sampled_rows=12,
    sampled_tokens=50,
    extreme_tokens=5,
)


def repeating_corpus() -> ListCorpus:
    """Long documents, of which several rows are in a batch; some twice, some with a template."""
    made = random_corpus(120, seed=3).documents
    joined = [
        Document(torch.cat([torch.from_numpy(d.tokens) for d in made[i : i + 4]]).numpy())
        for i in range(0, 80, 4)
    ]
    return ListCorpus([*joined, *made, *joined[:7], *made[:20]])


def stream_of(subject: Subject, corpus: ListCorpus) -> list[Batch]:
    return list(
        batches(corpus, range(len(corpus)), subject.row_layout, CONFIG.context_size, CONFIG.tokens_per_batch)
    )


def fold_in_halves(
    subject: Subject, spaces: list[ReadableFeatures], stream: list[Batch], config: MiningConfig
) -> MiningState:
    """As `fold_batches` does on a GPU, on the CPU's tensors: `begin`, then `finish` a space later."""
    state = MiningState.empty(spaces, config)
    last: list[SpaceState] = []
    for batch in stream:
        split = state.splits[batch.split or "explain"]
        view = split.view(batch)

        def take(space: ReadableFeatures, activations: Tensor, split=split, view=view) -> None:  # type: ignore[no-untyped-def]
            own = split.spaces[space.name]
            own.finish()
            with NoWaiting():
                own.begin(activations, view)
            if last and last[0] is not own:
                last.pop().finish()
            last[:] = [own]

        feed(subject, batch, spaces, take)
    state.finish()
    return state.moved("cpu")


def assert_same(one: MiningState, two: MiningState, space: str) -> None:
    for split in SPLITS:
        for read in (exemplars, token_sample):
            left, right = read(one, split, space), read(two, split, space)
            for field in fields(left):
                a, b = getattr(left, field.name), getattr(right, field.name)
                assert torch.equal(a, b) if isinstance(a, Tensor) else a == b, (split, field.name)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("tokens_per_batch", [256, 2048])
def test_both_ways_give_the_same_bits(subject: Subject, signed: bool, tokens_per_batch: int) -> None:
    spaces = [EmbeddingCoordinates(24, signed), MlpNeurons(subject, 2)]
    config = CONFIG.model_copy(update={"tokens_per_batch": tokens_per_batch})
    corpus = repeating_corpus()
    stream = list(batches(corpus, range(len(corpus)), subject.row_layout, 16, tokens_per_batch))
    whole = fold_batches(subject, spaces, stream, config)
    halves = fold_in_halves(subject, spaces, stream, config)
    for space in spaces:
        assert_same(whole, halves, space.name)


def test_both_ways_merge_with_each_other(subject: Subject) -> None:
    space = MlpNeurons(subject, 1)
    stream = stream_of(subject, repeating_corpus())
    first, rest = stream[:6], stream[6:]
    one, two = (fold_batches(subject, [space], part, CONFIG) for part in (first, rest))
    begun, ended = (fold_in_halves(subject, [space], part, CONFIG) for part in (first, rest))
    merged = one.merge(two)
    assert_same(merged, one.merge(pickle.loads(pickle.dumps(ended))), space.name)
    assert_same(merged, begun.merge(two), space.name)


@pytest.mark.parametrize("signed", [True, False])
def test_nothing_waits_for_a_device_or_is_left_on_another(subject: Subject, signed: bool) -> None:
    """On the device "meta", where no number can be asked for; every size is made up."""
    elsewhere, d = torch.device("meta"), 24
    space = EmbeddingCoordinates(d, signed)
    state = SpaceState.empty(space, CONFIG, 4, True, elsewhere, torch.bfloat16)
    views = MiningState.empty([space], CONFIG).splits["explain"]
    masked = 0
    for batch in stream_of(subject, repeating_corpus())[::2]:
        view = views.view(batch)
        masked += view.counts is not None
        sent = view.to(elsewhere)
        activations = torch.empty(*batch.tokens.shape, d, device=elsewhere, dtype=torch.bfloat16)
        with NoWaiting() as watched:
            state.begin(activations, sent)
            begun = state._begun
            state._begun = None  # `finish` would ask for the sizes, a layer later
            assert begun is not None
            state.merge_begun(begun, [7, 5, 3] * (1 + len(begun.offers)) + [1])
        assert "aten.nonzero_static.default" in watched.seen
    assert masked > 2


COMPILED = """
import torch
from interp.mining.moments import MOST_GRAPHS, moments

torch._dynamo.config.recompile_limit = MOST_GRAPHS
torch._dynamo.utils.counters.clear()
drawn = torch.Generator().manual_seed(0)
for signed in (True, False):
    compiled = torch.compile(moments, backend="eager", fullgraph=True, dynamic=True)
    for rows, positions in ((4, 15), (6, 17), (3, 24), (5, 31), (7, 63)):
        x = torch.randn(rows, positions, 10, generator=drawn).bfloat16()[:, 1:]
        for counts in (None, torch.rand(x.shape[:2], generator=drawn) < 0.7):
            for own, other in zip(moments(x, counts, signed, 8), compiled(x, counts, signed, 8), strict=True):
                assert torch.equal(own, other)
print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


def test_the_sums_are_one_graph_that_is_compiled_for_any_size() -> None:
    """In a process of its own, where types are not checked: checks are no part of a graph."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 16  # of 20 that fixed sizes would take


def test_what_would_wait_is_noticed() -> None:
    x = torch.arange(6.0)
    for asks in (
        lambda: bool((x > 1).any()),
        lambda: x[x > 1],
        lambda: (x > 1).nonzero(),
        lambda: x[2].item(),
    ):
        with pytest.raises(AssertionError, match="wait"), NoWaiting():
            asks()
    with pytest.raises(AssertionError, match="tensors on"), NoWaiting():
        x.to("meta")


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_as_it_is_until_it_is_moved(subject: Subject, half: torch.dtype) -> None:
    """Activations in half precision give what the same numbers in single precision give, in both ways."""

    class Halved(EmbeddingCoordinates):
        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__(24, True)
            self.dtype = dtype

        def encode(self, activation: Tensor) -> Tensor:
            return super().encode(activation).to(half).to(self.dtype)

    stream = stream_of(subject, repeating_corpus())
    wide = fold_batches(subject, [Halved(torch.float32)], stream, CONFIG)
    assert_same(wide, fold_batches(subject, [Halved(half)], stream, CONFIG), "embedding")
    assert_same(wide, fold_in_halves(subject, [Halved(half)], stream, CONFIG), "embedding")


def test_activations_that_are_not_finite_are_an_error_a_space_later(subject: Subject) -> None:
    class Spoiled(EmbeddingCoordinates):
        def encode(self, activation: Tensor) -> Tensor:
            return super().encode(activation) / 0.0

    with pytest.raises(UserError, match="not finite numbers"):
        fold_in_halves(subject, [Spoiled(3, True)], stream_of(subject, random_corpus(30, 1)), CONFIG)
