"""A day of describing in small, and a long text in small; `tests.integration.long_run` runs the whole day."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import interp
from benchmarks.long_run import write_text
from interp.corpus.batches import batches
from interp.corpus.text import TextCorpus
from interp.corpus.text_file import TextFile
from tests.command_line import PRELOADED
from tests.integration.kill_cases import CASES
from tests.integration.kill_forge import Forge, forge
from tests.integration.long_run import WAYS, LongRun
from tests.integration.long_run_server import FAULTS
from tests.integration.peak_memory import peak_over_start


@pytest.fixture(scope="module")
def describing() -> Iterator[Forge]:
    with forge(*CASES["describe"].modules) as one:
        yield one


def test_half_an_hour_of_faults_and_kills_asks_nothing_twice_and_loses_nothing(
    describing: Forge, tmp_path: Path
) -> None:
    found = LongRun(tmp_path, minutes=32, rate=24, forges=[describing]).do()
    assert not found.wrong, found.table()
    assert {life.way for life in found.kills} == set(WAYS)
    assert found.again_though_kept == 0 and found.again_after_a_signal == 0
    assert set(found.met) == set(FAULTS)


def _streamed(file: Path, sender: Connection) -> None:
    """Sends how many tokens a text has, and what opening and streaming it adds to this process' memory."""
    subject = interp.load("pydoc", device="cpu")
    subject.tokenizer(["x" * 1000] * 300, return_offsets_mapping=True)
    peak: list[int] = []
    tokens = 0
    with peak_over_start(peak):
        corpus = TextCorpus(TextFile(file), subject, folder=file.parent)
        for batch in batches(corpus, range(len(corpus)), subject.row_layout, 32, 1024):
            tokens += batch.n_counted
    sender.send((tokens, peak[0]))


def test_a_text_ten_times_as_long_takes_no_more_memory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    found = []
    for size in (200_000, 2_000_000):
        write_text(file := tmp_path / f"{size}.jsonl", size)
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_streamed, args=(file, sender))
        process.start()
        found.append(receiver.recv())
        process.join()
    (few, small), (many, large) = found
    assert many > 9 * few
    # twice what was measured; the longer text and its tokens, if they were held, would add 14 MB to that
    assert large - small < 18e6, f"{small:,} bytes for {few:,} tokens, {large:,} for {many:,}"
