"""What every route of the app works with."""

from dataclasses import dataclass
from pathlib import Path

from interp.monitor.bench import Bench
from interp.store.store import Store
from interp.web.pages import Pages
from interp.web.sessions import Limits, Sessions
from interp.web.worker import Worker


@dataclass(frozen=True)
class Served:
    """One model behind one worker, its sessions, its pages, and the folder of runs."""

    bench: Bench
    worker: Worker
    sessions: Sessions
    pages: Pages
    limits: Limits
    runs_dir: Path
    notes: Store | None = None
    """Where people's notes on features are kept; none are without it."""
