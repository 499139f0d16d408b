"""How far one station goes: tasks a minute, tasks that wait, and a large ledger.

    make bench-scale                     # PARTS="ledger tasks parked"; ENTRIES, PARKED, TASKS, AT_ONCE="1 2 4"

- `ledger`: what each duty over a ledger of `ENTRIES` entries takes, in a process of its own: seconds of a processor,
  and by how many MB it grows.
- `tasks`: `TASKS` small tasks with 1, 2 and 4 at once: tasks a minute by the clock; processor seconds and requests to
  Prefect's API of one task, from its submission to its merge, by the probe in each run.
- `parked`: what `PARKED` tasks that wait for a person cost: processes, the server's memory, `lockgate status`.

Where other programs keep the machine busy, seconds by the clock say little: seconds of a processor hold. The last line
is one JSON object.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from bench import desk, desk_load
from bench.idle import spent_s
from domain.task import End
from kits.briefs import GOOD, brief, repository
from kits.product.station import Station

PARTS = os.environ.get("PARTS", "ledger tasks parked").split()
ENTRIES = int(os.environ.get("ENTRIES", "100000"))
TASKS = int(os.environ.get("TASKS", "8"))
AT_ONCE = tuple(map(int, os.environ.get("AT_ONCE", "1 2 4").split()))
DUTIES = {
    "verify": "assert shop.ledger.verify() is None",
    "prune": "prune(shop)",
    "open_questions": "assert len(shop.ledger.still_open('question', answered_by='approval')) == {open}",
}
DUTY = """
import json, time
from blocks.ledger.ledger import Ledger
from blocks.stores.local import LocalStore
from blocks.workshop import Workshop
from flows.housekeeping import prune
shop = Workshop(ledger=Ledger(url="sqlite:///{ledger}"), store=LocalStore(root="{folder}/store"))
def peak():  # of this program: ru_maxrss begins with what the process that started it had
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
shop.ledger.last_number()
before, began, clock = peak(), time.process_time(), time.monotonic()
{duty}
print(json.dumps({{"cpu_s": round(time.process_time() - began, 3), "s": round(time.monotonic() - clock, 3),
                   "mb": round(peak() - before)}}))
"""
OPEN = 50


def main() -> None:
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        if "ledger" in PARTS:
            told["ledger"] = large_ledger(Path(folder) / "large")
        if {"parked", "tasks"} & set(PARTS):
            told |= at_a_station(Path(folder))
    print(json.dumps({**told, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}))


def large_ledger(folder: Path) -> dict[str, Any]:
    """What each duty takes over it."""
    folder.mkdir()
    ledger = folder / "ledger.db"
    os.environ["LOCKGATE_HOME"] = str(folder / "home")
    parked = [desk_load.run_of(10**6 + number) for number in range(OPEN)]
    count = desk_load.fill(ledger, "/srv/git/shop.git", "0" * 40, "1" * 40, parked=parked, entries=ENTRIES)
    found: dict[str, Any] = {"entries": count, "ledger_mb": ledger.stat().st_size // 1_000_000}
    print(f"a ledger of {count} entries, {found['ledger_mb']} MB", flush=True)
    for name, duty in DUTIES.items():
        code = DUTY.format(ledger=ledger, folder=folder, duty=duty.format(open=OPEN))
        env = {**os.environ, "LOCKGATE_HOME": str(folder / "home"), "PYTHONPATH": str(PROJECT)}
        done = subprocess.run([sys.executable, "-c", code], env=env, cwd=PROJECT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        found[name] = one = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:<16}{one['cpu_s']:>8.3f} s of a processor {one['mb']:>6} MB more", flush=True)
    return found


def at_a_station(folder: Path) -> dict[str, Any]:
    station = Station(folder / "home")
    station.env["LOCKGATE_TEST_PROBE"] = str(PROJECT / "bench" / "scale_probe.py")
    station.home.mkdir()
    print("starting a station …", flush=True)
    station.up()
    try:
        told: dict[str, Any] = {}
        if "tasks" in PARTS:
            told["tasks"] = [tasks(station, folder, at_once) for at_once in AT_ONCE]
        if "parked" in PARTS:
            told["parked"] = parked(station, folder)
        return told
    finally:
        station.down()


def tasks(station: Station, folder: Path, at_once: int) -> dict[str, Any]:
    """So many small tasks, each in a repository of its own, with so many at once."""
    deployment = station.api("GET", "/deployments/name/agent-task/agent-task")
    station.api("PATCH", f"/deployments/{deployment['id']}", {"concurrency_limit": at_once})
    agents = folder / f"agents-{at_once}"
    agents.mkdir()
    station.command(f"good{at_once}", GOOD, agents)
    places = [repository(folder / f"{at_once}-{number}.git") for number in range(TASKS)]
    busy, began = _busy_s(), time.monotonic()
    runs = [station.submit(brief(place, f"command/good{at_once}")) for place in places]
    ends = [station.wait(run, timeout_s=3600).end for run in runs]
    took = time.monotonic() - began
    if set(ends) != {End.MERGED}:
        raise SystemExit(f"tasks ended as {ends}")
    noted = [json.loads(path.read_text()) for path in (station.home / "noted").glob("*.json")]
    mine = [one for one in noted if one["run"] in runs]
    cpu_s = sum(one["own_cpu_s"] + one["sandboxes_cpu_s"] for one in mine) / TASKS
    calls = sum(sum(one["calls"].values()) for one in mine) / TASKS
    told = {
        "at_once": at_once,
        "tasks_a_minute": round(60 * TASKS / took, 2),
        "cpu_s_a_task": round(cpu_s, 1),
        "api_calls_a_task": round(calls),
        "cores_busy": round((_busy_s() - busy) / took, 2),
    }
    print(f"{at_once} at once: {told}", flush=True)
    return told


def parked(station: Station, folder: Path) -> dict[str, Any]:
    """Tasks that wait for a person."""
    server = int(json.loads((station.home / "run" / "server.json").read_text())["pid"])
    before, processes = _memory_mb(server), _processes(station)
    _, told = desk.fill(station, folder)
    for _ in range(3):  # what the server reads of them stays in its memory
        station.api("POST", "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}, "limit": 200})
    spent, began = os.times(), time.monotonic()
    station.lockgate("status", check=True)
    after = os.times()
    found = {
        "parked": desk.PARKED,
        "processes_more": _processes(station) - processes,
        "server_mb_before": before,
        "server_mb_more": _memory_mb(server) - before,
        "server_cpu_s": round(spent_s(server), 1),
        "status_s": round(time.monotonic() - began, 2),
        "status_cpu_s": round(
            after.children_user + after.children_system - spent.children_user - spent.children_system, 2
        ),
        "entries": told["entries"],
    }
    print(f"{desk.PARKED} tasks wait: {found}", flush=True)
    return found


def _processes(station: Station) -> int:
    """How many flow runs have one."""
    return len(list((station.home / "run" / "flow-runs").glob("*.json")))


def _memory_mb(pid: int) -> int:
    """What is its own, and its share of what it shares: proc_pid_smaps(5)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


def _busy_s() -> float:
    """Seconds that all processors were busy, with whatever it was."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
