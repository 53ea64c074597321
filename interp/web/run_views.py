"""Runs as pages show them: plain values, numbers with their intervals and units, curves of their steps."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import ArrowException

from interp.errors import UserError
from interp.fields import check_name
from interp.json_text import read_json
from interp.outside import read_file, utf8
from interp.render.digits import count, significant, with_interval
from interp.render.palette import BASE, Theme, heat
from interp.statistics.estimate import Estimate
from interp.track.control import printed
from interp.track.listing import RunSummary, read_run
from interp.track.live import Live, read_history, read_live
from interp.track.records import BEGIN_ANEW, read_manifest, read_steps
from interp.track.step import Point, Value
from interp.web.safety import NotFound

Json = dict[str, Any]
MOST_POINTS = 400
"""Points of a curve that are sent; of more, evenly spaced ones."""
_UNITS = (
    (r"_per_second$", "per second"),
    (r"(^|_)seconds$", "s"),
    (r"(^|_)bytes$", "bytes"),
    (r"(^|_)usd$", "USD"),
    (r"_nats$|^cross_entropy_(clean|spliced|ablated|with_error)|^kl(_|$)|\bKL\b", "nats"),
    (r"^l0$", "latents per token"),
    (r"^explained_variance$|^cross_entropy_recovered$|(^|_)share$|^rate$", "share"),
    (r"correlation$|^spearman$", "r"),
    (r"auroc$", "AUROC"),
)
"""Units by the last part of a metric's name; another number has the unit that its name says."""


def run_folder(runs_dir: Path, name: str) -> Path:
    """The folder of the run `name`, which is inside of `runs_dir`.

    Raises:
        NotFound: there is none, or it is a link that leads elsewhere.
    """
    folder = runs_dir / name
    try:
        check_name(name)
        inside = folder.resolve().parent == runs_dir.resolve()
        there = inside and any((folder / one).is_file() for one in ("config.yaml", "manifest.json"))
    except (ValueError, OSError):
        there = False
    if not there:
        raise NotFound(f"there is no run {name[:80]!r}", "the folder of runs", "choose one at /runs")
    return folder


def file_inside(folder: Path, path: str) -> Path:
    """A file of a run's folder by its relative path.

    Raises:
        NotFound: there is none, or it is outside of the folder (a link, an absolute path, `..`).
    """
    try:
        file = (folder / path).resolve()
        if file.is_relative_to(folder.resolve()) and file.is_file():
            return file
    except (ValueError, OSError):
        pass
    raise NotFound("there is no such file", f"the run {folder.name}", "choose one on the run's page")


def drawing(file: Path, theme: Theme) -> str:
    """A run's figure, which it drew in light colours, in those of a theme."""
    light, own = ({**BASE[one], **heat(one)} for one in ("light", theme))
    colours = {light[name]: own[name] for name in light}
    return re.sub("#[0-9a-f]{6}", lambda found: colours.get(found[0], found[0]), _text(file))


def row_view(run: RunSummary, continuing: bool) -> Json:
    """A run as a row of the list."""
    return {
        "name": run.name,
        "experiment": run.experiment,
        "status": status_of(run, continuing),
        "started": run.started,
        "seconds": run.seconds,
        "headline": metric_rows({**run.headline, **_ends(run)}),
        "report": run.report is not None,
        "damage": None if run.damage is None else str(run.damage),
    }


def status_of(run: RunSummary, continuing: bool) -> str:
    """The status; "starting" while the process that continues it has not opened it yet."""
    return "starting" if continuing and run.status != "running" else run.status


def run_view(run: RunSummary) -> Json:
    """All that the page of a run shows, besides what it is doing.

    Raises:
        UserError: a file of the folder cannot be read; says which and why.
    """
    if run.damage is not None:
        raise run.damage
    folder = run.folder
    manifest = read_manifest(folder) if (folder / "manifest.json").is_file() else {}
    config = folder / "config.yaml"
    failed = run.status == "failed" and (folder / "error.log").is_file()
    return {
        "config": utf8(read_file(config, BEGIN_ANEW), str(config)),
        "facts": _facts(run, manifest),
        "sessions": [_session(one) for one in manifest.get("sessions", [])],
        "steps": [(one.step, one.seconds) for one in read_steps(folder)],
        "headline": metric_rows({**run.headline, **_ends(run)}),
        "metrics": metric_rows(run.metrics),
        "tables": [_table(file) for file in run.tables],
        "figures": [_figure(file) for file in run.figures],
        "notes": _text(folder / "notes.txt").splitlines(),
        "error": _text(folder / "error.log") if failed else "",
        "files": [file.name for file in sorted(folder.iterdir()) if file.is_file() and file.name[0] != "."],
    }


def live_view(runs_dir: Path, name: str, continuing: bool) -> Json:
    """What a run is doing, the curves so far, and what a continuation printed."""
    run = read_run(runs_dir / name)
    live = read_live(runs_dir, name) if run.status == "running" else None
    try:
        curves, damage = curve_views(read_history(run.folder)), None
    except UserError as error:
        curves, damage = [], str(error)
    return {
        "status": status_of(run, continuing),
        "steps": list(run.steps),
        "seconds": run.seconds,
        "doing": None if live is None else _doing(live),
        "curves": curves,
        "damage": damage or (None if run.damage is None else str(run.damage)),
        "printed": printed(run.folder) if continuing or run.status != "finished" else "",
    }


def metric_rows(metrics: Mapping[str, Value]) -> list[Json]:
    """Metrics as rows: a value with its interval, if `NAME_low` and `NAME_high` are there, and its unit."""
    rows = []
    for name, value in metrics.items():
        base = re.sub(r"_(low|high)$", "", name)
        if base != name and all(_is_number(metrics.get(f"{base}{end}", "")) for end in ("", "_low", "_high")):
            continue
        low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
        shown = _shown(value)
        if _is_number(value) and _is_number(low) and _is_number(high):
            shown = with_interval(Estimate.of(metrics, name))
        rows.append({"name": name, "value": value, "shown": shown, "unit": unit_of(name, value)})
    return rows


def unit_of(name: str, value: Value) -> str:
    """The unit of a metric as far as its name says it; whole numbers count something."""
    last = name.rpartition("/")[2]
    if not _is_number(value):
        return ""
    for pattern, unit in _UNITS:
        if re.search(pattern, last):
            return unit
    return "count" if isinstance(value, int) else ""


def curve_views(history: Mapping[str, list[Point]]) -> list[Json]:
    """A curve for each number that a step logged, thinned to what can be seen."""
    curves = []
    for step, points in history.items():
        names = dict.fromkeys(name for point in points for name in point.values)
        for name in names:
            known = [(p.at, v) for p in points if _is_number(v := p.values.get(name))]
            if len(known) > 1:
                curves.append({"step": step, "name": name, "unit": unit_of(name, known[-1][1]),
                               "n": len(known), "points": _thinned(known)})  # fmt: skip
    return curves


def _thinned(points: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """At most `MOST_POINTS` of the points, evenly spaced, with the first and the last."""
    if len(points) <= MOST_POINTS:
        return points
    last = len(points) - 1
    return [points[round(n * last / (MOST_POINTS - 1))] for n in range(MOST_POINTS)]


def _doing(live: Live) -> Json:
    tasks = [
        {"what": one.what, "amount": one.amount, "seconds": one.seconds, "seconds_left": one.seconds_left,
         "share": min(1.0, one.done / one.total) if one.total else None}
        for one in live.tasks
    ]  # fmt: skip
    return {"pid": live.pid, "since": live.since, "step": live.step, "tasks": tasks}


def _ends(run: RunSummary) -> dict[str, Value]:
    names = (f"{name}{end}" for name in run.headline for end in ("_low", "_high"))
    return {name: run.metrics[name] for name in names if name in run.metrics}


def _facts(run: RunSummary, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    seeds = manifest.get("seeds") or {}
    said = {
        "Experiment": run.experiment,
        "Begun": _moment(run.started),
        "Ended": _moment(manifest.get("finished") or ""),
        "Seed": "" if seeds.get("seed") is None else str(seeds["seed"]),
        "Sessions": count(len(manifest.get("sessions", []))),
    }
    return [(name, value) for name, value in said.items() if value]


def _session(session: Mapping[str, Any]) -> list[tuple[str, str]]:
    git, hardware = session.get("git") or {}, session.get("hardware") or {}
    revision = str(git.get("revision") or "")[:12]
    versions = [f"{name} {version}" for name, version in session.get("versions", {}).items() if version]
    said = {
        "Begun": _moment(session.get("started", "")),
        "Ended": " ".join(filter(None, [_moment(session.get("finished") or ""), session.get("status", "")])),
        "Code": f"{revision}, with changes" if git.get("dirty") else revision,
        "Python": session.get("python", ""),
        "Versions": ", ".join(versions),
        "Hardware": ", ".join(f"{key} {value}" for key, value in hardware.items() if value is not None),
    }
    return [(name, str(value)) for name, value in said.items() if value]


def _table(file: Path) -> Json:
    try:
        made = pq.ParquetFile(file)
        rows, columns = made.metadata.num_rows, made.schema_arrow.names
    except (ArrowException, OSError):
        rows, columns = None, []
    return {"name": file.stem, "rows": rows, "columns": columns}


def _figure(file: Path) -> Json:
    says: Mapping[str, Any] = {}
    try:
        spec = read_json(file.with_suffix(".json"), "")
        says = {"description": spec.get("description"), **(spec.get("usermeta") or {})}
    except (UserError, TypeError):
        pass
    title = str(says.get("title") or file.stem.replace("_", " "))
    return {"file": file.name, "title": title, "caption": str(says.get("caption") or ""),
            "says": str(says.get("description") or title)}  # fmt: skip


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Value) -> str:
    if value is None:
        return "not defined"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else significant(value, 3)
