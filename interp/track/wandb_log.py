"""Weights & Biases: history, metrics, config, tables and the report of a run; offline unless logged in.

Nothing here asks for a key or prints one, and everything that wandb collects about the machine, the code
and the user is switched off as far as it can be.
"""

import netrc
import os
import shutil
import urllib.parse
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from interp.errors import UserError
from interp.json_text import read_json, to_json
from interp.track.records import BEGIN_ANEW
from interp.track.step import Point, Value
from interp.yaml_text import read_yaml

if TYPE_CHECKING:
    import pandas as pd
    import wandb

Mode = Literal["auto", "online", "offline", "disabled"]
INIT_TIMEOUT_SECONDS, FINISH_TIMEOUT_SECONDS = 20.0, 300.0
"""How long a server that does not answer may delay a run; data that was not sent stays in its folder."""
TABLE_ROWS = 10_000
"""Most rows of a table that are sent to W&B; the Parquet file has them all."""


class WandbLog:
    """The W&B run of one run folder."""

    def __init__(self, run: "wandb.Run") -> None:
        """Wrap a W&B run that has been started."""
        self._run = run
        self._axes: set[str] = set()

    def log(self, step: str, point: Point) -> None:
        """Add a point of the history; W&B draws each value over its step's own axis, "<step>/at"."""
        axis = f"{step}/at"
        for key in point.values:
            if key not in self._axes:
                self._run.define_metric(key, step_metric=axis)
                self._axes.add(key)
        self._run.log({**point.values, axis: point.at})

    def finish(self, folder: Path, metrics: dict[str, Value]) -> None:
        """Add the final metrics, tables, figures and report of the run `folder`, and close the W&B run.

        A figure is logged as a picture, as its Vega-Lite file and, where W&B has such a chart (curves, rows
        of estimates, pairs), as a chart that W&B draws itself, without intervals.
        """
        try:
            self._run.summary.update(metrics)
            if media := self._media(folder):
                self._run.log(media)
        finally:
            self._run.finish()

    def _media(self, folder: Path) -> dict[str, Any]:
        import pandas as pd
        import wandb

        media: dict[str, Any] = {}
        for file in sorted((folder / "figures").glob("*.json")):
            self._run.save(str(file), base_path=str(folder))
            if (chart := _chart(read_json(file, BEGIN_ANEW))) is not None:
                media[f"charts/{file.stem}"] = chart
        for file in sorted((folder / "figures").glob("*.svg")):
            media[f"figures/{file.stem}"] = wandb.Html(file.read_text(encoding="utf-8"), inject=False)
        for file in sorted((folder / "tables").glob("*.parquet")):
            frame = _plain(pd.read_parquet(file).head(TABLE_ROWS))
            media[f"tables/{file.stem}"] = wandb.Table(dataframe=frame, allow_mixed_types=True)
        if (report := folder / "report.html").exists():
            media["report"] = wandb.Html(report.read_text(encoding="utf-8"), inject=False)
        return media

    def abandon(self) -> None:
        """Close the W&B run as failed; the next attempt begins a new one with the whole history."""
        self._run.finish(exit_code=1)


def open_log(mode: Mode, project: str, folder: Path) -> WandbLog | None:
    """Start a W&B run for the run `folder`, with its config; None when disabled.

    Offline files of earlier, unfinished attempts are removed: the caller replays their history into this one.

    Raises:
        UserError: `mode` is "online" and there is no key, or the server does not answer.
    """
    chosen = choose_mode(mode)
    if chosen == "disabled":
        return None
    _switch_off_reporting(folder)
    import wandb

    for old in (folder / "wandb").glob("offline-run-*"):
        shutil.rmtree(old, ignore_errors=True)
    config = read_yaml(folder / "config.yaml", BEGIN_ANEW)

    def start(mode: Literal["online", "offline"]) -> "wandb.Run":
        return wandb.init(
            project=project,
            name=folder.name,
            group=folder.name,
            id=f"{folder.name[:40]}-{uuid.uuid4().hex[:8]}",
            config=config,
            dir=str(folder),
            mode=mode,
            reinit="create_new",
            settings=_quiet_settings(),
        )

    try:
        return WandbLog(start(chosen))
    except wandb.errors.Error as error:
        if mode == "auto":
            return WandbLog(start("offline"))
        raise UserError(
            f"W&B could not be started: {error}", "wandb.mode", "wandb.mode=offline, and `wandb sync` later"
        ) from error


def choose_mode(mode: Mode) -> Literal["online", "offline", "disabled"]:
    """Resolve `mode` on this machine: "auto" follows WANDB_MODE, or else is online if logged in.

    Raises:
        UserError: "online" without a key.
    """
    if mode == "auto":
        wanted = os.environ.get("WANDB_MODE", "")
        if wanted == "disabled":
            return "disabled"
        return "online" if logged_in() and wanted in ("", "online") else "offline"
    if mode == "online" and not logged_in():
        raise UserError(
            "not logged in to W&B", "wandb.mode: online", "run `wandb login`, or wandb.mode=offline"
        )
    return mode


def logged_in() -> bool:
    """Say whether there is a W&B key in the environment or the netrc file, without using it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urllib.parse.urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    candidates = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for name in candidates:
        if not name:
            continue
        try:
            if netrc.netrc(os.path.expanduser(name)).hosts.get(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _switch_off_reporting(folder: Path) -> None:
    """Set, before wandb is imported, what it reads from the environment only."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ["WANDB_SILENT"] = "true"
    os.environ["WANDB_DATA_DIR"] = str((folder / "wandb" / "data").absolute())
    os.environ["WANDB_CACHE_DIR"] = str((folder / "wandb" / "cache").absolute())


def _quiet_settings() -> "wandb.Settings":
    import wandb

    return wandb.Settings(
        silent=True,
        quiet=True,
        console="off",
        show_info=False,
        show_warnings=False,
        show_errors=False,
        symlink=False,
        host="hidden",
        init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", INIT_TIMEOUT_SECONDS)),
        finish_timeout=FINISH_TIMEOUT_SECONDS,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_disable_viewer=True,
        x_save_requirements=False,
    )


def _chart(spec: dict[str, Any]) -> Any:
    """A chart that W&B draws itself from the points of a Vega-Lite figure; None if it has no such kind."""
    import wandb

    title = spec.get("usermeta", {}).get("title", "")
    curves, points = (_rows(spec, name) for name in ("curves", "points"))
    if curves and {"name", "x", "y"} <= set(curves[0]):
        names = list(dict.fromkeys(row["name"] for row in curves))
        known = [[r for r in curves if r["name"] == name and r["y"] is not None] for name in names]
        xs, ys = ([[row[axis] for row in rows] for rows in known] for axis in "xy")
        return wandb.plot.line_series(xs, ys, keys=names, title=title)
    if points and {"row", "name", "x", "low", "high"} <= set(points[0]):
        data = [[f"{row['row']}: {row['name']}", row["x"], row["low"], row["high"]] for row in points]
        table = wandb.Table(columns=["estimate", "value", "low", "high"], data=data, allow_mixed_types=True)
        return wandb.plot.bar(table, "estimate", "value", title=title)
    if points and {"x", "y"} <= set(points[0]):
        table = wandb.Table(columns=["x", "y"], data=[[row["x"], row["y"]] for row in points])
        return wandb.plot.scatter(table, "x", "y", title=title)
    return None


def _rows(spec: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The data of the layer called `name` in a Vega-Lite figure; empty if there is none."""
    for layer in spec.get("layer", ()):
        if layer.get("name") == name:
            # what all layers share stands beside them
            data: dict[str, Any] = layer.get("data") or spec.get("data") or {}
            rows: list[dict[str, Any]] = data.get("values") or spec.get("datasets", {}).get(
                data.get("name"), []
            )
            return rows
    return []


def _plain(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Write lists and mappings inside a table as JSON, which W&B can show."""
    frame = frame.copy()
    for column in [name for name in frame if frame[name].dtype == object]:
        frame[column] = [_cell(value) for value in frame[column]]
    return frame


def _cell(value: Any) -> Any:
    if hasattr(value, "tolist") and getattr(value, "ndim", False):
        value = value.tolist()
    if not isinstance(value, list | dict | tuple):
        return value
    return to_json(value, ensure_ascii=False, default=str)
