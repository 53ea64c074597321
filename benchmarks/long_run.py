"""`interp bench long_run`: what a day of calls and a text of 100 million tokens leave in memory and on disk.

Calls: one process asks as many questions as an endpoint answers in a day at two a second, with the real
client, cache, ledger and journal; answers come at once (`describing.InstantTransport`). Memory, open files
and threads are looked at after every part of 32 features, and after a tenth and the whole of the calls what
is kept is opened again as a continued run does.

Text: JSON lines made of the documentation and sources of Python, each document another one, read by the
bundled `pydoc` in a process of its own for each size. Peaks are above the resident set before the file is
opened. The rate of the tokenizers library itself is measured on the same documents in the same process, in
turn. A part is mined to see that the model adds nothing that grows.

`python -m benchmarks.long_run 10000 1000000` asks and reads less. A day of faults and kills in processes of
their own is `python -m tests.integration.long_run`, from a checkout.
"""

import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

import interp
from interp.bundled.pydoc.texts import pydoc_texts
from interp.corpus.batches import batches
from interp.corpus.text import LOOKED_AT, TEXTS_AT_ONCE, TextCorpus
from interp.corpus.text_file import TextFile
from interp.llm.cache import Cache
from interp.llm.client import Client, run_with
from interp.llm.endpoint import Endpoint
from interp.llm.ledger import FILE, Ledger
from interp.llm.request import Message, Request
from interp.mining.config import MiningConfig
from interp.track.journal import Journal

from .describing import InstantTransport
from .memory import peak_bytes

CALLS, TOKENS = 172_800, 100_000_000
FEATURES, CALLS_EACH = 32, 60
"""Features of a part, which are asked about together, and calls of each."""
PROMPT = "Rate how well the description fits each text. " * 40
MINING = MiningConfig(context_size=128, tokens_per_batch=8192, sampled_tokens=1024, sampled_rows=128)
COMPARED = 512
"""Documents that the corpus and the tokenizers library tokenise in turn."""


@dataclass(frozen=True)
class Held:
    """What this process held after so many calls: resident bytes, open files, threads."""

    calls: int
    resident: int
    files: int
    threads: int


def main(calls: int = CALLS, tokens: int = TOKENS) -> dict[str, float]:
    """Prints and returns growth of memory, seconds of a restart, peaks and rates."""
    with tempfile.TemporaryDirectory() as folder:
        found = many_calls(Path(folder), calls)
        for size in (tokens // 100, tokens // 10, tokens):
            found |= {f"{name}, {size}": value for name, value in long_text(Path(folder), size).items()}
    return found


def many_calls(folder: Path, calls: int) -> dict[str, float]:
    """Asks `calls` questions in one process; prints what it held and how long opening what is kept takes."""
    endpoint = Endpoint(model="instant", base_url="http://127.0.0.1:9/v1")
    client = Client(
        endpoint, Cache(folder / "answers.sqlite"), Ledger(folder / FILE), transport=InstantTransport
    )
    journal = Journal(folder / "done.jsonl")
    held: list[Held] = []
    began, found = time.perf_counter(), {}
    for first in range(0, calls, FEATURES * CALLS_EACH):
        numbers = range(first, min(calls, first + FEATURES * CALLS_EACH))
        run_with(_asked(client, numbers), [client])
        for feature in numbers[::CALLS_EACH]:
            journal.add(f"mlp.0/{feature}/1", [{"rows": [0.5] * 80, "first": 0.1, "own": 0.2}])
        held.append(_held(numbers.stop))
        if first < calls // 10 <= numbers.stop or numbers.stop == calls:
            found[f"restart after {numbers.stop}"] = _restart(folder, numbers)
    taken = time.perf_counter() - began
    half = held[len(held) // 2 :]
    slope = float(np.polyfit([one.calls for one in half], [one.resident for one in half], 1)[0]) * 1000
    print(f"{calls:,} calls in {taken:.0f} s, {1000 * taken / calls:.2f} ms each")
    for one in [*held[:: max(1, len(held) // 5)], held[-1]]:
        print(
            f"  after {one.calls:9,}: {one.resident / 2**20:6.1f} MiB, {one.files} files, "
            f"{one.threads} threads"
        )
    print(f"  second half: {slope / 1024:+.2f} KiB a thousand calls")
    return found | {"bytes a thousand calls": slope}


async def _asked(client: Client, numbers: range) -> None:
    await asyncio.gather(*(client.chat(_question(number)) for number in numbers))


def _question(number: int) -> Request:
    return Request((Message("system", PROMPT), Message("user", f"Text 1: question {number}")), 200)


def _held(calls: int) -> Held:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Held(calls, resident, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))


def _restart(folder: Path, numbers: range) -> float:
    """Opens what a run keeps, as a continued one does, and asks for what is kept; prints the seconds."""
    began = time.perf_counter()
    journal = Journal(folder / "done.jsonl")
    read_journal = time.perf_counter()
    endpoint = Endpoint(model="instant", base_url="http://127.0.0.1:9/v1")
    again = Client(endpoint, Cache(folder / "answers.sqlite"), Ledger(folder / FILE))
    opened = time.perf_counter()
    run_with(_asked(again, numbers[-CALLS_EACH:]), [again])
    asked = 1000 * (time.perf_counter() - opened) / len(numbers[-CALLS_EACH:])
    sizes = {
        name: sum(file.stat().st_size for file in folder.glob(pattern)) / numbers.stop
        for name, pattern in (("answers", "answers.sqlite*"), ("ledger", FILE), ("journal", "done.jsonl"))
    }
    print(
        f"restart after {numbers.stop:,} calls: journal of {len(journal.done):,} features "
        f"{read_journal - began:.2f} s, answers and ledger {opened - read_journal:.2f} s, a kept answer "
        f"{asked:.2f} ms; bytes a call: {', '.join(f'{value:.0f} {name}' for name, value in sizes.items())}"
    )
    return opened - began


def long_text(folder: Path, tokens: int) -> dict[str, float]:
    """Writes a text of about so many tokens, and reads it in a process of its own."""
    file = folder / f"{tokens}.jsonl"
    write_text(file, tokens)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(stream, (file,))
    file.unlink()
    return found


def write_text(file: Path, tokens: int) -> None:
    """Writes documents of one to eight of Python's own texts, each with its number, to a JSON lines file."""
    texts = [one.text for part in ("training", "held_out") for one in pydoc_texts(part)]
    tokenizer = interp.load("pydoc", device="cpu").tokenizer
    some = texts[:: max(1, len(texts) // 200)]
    ids = tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]
    per_letter = sum(map(len, ids)) / sum(map(len, some))
    random, number, letters = np.random.default_rng(0), 0, 0
    with file.open("w", encoding="utf-8") as written:
        while letters * per_letter < tokens:
            chosen = random.integers(0, len(texts), random.integers(1, 9)).tolist()
            text = f"Document {number}.\n" + "\n".join(texts[one] for one in chosen)
            written.write(json.dumps({"text": text}) + "\n")
            number, letters = number + 1, letters + len(text)


def stream(file: Path) -> dict[str, float]:
    """Opens a text, streams all of its batches twice, reads at random, mines a part; prints what it takes."""
    subject = interp.load("pydoc", device="cpu")
    folder = file.parent
    opened: list[TextCorpus] = []
    figures: dict[str, float] = {}

    def open_it() -> None:
        began = time.perf_counter()
        opened.append(TextCorpus(TextFile(file), subject, str(file), folder=folder))
        figures["seconds to open"] = time.perf_counter() - began

    figures["peak MiB, opening"] = peak_bytes(open_it) / 2**20
    corpus = opened[0]
    counts: list[int] = []

    def read_all() -> None:
        rows = batches(corpus, range(len(corpus)), subject.row_layout, 128, MINING.tokens_per_batch)
        counts.append(sum(batch.n_counted for batch in rows))

    for name in ("first", "again"):
        began = time.perf_counter()
        figures[f"peak MiB, {name}"] = peak_bytes(read_all) / 2**20
        figures[f"tokens a second, {name}"] = counts[-1] / (time.perf_counter() - began)
    figures["tokens"], figures["documents"] = counts[0], len(corpus)
    figures["microseconds a document at random"] = _at_random(corpus)
    ours, bare = _in_turn(
        file, subject, len(corpus), lambda: TextCorpus(TextFile(file), subject, "part", folder=folder)
    )
    figures["of the tokenizers library"] = ours / bare if bare else float("nan")
    neurons = [interp.MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    for part in (20, 200):
        some = range(min(part, len(corpus)))
        mining = partial(interp.mine, subject, neurons, corpus, MINING, documents=some)
        figures[f"peak MiB, mining {len(some)} documents"] = peak_bytes(mining) / 2**20
    print(f"{file.stat().st_size / 1e6:,.1f} MB of text")
    for name, value in figures.items():
        print(f"  {name:36s} {value:14,.1f}" if value >= 10 else f"  {name:36s} {value:14.3f}")
    sys.stdout.flush()
    return figures


def _at_random(corpus: TextCorpus) -> float:
    """Microseconds to read a document that is tokenised already, at a random place."""
    places = np.random.default_rng(1).integers(0, len(corpus), 2000).tolist()
    began = time.perf_counter()
    for place in places:
        corpus[place]
    return 1e6 * (time.perf_counter() - began) / len(places)


def _in_turn(
    file: Path, subject: interp.Subject, documents: int, again: Callable[[], TextCorpus]
) -> tuple[float, float]:
    """Seconds in which a new corpus reads some documents, and the tokenizers library alone does.

    They come after those that a corpus may read when it is opened. NaN where there are no others.
    """
    start = min(LOOKED_AT + TEXTS_AT_ONCE, documents)
    some = range(start, min(start + COMPARED, documents))
    texts = list(islice(_texts(file), some.start, some.stop))
    bare_tokenizer = subject.tokenizer.backend_tokenizer
    ours, bare = [], []
    for _ in range(3):
        new = again()
        began = time.perf_counter()
        for index in some:
            new[index]
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            encoded = bare_tokenizer.encode_batch(
                texts[first : first + TEXTS_AT_ONCE], add_special_tokens=False
            )
            [one.ids for one in encoded]
        bare.append(time.perf_counter() - began)
    return (statistics.median(ours), statistics.median(bare)) if texts else (0.0, 0.0)


def _texts(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        yield from (json.loads(line)["text"] for line in lines)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
