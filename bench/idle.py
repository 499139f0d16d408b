"""What a station takes while nothing runs: processor time of each of its processes, from /proc, over a minute.

`python -m bench.idle [SECONDS]`, on a station that is up and has nothing to do. A figure says percent of one core.
"""

import json
import os
import sys
import time
from pathlib import Path

from station import processes
from station.supervisor import NAMES

TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    pids = {name: pid for name in ("supervisor", *NAMES) if (pid := processes.running(name))}
    if not pids:
        sys.exit("nothing is up in this home: `make up` first")
    before, begun = {name: spent_s(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    after, took = {name: spent_s(pid) for name, pid in pids.items()}, time.monotonic() - begun
    shares = {name: round(100 * (after[name] - before[name]) / took, 2) for name in pids}
    for name, share in shares.items():
        print(f"{name:<11} {share:5.1f} % of a core")
    print(json.dumps({"seconds": round(took), "load": os.getloadavg()[0], **shares}))


def spent_s(pid: int) -> float:
    """Processor time of a process and all that it has waited for, in seconds (proc(5), fields 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


if __name__ == "__main__":
    main()
