"""Processes that outlive the command that started them, found again by pid and start time."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from blocks.home import home
from blocks.host.alive import started
from domain.errors import InputError


def start(name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> int:
    """Start `argv` in the background with its own session and log; the pid.

    Signals are reset: a worker that inherits an ignored SIGINT does not stop on SIGTERM.
    """
    folder = _folder()
    with open(folder / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=plain_signals,
        )
    note(name, process.pid)
    return process.pid


def launch(log_of_name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Start `argv` with its own session, which prints into the log of `log_of_name`; nobody keeps it."""
    with open(log_of(log_of_name), "ab") as log:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(env), cwd="/",
            start_new_session=True, preexec_fn=plain_signals,
        )  # fmt: skip
    threading.Thread(target=process.wait, name=f"wait {process.pid}", daemon=True).start()


def become(name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> NoReturn:
    """This very process is found under that name from now on. What it prints goes where it went."""
    note(name, os.getpid())
    plain_signals()
    os.chdir(cwd)
    os.execve(argv[0], list(argv), dict(env))  # noqa: S606 - no shell is wanted


def note(name: str, pid: int) -> None:
    """That this process runs under the name from now on."""
    (_folder() / f"{name}.json").write_text(json.dumps({"pid": pid, "started": started(pid)}))


def running(name: str) -> int | None:
    """The pid of a process that was started under this name and is still that process."""
    try:
        mark = json.loads((_folder() / f"{name}.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    pid = int(mark["pid"])
    return pid if started(pid) is not None and started(pid) == mark["started"] else None


def age_s(name: str) -> float:
    """Seconds since it was started; 0 if it does not run."""
    pid = running(name)
    begun = started(pid) if pid else None
    if begun is None:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begun / os.sysconf("SC_CLK_TCK"))


def stop(name: str, grace_s: float = 15.0) -> bool:
    """Stop it by SIGTERM, then by SIGKILL of its group; whether there was one."""
    pid = running(name)
    mark = started(pid) if pid else None
    if pid is None or mark is None:
        (_folder() / f"{name}.json").unlink(missing_ok=True)
        return False
    with contextlib.suppress(ProcessLookupError):  # it ends by itself in this moment
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + grace_s
    while time.monotonic() < until and started(pid) == mark:
        reap(pid)
        time.sleep(0.05)
    if started(pid) == mark:
        _end_at_once(pid)
        time.sleep(0.1)
        reap(pid)
    (_folder() / f"{name}.json").unlink(missing_ok=True)
    return True


def kill(name: str, *, alone: bool = False) -> None:
    """End it by SIGKILL at once, with what it has started unless `alone`. Safe to repeat."""
    pid = running(name)
    if pid is None:
        return
    _end_at_once(pid, alone=alone)
    until = time.monotonic() + 5
    while time.monotonic() < until and running(name):
        reap(pid)
        time.sleep(0.02)


def _end_at_once(pid: int, *, alone: bool = False) -> None:
    """With its group, if it leads one: who became a program in the foreground may be in the group of a script."""
    with contextlib.suppress(ProcessLookupError):
        leads = os.getpgid(pid) == pid
        (os.killpg if leads and not alone else os.kill)(pid, signal.SIGKILL)


def rotate(limit: int = 5_000_000) -> None:
    """Move what is in a log that has grown too long to `NAME.log.1`, over what was there.

    It is copied and cut, since its writer goes on with the file that it has open, at its end.
    """
    for log in _folder().glob("*.log"):
        if log.stat().st_size > limit:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def reap(pid: int) -> None:
    """Collect our own child's exit, so that it is no zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def free_port(wanted: int, tries: int = 50) -> int:
    """The first port from `wanted` on that nobody listens on. Raises InputError if there is none."""
    for candidate in range(wanted, wanted + tries):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise InputError(f"no free port between {wanted} and {wanted + tries}: set LOCKGATE_PORT to another range")


def log_of(name: str) -> Path:
    """Where its output goes."""
    return _folder() / f"{name}.log"


def _folder() -> Path:
    folder = home() / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def plain_signals() -> None:
    """Those that end a process end this one again."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
