"""One step of a run: writes into a folder of its own, which appears whole once the step has finished."""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from interp.errors import UserError
from interp.json_text import finite, json_object, to_json
from interp.lines import lines
from interp.shape import Shape
from interp.track.files import write_parquet, write_text, writing_explained
from interp.track.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

Value = float | int | str | bool | None
_VALUES = Shape[dict[str, Value]](dict[str, Value], strict=True)


@dataclass(frozen=True)
class Point:
    """Values logged together at one place of a step's axis (tokens, training steps, ...)."""

    at: int
    values: dict[str, Value]


@runtime_checkable
class Listener(Protocol):
    """Receives every point as it is logged."""

    def log(self, step: str, point: Point) -> None:
        """Take one point of `step`."""
        ...


@runtime_checkable
class Savable(Protocol):
    """A figure that can be written to a file, in the format of the file's ending."""

    @property
    def name(self) -> str:
        """Name of its files, without an ending."""
        ...

    def save(self, path: Path) -> Path:
        """Write the figure and return the path."""
        ...


@dataclass
class Step:
    """What a step's work writes its files, points and results with."""

    name: str
    folder: Path
    """Files of the step; becomes runs/<name>/steps/<step> when the step has finished."""
    scratch: Path
    """Survives a kill, for checkpoints inside a long step; deleted when the step has finished."""
    progress: Progress
    listener: Listener | None = None
    metrics: dict[str, Value] = field(default_factory=dict)
    headline: list[str] = field(default_factory=list)
    _attempts: list[list[Point]] = field(default_factory=list)
    _first: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Pick up the points that interrupted attempts at this step logged."""
        self._attempts = [read_points(file) for file in sorted(self.scratch.glob("history.*.jsonl"))]
        self._points: list[Point] = []
        self._file = self.scratch / f"history.{len(self._attempts):05d}.jsonl"
        with writing_explained(self.scratch):
            self._file.touch()

    def log(self, values: Mapping[str, Any], at: int) -> None:
        """Add one point to the history, and to W&B: `values` at `at` on the step's own axis, such as tokens.

        A step that continues from a checkpoint logs on from there: for each value, the points that an
        interrupted attempt logged at or after this attempt's first `at` are dropped.
        """
        for key in values:
            if key not in self._first:
                self._first[key] = at
                self._tell([Point(p.at, {key: p.values[key]}) for p in self._earlier() if key in p.values])
        point = Point(at, {key: finite(value) for key, value in values.items()})
        with writing_explained(self.scratch), self._file.open("a") as file:
            file.write(to_json({"at": point.at, **point.values}) + "\n")
        self._points.append(point)
        self._tell([point])

    def metric(self, name: str, value: Any, *, headline: bool = False) -> None:
        """Set a final figure of the run; `headline` ones are shown by `interp run` and `interp runs`.

        A number that is not finite becomes null in metrics.json. Raises `ValueError` for a name set before.
        """
        if name in self.metrics:
            raise ValueError(f"the metric {name!r} was set before in the step {self.name!r}")
        plain = finite(value)
        if plain is not None and not isinstance(plain, float | int | str | bool):
            raise TypeError(
                f"the metric {name!r} must be a number, a word or yes/no, not {type(value).__name__}"
            )
        self.metrics[name] = plain
        if headline:
            self.headline.append(name)

    def estimate(self, name: str, value: Any, low: Any, high: Any, *, headline: bool = False) -> None:
        """Set a figure and the ends of its interval: the metrics `name`, `name_low` and `name_high`."""
        self.metric(name, value, headline=headline)
        self.metric(f"{name}_low", low)
        self.metric(f"{name}_high", high)

    def table(self, name: str, frame: "pd.DataFrame") -> Path:
        """Write a dataframe to tables/<name>.parquet of the step, later of the run; also goes to W&B."""
        path = self.folder / "tables" / f"{name}.parquet"
        write_parquet(path, frame)
        return path

    def figure(self, figure: Savable) -> Path:
        """Write a figure to figures/<name>.svg and .json (its Vega-Lite) of the step, later of the run.

        Both also go to W&B.
        """
        path = self.folder / "figures" / re.sub(r"[^\w.+-]+", "-", figure.name)
        figure.save(path.with_name(f"{path.name}.json"))
        return figure.save(path.with_name(f"{path.name}.svg"))

    def history(self) -> list[Point]:
        """Return all points, of interrupted attempts too, in the order they were logged."""
        return self._earlier() + self._points

    def finish(self) -> None:
        """Write the history to the step's folder; log to W&B the values that only earlier attempts logged."""
        for point in self._earlier():
            self._tell([Point(point.at, {k: v for k, v in point.values.items() if k not in self._first})])
        if points := self.history():
            lines = [to_json({"at": point.at, **point.values}) for point in points]
            write_text(self.folder / "history.jsonl", "\n".join(lines) + "\n")

    def _earlier(self) -> list[Point]:
        """Return the points of interrupted attempts, without those that a later attempt logged again."""
        return kept_points(self._attempts, self._first)

    def _tell(self, points: Iterable[Point]) -> None:
        if self.listener is not None:
            for point in points:
                if point.values:
                    self.listener.log(self.name, point)


def kept_points(attempts: Sequence[Sequence[Point]], first: Mapping[str, int] | None = None) -> list[Point]:
    """The points of several attempts at a step, without those that a later attempt logged again.

    `first` says where an attempt after them began with each value.
    """
    kept: list[Point] = []
    begun: dict[str, float] = dict(first or {})
    for attempt in reversed(attempts):
        points = []
        for point in attempt:
            values = {k: v for k, v in point.values.items() if point.at < begun.get(k, math.inf)}
            if values:
                points.append(Point(point.at, values))
        for point in attempt:
            for key in point.values:
                begun[key] = min(point.at, begun.get(key, math.inf))
        kept = points + kept
    return kept


def read_points(file: Path) -> list[Point]:
    """Read a history; a last line that a kill cut short is left out.

    Raises:
        UserError: a line that is whole is no point.
    """
    points: list[Point] = []
    if not os.path.lexists(file):
        return points
    fix = f"delete the folder {file.parent} to have that step done again"
    for line in lines(file):
        if not line.whole:
            break
        place = f"{file}, line {line.number}"
        values = _VALUES.of(json_object(line.content, str(file), fix, line.number), place, fix)
        at = values.pop("at", None)
        if not isinstance(at, int):
            raise UserError("the point has no whole number `at`", place, fix)
        points.append(Point(at, values))
    return points
