"""Whether a process is dead for sure: by its number, its start and the machine's, since numbers are used again."""

import os
from pathlib import Path


def mark_of_this() -> str:
    """This process, for `is_dead`: the machine since its start, the namespace of process numbers, number and start."""
    return f"{_where()} {os.getpid()} {started(os.getpid())}"


def is_dead(mark: str) -> bool:
    """Whether the process has ended. Only what can be seen from here says so: nobody knows of another machine, of an
    earlier start of this one, or of another container."""
    where, _, who = mark.partition(" ")
    number, _, began = who.partition(" ")
    if where != _where() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # it is somebody else's
    return str(started(int(number))) != began


def started(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot (proc(5), field 22); None for none or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _where() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
