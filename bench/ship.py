"""What users notice of releases: requests that fail over switches and rollbacks, and how fast a bad release is gone.

    make bench-ship                          # process, and docker_host where an engine answers
    python bench/ship.py --target process --requests 100000

Real releases of a small service behind the real target, under users that ask without a pause: GET, POST, requests of
0.7 s and open WebSockets. The same users before, without any switch, are what the times are compared with. For each
target the last line is one JSON object; `failed` counts every answer that is no 200 and every connection that broke,
outside of the sick release's own. `sick_rollback_s`: from the moment in which the sick release (30 % errors) had the
sample that condemns it to the public address answering as before. `harmed_ratio`: failed requests by all requests, from
the begin of that release to the end of it. `one_click_s`: from the call of the rollback to the public address
answering with the release before.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from pydantic import SecretStr
from uv import find_uv_bin

from bench.ship_load import Users
from blocks.ledger.ledger import Ledger
from blocks.targets.health_probe import serving
from blocks.targets.machine.process import ProcessTarget
from blocks.targets.timeline import Timeline
from domain.health import HealthCheck
from domain.ports import ReleaseBuild, Target
from domain.rollout import Rollout
from domain.task import Release
from domain.trees import TreeEntry
from station.processes import free_port
from tasks.releasing.engine import Ship

SERVICE = PROJECT / "bench" / "ship_service.py"
SWITCHES, ROLLBACKS = 12, 4
ROLLOUT = Rollout(shares=(1, 5, 10, 25, 50), share_s=0.4, bake_s=1.0, interval_s=0.05)
"""Short, for many switches in a bench; the sample that condemns a release is the default one."""


class Bench:
    """One target under load."""

    def __init__(self, kind: str, folder: Path, toolchain: Path) -> None:
        self.kind = kind
        self.port = free_port(18080)
        self.target = _target(kind, folder, self.port)
        self.ledger = Ledger(url=SecretStr(f"sqlite:///{folder / 'ledger.db'}"))
        self._toolchain = toolchain
        self._count = 0
        self._live: list[str] = []

    def release(self, bad: float = 0.0) -> Release:
        """The next release, through the engine; its lines."""
        self._count += 1
        revision = hashlib.sha256(str(self._count).encode()).hexdigest()[:40]
        timeline = Timeline()
        ship = Ship(self.target.under(1, timeline.say), self.ledger, f"run-{self._count}", timeline)
        previous = self.target.pointed()
        made = ship.release(revision, previous, self._build(bad, previous))
        if made.problem is None:
            health = ship.bake(made, HealthCheck())
            if not health.healthy and bad == 0:
                raise SystemExit(f"{self.kind}: release {self._count} was called sick: {health.reason}")
            self._live.append(revision)
        elif bad == 0:
            raise SystemExit(f"{self.kind}: release {self._count} did not come up: {made.problem}")
        return made

    def back(self) -> float:
        """To the release before; seconds until the public address answers with it."""
        wanted, started = self._live[-2], time.monotonic()
        seen: list[float] = []
        watcher = _Watcher(self.port, wanted, seen)
        watcher.start()
        self.target.under(1, lambda _: None).rollback(wanted)
        watcher.join()
        self._live.append(wanted)
        return seen[0] - started

    def _build(self, bad: float, previous: str | None) -> ReleaseBuild:
        tree = {
            "service.py": TreeEntry(0o100644, SERVICE.read_bytes()),
            "bad.txt": TreeEntry(0o100644, str(bad).encode()),
            "number.txt": TreeEntry(0o100644, str(self._count).encode()),  # each release is an artifact of its own
        }
        run = "python service.py {port}"
        return ReleaseBuild(tree, self._toolchain, run, HealthCheck(), None, {}, previous)


def measure(bench: Bench, requests: int) -> dict[str, Any]:
    """All of it on one target."""
    bench.release()
    with Users(bench.port) as users:
        time.sleep(5)
    calm = users.seen
    print(f"{bench.kind}: without a switch {calm.requests / 5:,.0f} requests/s, p50 {calm.percentile_ms(0.5):.1f} ms, "
          f"p99 {calm.percentile_ms(0.99):.1f} ms", flush=True)  # fmt: skip
    one_click: list[float] = []
    with Users(bench.port) as users:
        for number in range(1, SWITCHES + 1):
            bench.release()
            if number % (SWITCHES // ROLLBACKS) == 0:
                one_click.append(bench.back())
            seen = users.seen
            print(f"{bench.kind}: switch {number} of {SWITCHES}, {len(one_click)} rollbacks, "
                  f"{seen.requests:,} requests, {seen.failed} failed, {seen.reconnects} WebSockets told to go",
                  flush=True)  # fmt: skip
        while users.seen.requests < requests:
            time.sleep(1)
    seen = users.seen
    for line in seen.broken[:10]:
        print(f"{bench.kind}: {line}")
    with Users(bench.port) as users:
        time.sleep(2)
        before = users.seen.requests
        started = time.time()
        sick = bench.release(bad=0.3)
        during, harmed = users.seen.requests - before, users.seen.failed
    if sick.problem is None:
        raise SystemExit(f"{bench.kind}: the sick release went live")
    print(f"{bench.kind}: sick release: {sick.problem}")
    print("\n".join(f"    {line}" for line in sick.timeline))
    stable = [line for line in sick.timeline if "seen serving in" in line]
    condemned = [line for line in sick.timeline if "not well" in line]
    print(
        f"{bench.kind}: p99 {seen.percentile_ms(0.99):.1f} ms over the switches, "
        f"{seen.percentile_ms(0.99) / max(calm.percentile_ms(0.99), 0.1):.2f} of that without one"
    )
    return {
        "target": bench.kind,
        "requests": seen.requests,
        "failed": seen.failed,
        "switches": SWITCHES,
        "rollbacks": ROLLBACKS,
        "sick_rollback_s": round(_seconds(condemned[-1], stable[-1]), 2),
        "harmed_ratio": round(harmed / max(during, 1), 5),
        "one_click_s": round(max(one_click), 2),
        "p99_ratio": round(seen.percentile_ms(0.99) / max(calm.percentile_ms(0.99), 0.1), 2),
        "sick_release_s": round(time.time() - started, 1),
    }


def _seconds(one: str, other: str) -> float:
    """Between two lines of a timeline, less than a day apart."""
    first, second = (
        sum(float(part) * unit for part, unit in zip(line.split(" ")[0].split(":"), (3600, 60, 1), strict=True))
        for line in (one, other)
    )
    return (second - first) % 86_400


class _Watcher:
    """Notes when the public address first answers with a release."""

    def __init__(self, port: int, wanted: str, seen: list[float]) -> None:
        import threading

        self._thread = threading.Thread(target=self._watch)
        self._address, self._wanted, self._seen = f"127.0.0.1:{port}", wanted, seen

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _watch(self) -> None:
        while serving(self._address, HealthCheck()) != self._wanted:
            time.sleep(0.01)
        self._seen.append(time.monotonic())


def _target(kind: str, folder: Path, port: int) -> Target:
    given: dict[str, Any] = {"name": "bench", "root": folder, "port": port, "rollout": ROLLOUT, "drain_s": 1.5}
    if kind == "process":
        return ProcessTarget(**given)
    from blocks.targets.machine.docker_host import DockerHostTarget

    return DockerHostTarget(**given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", action="append", choices=["process", "docker-host"])
    parser.add_argument("--requests", type=int, default=100_000)
    asked = parser.parse_args()
    for kind in asked.target or ("process", "docker-host"):
        # not in /tmp: a container has one of its own, which would hide the toolchain of its image
        folder = Path(tempfile.mkdtemp(prefix="lockgate-ship-", dir="/var/tmp"))
        toolchain = folder / "toolchains" / "plain"
        command = [find_uv_bin(), "venv", "--quiet", "--offline", "--python", sys.executable, str(toolchain)]
        subprocess.run(command, check=True)
        bench = Bench(kind, folder, toolchain)
        try:
            if problem := bench.target.preflight():
                raise SystemExit(f"{kind}: {problem}")
            print(json.dumps(measure(bench, asked.requests)), flush=True)
        finally:
            bench.target.stop()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
