"""make chaos ARGS="--seed 7 --minutes 10 --tasks 40": exit code 1 where something did not hold.

The same seed throws the same dice; what is under way when a fault comes depends on the machine. The last line is one
JSON object.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from domain.task import End
from tests.chaos.faults import FAULTS
from tests.chaos.seen import broken
from tests.chaos.world import LONGEST_SILENCE_S, Silence, World, world

DISK_MIB = 600
"""A station of so few tasks needs a tenth; what fills it up is memory."""

LONG_S, LEAST_TASKS = 1200, 30
"""Faults for so long go on until there are so many tasks, twice as long at most."""

LOG_CHARS = 20_000
"""So much of the supervisor's log is shown where something did not hold."""


def main() -> None:
    told = argparse.ArgumentParser(prog="chaos", description=(__doc__ or "").partition("\n")[0])
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--minutes", type=float, default=10, help="with faults; then all runs come to their end")
    told.add_argument("--tasks", type=int, default=40, help="briefs at most")
    told.add_argument("--pause", type=float, default=8, help="seconds between two faults, on average")
    told.add_argument("--keep", type=Path, help="a folder for the ledger, Prefect's database and the logs, to look at")
    asked = told.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that the station ends with it
    with tempfile.TemporaryDirectory(prefix="lockgate-chaos-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        with disk(home) as own, world(Path(folder)) as made:
            if not own:
                print("no full disk and no read-only ledger: only root can give the home a disk of its own", flush=True)
            if os.geteuid() or not shutil.which("iptables"):
                print("no network is cut: that takes root and iptables", flush=True)
            wrong = play(made, asked.seed, asked.minutes * 60, asked.tasks, asked.pause)
            if asked.keep:
                keep(home, asked.keep)
            sys.exit(1 if wrong else 0)


def keep(home: Path, folder: Path) -> None:
    """What tells how it went, of a home that is taken away."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in (home / "run").glob("*.log*"):
        shutil.copy(log, folder)
    for file in (home / "ledger.db", home / "prefect" / "prefect.db"):
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as database:
            database.execute("VACUUM INTO ?", (str(folder / file.name),))


def play(made: World, seed: int, faults_s: float, count: int, pause_s: float) -> list[str]:
    """Faults for so long, then peace until all runs have ended; what did not hold."""
    dice, done = random.Random(seed), Counter[str]()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {time.monotonic() - started:6.0f} s  {text}", flush=True)

    say(f"seed {seed}: {len(made.tasks)} first releases are live")
    briefs = threading.Thread(target=made.stream, args=(count, random.Random(seed)), daemon=True)
    briefs.start()

    def is_time() -> bool:
        """For more faults: not once all is done that was asked for."""
        if not briefs.is_alive() and all(map(made.is_over, made.tasks)):
            return False
        elapsed_s = time.monotonic() - started
        few = faults_s >= LONG_S and len(made.tasks) < LEAST_TASKS
        return elapsed_s < (2 * faults_s if few else faults_s)

    while is_time():
        time.sleep(dice.expovariate(1 / pause_s))
        [fault] = dice.choices([one for one, _ in FAULTS], [weight for _, weight in FAULTS])
        try:
            told = fault(made, random.Random(dice.random()))
        except Exception as err:  # the server may be away: that fault is left out
            told = None
            say(f"not done: {fault.__name__}: {type(err).__name__}: {str(err)[-200:]}")
        if told:
            done[fault.__name__] += 1
            say(told)
    made.closed.set()
    say("no more faults and no more briefs: all runs come to their end")
    until = time.monotonic() + 600
    while (briefs.is_alive() or not all(map(made.is_over, made.tasks))) and time.monotonic() < until:
        time.sleep(1)
    time.sleep(20)  # what is swept, and brought back, is by then
    wrong = list[str]()
    for sentence in broken(made):
        wrong.append(sentence)
        say(f"BROKEN: {sentence}")
    ends = Counter(
        str(End(json.loads(body)["end"])) for (body,) in made.rows("SELECT body FROM entries WHERE kind = 'outcome'")
    )
    for task in made.tasks:
        say(f"{task.name:12} {task.environment or '-':6} {'deleted' if task.deleted else _end(made, task.run_id)}")
    if wrong:
        print((made.home / "run" / "supervisor.log").read_text()[-LOG_CHARS:], flush=True)
    longest = {
        environment: max(users.silences, key=lambda one: one.seconds, default=Silence(0, 0, ""))
        for environment, users in made.users.items()
    }
    report = {
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "tasks": len(made.tasks),
        "ends": dict(ends),
        "faults": dict(done),
        "requests": sum(users.asked for users in made.users.values()),
        "failed_requests": sum(users.failed for users in made.users.values()),
        "longest_silence_s": {environment: round(one.seconds, 1) for environment, one in longest.items()},
        "plain_server_slower": {
            environment: round(made.control.stretch(one.since, one.until), 1) for environment, one in longest.items()
        },
        "silence_allowed_s": LONGEST_SILENCE_S,
        "load": [round(load, 1) for load in os.getloadavg()],
        "pages": len(made.pager.pages),
        "broken": len(wrong),
    }
    print(json.dumps(report), flush=True)
    return wrong


@contextlib.contextmanager
def disk(home: Path) -> Iterator[bool]:
    """A disk of its own for the home, that can be filled; whether there is one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "lockgate-chaos", str(home)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(home)], capture_output=True, check=False)


def _end(made: World, run_id: str) -> str:
    rows = made.rows(f"SELECT body FROM entries WHERE kind = 'outcome' AND run_id = '{run_id}'")
    return "; ".join(f"{json.loads(body)['end']}: {json.loads(body)['sentence']}"[:150] for (body,) in rows) or "no end"


if __name__ == "__main__":
    main()
