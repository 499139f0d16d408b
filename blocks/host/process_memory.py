"""How much memory untrusted processes take together."""

import re
from collections import defaultdict
from pathlib import Path

from blocks.host import proc

_OWN = re.compile(r"^(?:RssAnon|RssShmem):\s*(\d+) kB", re.MULTILINE)
_SHARE = re.compile(r"^(?:Pss_Anon|Pss_Shmem):\s*(\d+) kB", re.MULTILINE)


def is_over(first: int, max_bytes: int) -> bool:
    """Whether process `first` and all its descendants take more, without what they map of files.

    In a PID namespace orphans fall to its first process, so from there nobody is missed. Pages that several share count
    once, where the kernel tells. https://docs.kernel.org/filesystems/proc.html
    """
    processes = _descendants(first)
    if sum(_kilobytes(pid, "status", _OWN) or 0 for pid in processes) << 10 <= max_bytes:
        return False
    shares = ((_kilobytes(pid, "smaps_rollup", _SHARE), pid) for pid in processes)
    return sum((_kilobytes(pid, "status", _OWN) or 0) if kb is None else kb for kb, pid in shares) << 10 > max_bytes


def _descendants(first: int) -> list[int]:
    children = defaultdict(list)
    for pid, stat in proc.stats().items():
        children[stat.parent].append(pid)
    found = [first]
    for pid in found:
        found += children[pid]
    return found


def _kilobytes(pid: int, file: str, lines: re.Pattern[str]) -> int | None:
    try:
        return sum(map(int, lines.findall(Path(f"/proc/{pid}/{file}").read_text())))
    except OSError:
        return None
