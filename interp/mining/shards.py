"""Mining a corpus in shards, by an engine; what finished shards found survives a run that is stopped."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from interp.corpus.text import TextCorpus
from interp.corpus.unusual import Unusual
from interp.document import Corpus
from interp.engine.engine import Engine
from interp.errors import UserError
from interp.features.space import ReadableFeatures
from interp.mining.config import MiningConfig
from interp.mining.fold import MiningState, fold
from interp.mining.state_file import load_state, save_state
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent

KEPT_EVERY_SECONDS = 300.0
"""How long a killed run may have mined in vain, beside the shards under way."""


def fold_shards(
    subject: Subject,
    spaces: Sequence[ReadableFeatures],
    corpus: Corpus,
    config: MiningConfig,
    documents: Sequence[int],
    engine: Engine,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> MiningState:
    """Mines documents in `engine.config.n_shards` shards of about equal size, and merges their states.

    Merging is exact and in any order, so that the result depends on the shards alone, not on where and when
    each was mined. With a `folder`, what is merged is kept there, at the latest when the work ends with an
    error, and a later call mines only what is left; the folder is removed at the end.

    Raises:
        UserError: as `fold`, of every shard that failed; or as `Engine.each`.
    """
    n_shards = max(1, min(engine.config.n_shards, len(documents)))
    shards = [part.tolist() for part in np.array_split(documents, n_shards)]
    work = partial(_fold, subject, spaces, corpus, config)
    told = json.dumps([config.model_dump(mode="json"), corpus.name, len(documents), len(shards)])
    merged = _Merged(lambda: MiningState.empty(spaces, config), folder, told)
    left = [number for number in range(len(shards)) if number not in merged]

    with (progress or silent()).task(_task(spaces), total=len(documents), unit="documents") as advance:
        advance(len(documents) - sum(len(shards[number]) for number in left))

        def found(place: int, result: tuple[MiningState, Unusual]) -> None:
            number, (state, unusual) = left[place], result
            if isinstance(corpus, TextCorpus):
                corpus.take_counts(unusual, shards[number])
            merged.take(number, state)
            advance(len(shards[number]))

        def name(place: int) -> str:
            shard = shards[left[place]]
            return f"shard {left[place] + 1} (documents {shard[0]:,} to {shard[-1]:,})"

        try:
            engine.each(work, [shards[number] for number in left], found, name)
        except BaseException:
            merged.keep()
            raise
    return merged.whole()


def _task(spaces: Sequence[ReadableFeatures]) -> str:
    return "mining " + ", ".join(space.name for space in spaces[:3]) + (" ..." if len(spaces) > 3 else "")


def _fold(
    subject: Subject,
    spaces: Sequence[ReadableFeatures],
    corpus: Corpus,
    config: MiningConfig,
    documents: Sequence[int],
) -> tuple[MiningState, Unusual]:
    if not isinstance(corpus, TextCorpus):
        return fold(subject, spaces, corpus, config, documents).moved("cpu"), Unusual()
    with corpus.counting_apart() as unusual:
        return fold(subject, spaces, corpus, config, documents).moved("cpu"), unusual


class _Merged:
    """The states of finished shards, in whatever order they come, neighbours merged into one.

    Each is the state of shards `start` to `end` - 1.
    """

    def __init__(self, empty: Callable[[], MiningState], folder: Path | None, told: str) -> None:
        self._states: dict[tuple[int, int], MiningState] = {}
        self._folder, self._told = folder, told
        self._kept = time.monotonic()
        for file in sorted(folder.glob("*.safetensors")) if folder is not None else ():
            try:
                state, metadata = load_state(file, empty())
                start, end = (int(number) for number in file.stem.split("-"))
            except (UserError, ValueError):
                continue
            if metadata.get("of") == told and not any(number in self for number in range(start, end)):
                self._states[start, end] = state

    def __contains__(self, number: int) -> bool:
        return any(start <= number < end for start, end in self._states)

    def take(self, number: int, state: MiningState) -> None:
        """Takes the state of one shard."""
        start, end = number, number + 1
        for around in list(self._states):
            if around[1] == start:
                state, start = self._states.pop(around).merge(state), around[0]
            elif around[0] == end:
                state, end = state.merge(self._states.pop(around)), around[1]
        self._states[start, end] = state
        if time.monotonic() - self._kept > KEPT_EVERY_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Writes the states that are not on the disk yet, then removes those that they hold."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        files = {f"{start}-{end}.safetensors": state for (start, end), state in self._states.items()}
        for name, state in files.items():
            if not (self._folder / name).exists():
                save_state(self._folder / name, state, {"of": self._told})
        for file in self._folder.glob("*.safetensors"):
            if file.name not in files:
                file.unlink()
        self._kept = time.monotonic()

    def whole(self) -> MiningState:
        """Returns the state of all shards, and removes the folder."""
        ((_, state),) = self._states.items()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        return state
