"""The run folder: which config it belongs to, and its manifest of the sessions that worked on it."""

import os
import re
import shutil
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from interp.errors import UserError, printable, quoted
from interp.fields import check_name
from interp.track.files import write_json, write_text, writing_explained
from interp.track.manifest import surroundings
from interp.track.records import BEGIN_ANEW, VERSION, read_manifest
from interp.yaml_text import read_yaml

NOT_RESULTS = frozenset({"name", "purpose", "wandb"})
"""Top-level keys of a config that change no number: a run may be continued with other values."""
_NOT_RESULTS_INSIDE = re.compile(
    r"endpoints\..+\.(api_key_env|concurrency|timeout_seconds|retries|longest_wait_seconds|budget_\w+|usd_\w+)"
    r"|engine\.(kind|address|workers|gpus|attempts|object_store)"
)
"""Keys that change budgets and connections, but no answer, or where something is computed, but not what."""


def check_run_name(name: str, place: str) -> None:
    """Refuse a name of a run or step that would not be a plain folder name.

    Raises:
        UserError: as `interp.fields.check_name`.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise UserError(f"{quoted(name)} cannot be the name of a run", place, f"it {error}") from None


def check_same_config(folder: Path, resolved: dict[str, Any]) -> None:
    """Refuse a folder that was made with another config, or that is not a run's.

    Raises:
        UserError: says which keys differ and what to do.
    """
    if not os.path.lexists(folder / "config.yaml"):
        if os.path.lexists(folder) and (
            not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir())
        ):
            raise UserError(
                f"{folder} exists and is not the folder of a run",
                str(folder.absolute()),
                "give the run another name: name=...",
            )
        return
    old, new = _results(read_yaml(folder / "config.yaml", BEGIN_ANEW)), _results(resolved)
    differing = [key for key in (old | new) if key not in old or key not in new or old[key] != new[key]]
    if differing:
        shown = [f"{key}: {_said(old, key)} then, {_said(new, key)} now" for key in differing]
        raise UserError(
            "the run folder was made with another config: " + "; ".join(shown),
            str(folder),
            "give this run another name (name=...), or add --fresh to move the old folder to "
            f"{folder.parent / '.old'} and begin anew",
        )


def _said(config: dict[str, Any], key: str) -> str:
    return quoted(config[key]) if key in config else "absent"


def _results(config: dict[str, Any]) -> dict[str, Any]:
    """The values of a config that decide the numbers, by dotted key."""
    flat = _flat({key: value for key, value in config.items() if key not in NOT_RESULTS})
    return {k: v for k, v in flat.items() if v is not None and not _NOT_RESULTS_INSIDE.fullmatch(k)}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            k: v for key in value for k, v in _flat(value[key], f"{prefix}.{key}" if prefix else key).items()
        }
    return {prefix: value}


def begin(folder: Path, name: str, resolved: dict[str, Any]) -> dict[str, Any]:
    """Write config and manifest; a finished run keeps the ones it has."""
    path = folder / "manifest.json"
    manifest = read_manifest(folder) if os.path.lexists(path) else {}
    if manifest.get("status") == "finished":
        return manifest
    write_text(folder / "config.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    began = {"started": now(), "pid": os.getpid()} | surroundings()
    manifest = {
        "version": VERSION,
        "run": name,
        "experiment": resolved.get("experiment"),
        "status": "running",
        "started": manifest.get("started", began["started"]),
        "finished": None,
        "seeds": {"seed": resolved.get("seed")},
        "sessions": [*manifest.get("sessions", []), began],
    }
    write_json(path, manifest)
    return manifest


def end(folder: Path, manifest: dict[str, Any], status: str, **more: Any) -> None:
    """Note in the manifest how the session ended."""
    manifest |= {"status": status, "finished": now()} | more
    manifest["sessions"][-1] |= {"finished": manifest["finished"], "status": status}
    write_json(folder / "manifest.json", manifest)


def note_failure(folder: Path, manifest: dict[str, Any], error: BaseException, step: str | None) -> None:
    """Note what ended the session; the traceback of a bug goes to error.log."""
    # a pipe breaks when whoever read the output has gone, as with `| head`
    stopped = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | BrokenPipeError)
    if not stopped and not isinstance(error, UserError):
        write_text(folder / "error.log", printable("".join(traceback.format_exception(error)), guessed=True))
    end(folder, manifest, "interrupted" if stopped else "failed", step=step)


def move_aside(folder: Path) -> None:
    """Move a run folder to .old/<name>-<time> beside it."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    target = folder.parent / ".old" / f"{folder.name}-{stamp}"
    while os.path.lexists(target):
        target = target.with_name(target.name + "-again")
    with writing_explained(target.parent):
        target.parent.mkdir(exist_ok=True)
        os.rename(folder, target)


def remove_temporary(folder: Path) -> None:
    """Remove temporary files that a killed process left; the caller holds the lock, so nobody writes them."""
    for left in list(folder.rglob(".*.tmp")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def changes(manifest: dict[str, Any]) -> list[str]:
    """Say how code and versions, which may change numbers, differ from those of the session before."""
    if len(manifest["sessions"]) < 2:
        return []
    before, after = ({**_flat(s["versions"]), **_code(s)} for s in manifest["sessions"][-2:])
    return [f"{key} {before.get(key)} -> {after[key]}" for key in after if after[key] != before.get(key)]


def now() -> str:
    """Return the local time with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _code(session: dict[str, Any]) -> dict[str, Any]:
    return {"code": ((session.get("git") or {}).get("revision") or "")[:12], "python": session["python"]}
