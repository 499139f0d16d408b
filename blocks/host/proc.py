"""What the kernel tells of processes in /proc: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple


class Stat(NamedTuple):
    """One line of /proc/PID/stat, as far as it is needed."""

    state: str
    """`Z`: a zombie, which has ended and is not waited for yet."""
    parent: int
    group: int
    started: str
    """Clock ticks after boot; with the number, it tells a process from all others."""


def pids() -> list[int]:
    """Numbers of all processes that can be seen from here."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat(pid: int) -> Stat:
    """Raises OSError if there is no such process."""
    # the name of the program stands in brackets, and may have brackets and spaces itself
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return Stat(fields[0], int(fields[1]), int(fields[2]), fields[19])


def stats() -> dict[int, Stat]:
    """The same of all processes that are still there when they are looked at."""
    found = {}
    for pid in pids():
        with contextlib.suppress(OSError, IndexError, ValueError):
            found[pid] = stat(pid)
    return found


def status(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status: name → value. Raises OSError if there is no such process."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def namespace(pid: int | str = "self") -> str:
    """The namespace of process numbers that it is in. Raises OSError if there is no such process."""
    return os.readlink(f"/proc/{pid}/ns/pid")
