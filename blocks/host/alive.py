"""Whether a process is dead for sure: by its number, its start and the machine's, since numbers are used again."""

import contextlib
import hashlib
import os
from pathlib import Path

from blocks.home import home
from blocks.host import proc


def mark_of_this() -> str:
    """This process, for `is_dead`: the machine since its start, the namespace of process numbers, number and start."""
    if boot_id() not in _boots():
        with contextlib.suppress(OSError), _noted().open("a") as file:  # without the note it is as unknown as elsewhere
            file.write(f"{boot_id()}\n")
    return f"{_where()} {os.getpid()} {started(os.getpid())}"


def is_dead(mark: str) -> bool:
    """Whether the process has ended. Only what can be seen from here says so: an earlier start of this machine that
    this home has seen is over, and nobody knows of another machine, or of another container."""
    where, _, who = mark.partition(" ")
    boot = where.partition("/")[0]
    if boot != boot_id() and boot in _boots():
        return True
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
        seen = proc.stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if seen.state == "Z" else int(seen.started)


def _where() -> str:
    return f"{boot_id()}/{proc.namespace()}"


def boot_id() -> str:
    """Another one each time that the machine starts."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _boots() -> frozenset[str]:
    """Starts of this machine that this home has seen."""
    with contextlib.suppress(OSError):
        return frozenset(_noted().read_text().split())
    return frozenset()


def _noted() -> Path:
    """Under what tells this machine from all others: a home that was copied to another one, be it a clone with the same
    machine-id, knows nothing of the starts of this one."""
    return home() / "run" / f"boots-{hashlib.sha256(' '.join(_machine()).encode()).hexdigest()[:32]}"


def _machine() -> list[str]:
    """Its id, its name, and the addresses of its network cards; of these every one that there is."""
    told = [os.uname().nodename]
    for file in (Path("/etc/machine-id"), *sorted(Path("/sys/class/net").glob("*/address"))):
        if file.name == "machine-id" or (file.parent / "device").exists():  # bridges and their like come and go
            with contextlib.suppress(OSError):
                told.append(file.read_text().strip())
    return told
