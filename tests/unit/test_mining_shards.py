"""Mining in shards: the same in any order, on disk and back, and what a stopped run keeps."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import interp
from interp import MlpNeurons
from interp.corpus.text import TextCorpus
from interp.engine.config import EngineConfig
from interp.engine.engine import Engine, LocalEngine
from interp.engine.packed import Unpacker, packed
from interp.errors import UserError
from interp.mining.config import MiningConfig
from interp.mining.mined import Mined
from interp.subject import Subject
from tests.mined import same_bits

CORPUS = interp.WorldCorpus(seed=1, n_documents=60)
SMALL = MiningConfig(context_size=32, sampled_rows=32, sampled_tokens=64, extreme_tokens=8)
SHARDS = 5


class Elsewhere(LocalEngine):
    """Computes parts in an order of its own, on copies such as another process has, and stops if told to."""

    def __init__(self, order: Sequence[int] = range(SHARDS), stop_after: int = SHARDS) -> None:
        super().__init__(EngineConfig(shards=SHARDS))
        self._order, self._stop_after = order, stop_after
        self.parts: Sequence[Any] = ()

    def each(
        self, work: Callable[[Any], Any], parts: Sequence[Any], found: Callable[[int, Any], None], name: Any
    ) -> None:
        self.parts = parts
        sent = packed(work)
        there = Unpacker().open(sent.content, sent.buffers, ())
        for number, place in enumerate(place for place in self._order if place < len(parts)):
            if number == self._stop_after:
                raise KeyboardInterrupt
            found(place, there(parts[place]))


def mined(
    subject: Subject, engine: Engine, folder: Path | None = None, config: MiningConfig = SMALL
) -> Mined:
    return interp.mine(subject, [MlpNeurons(subject, 3)], CORPUS, config, engine=engine, folder=folder)


@pytest.fixture(scope="module")
def in_order(subject: Subject) -> Mined:
    return mined(subject, LocalEngine(EngineConfig(shards=SHARDS)))


def test_shards_may_be_mined_in_any_order_on_copies(subject: Subject, in_order: Mined) -> None:
    assert same_bits(mined(subject, Elsewhere((3, 0, 4, 2, 1))), in_order)


@pytest.mark.parametrize("order", [(3, 0, 4, 2, 1), (0, 1, 2, 3, 4)])
def test_a_stopped_run_mines_only_what_is_left(
    subject: Subject, in_order: Mined, tmp_path: Path, order: Sequence[int]
) -> None:
    kept = tmp_path / "shards"
    with pytest.raises(KeyboardInterrupt):
        mined(subject, Elsewhere(order, stop_after=3), kept)
    again = Elsewhere()
    assert same_bits(mined(subject, again, kept), in_order)
    assert len(again.parts) == 2 and not kept.exists()


def test_what_is_kept_of_other_settings_or_damaged_is_mined_again(
    subject: Subject, in_order: Mined, tmp_path: Path
) -> None:
    kept = tmp_path / "shards"
    with pytest.raises(KeyboardInterrupt):
        mined(subject, Elsewhere(stop_after=2), kept, SMALL.model_copy(update={"sampled_tokens": 32}))
    (kept / "3-4.safetensors").write_bytes(b"damaged")
    again = Elsewhere()
    assert same_bits(mined(subject, again, kept), in_order)
    assert len(again.parts) == SHARDS


def test_unusual_text_is_counted_once_wherever_it_is_read(subject: Subject) -> None:
    texts = ["near spain zzz", "the capital of france is"] * 80
    one, shared = (TextCorpus(texts, subject) for _ in range(2))
    config = MiningConfig(context_size=16, sampled_rows=8, sampled_tokens=8, extreme_tokens=4)
    spaces = [MlpNeurons(subject, 3)]
    interp.mine(subject, spaces, one, config)
    for _ in range(2):
        interp.mine(subject, spaces, shared, config, engine=Elsewhere())
    assert shared.unusual.counts() == one.unusual.counts() == {"unknown_words": 80}


def test_activations_are_kept_by_one_process(subject: Subject, tmp_path: Path) -> None:
    from interp.corpus.activations import KeptActivations

    space = MlpNeurons(subject, 3)
    kept = KeptActivations(tmp_path, subject, CORPUS, [space.site])
    with pytest.raises(UserError, match="kept by one process"):
        interp.mine(subject, [space], CORPUS, SMALL, kept=kept, engine=Elsewhere())
