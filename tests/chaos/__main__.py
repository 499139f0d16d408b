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
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.faults import FAULTS, Deck
from tests.chaos.seen import broken
from tests.chaos.world import LONGEST_SILENCE_S, World, world

DISK_MIB, MORE_MIB = 600, 200
"""A station of so few tasks needs a tenth, and more for each further seed; what fills it up is memory."""

LONG_S, LEAST_TASKS = 1200, 30
"""Faults for so long go on until there are so many tasks, twice as long at most."""

OUTCOMES = "SELECT run_id, body FROM entries WHERE kind = 'outcome'"

LOG_CHARS = 20_000
"""So much of the supervisor's log is shown where something did not hold."""


def main() -> None:
    told = argparse.ArgumentParser(prog="chaos", description=(__doc__ or "").partition("\n")[0])
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--seeds", type=int, default=1, help="so many in a row, on one station; each has a report")
    told.add_argument("--minutes", type=float, default=10, help="with faults, a seed; then all runs come to their end")
    told.add_argument("--tasks", type=int, default=40, help="briefs at most, a seed")
    told.add_argument("--pause", type=float, default=8, help="seconds between two faults, on average")
    told.add_argument("--keep", type=Path, help="a folder for the ledger, Prefect's database and the logs, to look at")
    asked = told.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that the station ends with it
    with tempfile.TemporaryDirectory(prefix="lockgate-chaos-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        with disk(home, DISK_MIB + MORE_MIB * (asked.seeds - 1)) as own, world(Path(folder)) as made:
            if not own:
                print("no full disk and no read-only ledger: only root can give the home a disk of its own", flush=True)
            if os.geteuid() or not shutil.which("iptables"):
                print("no network is cut: that takes root and iptables", flush=True)
            if not made.clock.is_there:
                print("no clock jumps: that takes a C compiler", flush=True)
            wrong = list[str]()
            for seed in range(asked.seed, asked.seed + asked.seeds):
                wrong += play(made, seed, asked.minutes * 60, asked.tasks, asked.pause, known=wrong)
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


def play(made: World, seed: int, faults_s: float, count: int, pause_s: float, known: Sequence[str] = ()) -> list[str]:
    """Faults for so long, then peace until all runs have ended; what did not hold, and is not `known` from before."""
    dice, done = random.Random(seed), Counter[str]()
    deck = Deck(dice)
    started = time.monotonic()
    first, paged = len(made.tasks), len(made.pager.pages)
    before = {environment: users.counted() for environment, users in made.users.items()}
    made.closed.clear()

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {time.monotonic() - started:6.0f} s  {text}", flush=True)

    say(f"seed {seed}: {first} tasks are behind it, the first releases among them")
    briefs = threading.Thread(target=made.stream, args=(count, random.Random(seed)), daemon=True)
    briefs.start()

    def is_time() -> bool:
        """For more faults: not once all is done that was asked for."""
        if not briefs.is_alive() and all(map(made.is_over, made.tasks)):
            return False
        elapsed_s = time.monotonic() - started
        few = faults_s >= LONG_S and len(made.tasks) - first < LEAST_TASKS
        return elapsed_s < (2 * faults_s if few else faults_s)

    while is_time():
        time.sleep(dice.expovariate(1 / pause_s))
        fault = deck.draw()
        try:
            told = fault(made, random.Random(dice.random()))
        except Exception as err:  # the server may be away: that fault is left out
            told = None
            say(f"not done: {fault.__name__}: {type(err).__name__}: {str(err)[-200:]}")
        if told:
            done[fault.__name__] += 1
            say(told)
        else:
            say(f"not now: {fault.__name__}")
            deck.put_back(fault)
    made.closed.set()
    say("no more faults and no more briefs: all runs come to their end")
    until = time.monotonic() + 600
    while (briefs.is_alive() or not all(map(made.is_over, made.tasks))) and time.monotonic() < until:
        time.sleep(1)
    time.sleep(20)  # what is swept, and brought back, is by then
    wrong = list[str]()
    for sentence in broken(made):
        if sentence in known:
            continue
        wrong.append(sentence)
        say(f"BROKEN: {sentence}")
    for task in made.tasks[first:]:
        say(f"{task.name:12} {task.environment or '-':6} {'deleted' if task.deleted else _end(made, task.run_id)}")
    if wrong:
        print((made.home / "run" / "supervisor.log").read_text()[-LOG_CHARS:], flush=True)
    outcomes = {run: json.loads(body)["end"] for run, body in made.rows(OUTCOMES)}
    counted = {environment: users.counted(before[environment]) for environment, users in made.users.items()}
    longest = {environment: counts.longest for environment, counts in counted.items()}
    report = {
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "tasks": len(made.tasks) - first,
        "ends": dict(Counter(outcomes.get(task.run_id, "none") for task in made.tasks[first:])),
        "faults": dict(done),
        "not_played": [fault.__name__ for fault, _ in FAULTS if fault.__name__ not in done],
        "requests": sum(counts.asked for counts in counted.values()),
        "failed_requests": sum(counts.failed for counts in counted.values()),
        "longest_silence_s": {environment: round(one.seconds, 1) for environment, one in longest.items()},
        "plain_server_slower": {
            environment: round(made.control.stretch(one.since, one.until), 1) for environment, one in longest.items()
        },
        "silence_allowed_s": LONGEST_SILENCE_S,
        "load": [round(load, 1) for load in os.getloadavg()],
        "pages": len(made.pager.pages) - paged,
        "broken": len(wrong),
    }
    print(json.dumps(report), flush=True)
    return wrong


@contextlib.contextmanager
def disk(home: Path, mib: int) -> Iterator[bool]:
    """A disk of its own for the home, that can be filled; whether there is one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "lockgate-chaos", str(home)]
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
    ends = [json.loads(body) for run, body in made.rows(OUTCOMES) if run == run_id]
    return "; ".join(f"{end['end']}: {end['sentence']}"[:150] for end in ends) or "no end"


if __name__ == "__main__":
    main()
