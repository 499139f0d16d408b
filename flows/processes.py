"""Which process of this machine runs a flow run: noted by pid and start time, since pids are used again."""

import contextlib
import json
import os
import time
from pathlib import Path
from uuid import UUID

from blocks.home import home
from blocks.host.alive import started


def note(run: str, pid: int) -> None:
    """Before the run does anything. Only a pid that lives can be noted."""
    path = _path(run)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps({"pid": pid, "started": started(pid)}))
    draft.replace(path)


def forget(run: str, pid: int | None = None) -> None:
    """When it has ended. Safe to repeat. `pid`: only what was noted of that process, for the run may have another one
    by now."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        if pid is None or json.loads(_path(run).read_text())["pid"] == pid:
            _path(run).unlink()


def has_process(run: UUID | str) -> bool:
    """Whether a process here runs it: one that was noted, else one that was started with the run in its environment,
    for which all of /proc is read."""
    return _is_noted(str(run)) or _was_started_for(str(run))


def noted() -> list[str]:
    """Runs that have a note: those under way, and those that were killed."""
    return [path.stem for path in _path("").parent.glob("*.json")]


def alive() -> frozenset[str]:
    """Runs that were noted, and whose process lives."""
    return frozenset(run for run in noted() if _is_noted(run))


def sweep(older_than_s: float = 3600.0) -> None:
    """Remove old notes of processes that are gone: nobody was left to do so."""
    for run in noted():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - _path(run).stat().st_mtime > older_than_s and not _is_noted(run):
                forget(run)


def _is_noted(run: str) -> bool:
    try:
        mark = json.loads(_path(run).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return mark["started"] is not None and started(int(mark["pid"])) == mark["started"]


def _was_started_for(run: str) -> bool:
    mark = f"PREFECT__FLOW_RUN_ID={run}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it ended, or is somebody else's
            if mark in environ.read_bytes():
                return True
    return False


def _path(run: str) -> Path:
    return home() / "run" / "flow-runs" / f"{run}.json"
