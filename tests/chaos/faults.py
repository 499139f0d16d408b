"""The faults: each a function of the world and of dice that says what it did. All are over when it ends."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from blocks.host import processes
from blocks.targets.releases import ReleaseDirectory
from tests.chaos.world import ENVIRONMENTS, World

PARTS = ("server", "worker", "zygote", "gateway", "door", "supervisor")
Fault = Callable[[World, random.Random], str | None]
"""None: there was nothing that it could be done to."""


def kill_part(world: World, dice: random.Random) -> str | None:
    """kill -9 of a process of the platform."""
    name = dice.choice(PARTS)
    return f"killed the {name}" if _signal(_part(world, name), signal.SIGKILL) else None


def kill_run(world: World, dice: random.Random) -> str | None:
    """kill -9 of the process of a run, wherever it is just then."""
    notes = sorted((world.home / "run" / "flow-runs").glob("*.json"))
    if not notes:
        return None
    note = dice.choice(notes)
    return f"killed run {note.stem[:8]}" if _signal(_pid(note), signal.SIGKILL) else None


def kill_release(world: World, dice: random.Random) -> str | None:
    """kill -9 of all processes of what serves."""
    environment = dice.choice(ENVIRONMENTS)
    served = world.served(environment)
    if served is None:
        return None
    world.killed.add(served)
    place = ReleaseDirectory(world.home / "targets" / environment / "releases" / served)
    killed = [_signal(process.pid, signal.SIGKILL) for process in processes.marked(place.mark)]
    return f"killed the release of {environment}" if any(killed) else None


def kill_proxy(world: World, dice: random.Random) -> str | None:
    """kill -9 of the public address."""
    environment = dice.choice(ENVIRONMENTS)
    found = processes.marked("run", "--config", str(world.home / "targets" / environment / "caddy.json"))
    killed = [_signal(process.pid, signal.SIGKILL) for process in found]
    return f"killed the proxy of {environment}" if any(killed) else None


def stop_part(world: World, dice: random.Random) -> str | None:
    """SIGSTOP of a process of the platform, as a machine that swaps would; it goes on after some seconds."""
    name, seconds = dice.choice(PARTS), dice.uniform(3, 15)
    pid = _part(world, name)
    if not _signal(pid, signal.SIGSTOP):
        return None
    world.over.wait(seconds)
    _signal(pid, signal.SIGCONT)
    return f"stopped the {name} for {seconds:.0f} s"


def hang_part(world: World, dice: random.Random) -> str | None:
    """SIGSTOP of a process that never goes on by itself: its keeper has to see it. What comes next does not wait."""
    name = dice.choice(("gateway", "zygote", "door", "worker", "server"))
    return f"stopped the {name} for good" if _signal(_part(world, name), signal.SIGSTOP) else None


def lock_ledger(world: World, dice: random.Random) -> str | None:
    """Nobody can write to the ledger."""
    return _lock(world, dice, world.home / "ledger.db", "the ledger")


def lock_prefect(world: World, dice: random.Random) -> str | None:
    """Nobody can write to Prefect's database."""
    return _lock(world, dice, world.home / "prefect" / "prefect.db", "Prefect's database")


def read_only_ledger(world: World, dice: random.Random) -> str | None:
    """The ledger's file is mounted read-only, as a kernel does with a disk that it does not trust any more."""
    seconds, file = dice.uniform(2, 8), str(world.home / "ledger.db")
    if not os.path.ismount(world.home) or _run("mount", "--bind", file, file):
        return None
    try:
        if _run("mount", "-o", "remount,bind,ro", file):
            return None
        world.over.wait(seconds)
    finally:
        _run("mount", "-o", "remount,bind,rw", file)  # for whoever still has it open
        _run("umount", "--lazy", file)
    return f"the ledger was read-only for {seconds:.0f} s"


def cut_network(world: World, dice: random.Random) -> str | None:
    """No packet reaches a part over TCP, or each is answered by a reset; by the kernel's packet filter, as root."""
    name, seconds = dice.choice(("server", "door")), dice.uniform(3, 15)
    is_lost = dice.random() < 0.5
    with contextlib.suppress(OSError, ValueError):
        port = world.station.port if name == "server" else int((world.home / "run" / "door-port").read_text())
        told = ["OUTPUT", "-o", "lo", "-p", "tcp", "--dport", str(port), "-j"]
        rule = [*told, "DROP"] if is_lost else [*told, "REJECT", "--reject-with", "tcp-reset"]
        if _run("iptables", "-w", "-I", *rule):
            return None
        try:
            world.over.wait(seconds)
        finally:
            _run("iptables", "-w", "-D", *rule)
        return f"nobody reached the {name} for {seconds:.0f} s ({'lost packets' if is_lost else 'resets'})"
    return None


def fill_disk(world: World, dice: random.Random) -> str | None:
    """No byte left on the disk of the home, if that is one of its own."""
    if not os.path.ismount(world.home):
        return None
    seconds, stuffing = dice.uniform(2, 6), world.home / "stuffing"
    try:
        with open(stuffing, "wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * (1 << 20))
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * 4096)
        world.over.wait(seconds)
    finally:
        stuffing.unlink(missing_ok=True)
    return f"the disk was full for {seconds:.0f} s"


def jump_clock(world: World, dice: random.Random) -> str | None:
    """The wall clock of all of the station jumps, on or back, and is right again some seconds later."""
    wrong_s, seconds = dice.choice((-1, 1)) * dice.randint(20, 120), dice.uniform(3, 15)
    if not world.clock.is_there:
        return None
    world.clock.jump(wrong_s)
    try:
        world.over.wait(seconds)
        apart = ", ".join(world.without_the_clock())
    finally:
        world.clock.jump(0)
    said = f"the clock was {abs(wrong_s)} s {'fast' if wrong_s > 0 else 'slow'} for {seconds:.0f} s"
    return f"{said}, but for {apart}" if apart else said


def delete_block(world: World, dice: random.Random) -> str | None:
    """The block of a target is deleted, and saved again some seconds later."""
    environment, seconds = dice.choice(ENVIRONMENTS), dice.uniform(2, 8)
    path = f"/block_types/slug/lockgate-process-target/block_documents/name/{environment}"
    found = world.station.api("GET", path)
    world.station.api("DELETE", f"/block_documents/{found['id']}")
    try:
        world.over.wait(seconds)
    finally:
        for _ in range(30):
            try:
                world.keep_target(environment)
                break
            except AssertionError:  # the server is away
                time.sleep(1)
    return f"the block of {environment} was gone for {seconds:.0f} s"


def delete_run(world: World, dice: random.Random) -> str | None:
    """A run that waits for its review is deleted in Prefect."""
    world.answering.clear()
    try:
        until = time.monotonic() + 40
        while time.monotonic() < until and not world.over.is_set():
            for task in world.tasks:
                state = world.state(task)
                if state is not None and state["type"] == "PAUSED":
                    task.deleted = True
                    world.station.api("DELETE", f"/flow_runs/{task.run_id}")
                    return f"deleted the run of {task.name}, which waited"
            world.over.wait(1)
    finally:
        world.answering.set()
    return None


FAULTS: tuple[tuple[Fault, int], ...] = (
    (kill_part, 5),
    (kill_run, 6),
    (kill_release, 2),
    (kill_proxy, 2),
    (stop_part, 3),
    (hang_part, 1),
    (lock_ledger, 3),
    (lock_prefect, 2),
    (read_only_ledger, 2),
    (cut_network, 3),
    (fill_disk, 2),
    (jump_clock, 2),
    (delete_block, 1),
    (delete_run, 1),
)
"""What can happen, and how often in one deck of cards."""


class Deck:
    """Deals faults: each of the catalogue once, shuffled, then the rest of it by their weights, shuffled; then anew.

    Independent dice left some out of every short run.
    """

    def __init__(self, dice: random.Random, catalogue: Sequence[tuple[Fault, int]] = FAULTS) -> None:
        self._dice = dice
        self._catalogue = catalogue
        self._cards: list[Fault] = []

    def draw(self) -> Fault:
        if not self._cards:
            each = [fault for fault, _ in self._catalogue]
            rest = [fault for fault, weight in self._catalogue for _ in range(weight - 1)]
            self._dice.shuffle(each)
            self._dice.shuffle(rest)
            self._cards = each + rest
        return self._cards.pop(0)

    def put_back(self, fault: Fault) -> None:
        """There was nothing to do it to: it comes again two cards later."""
        self._cards.insert(2, fault)


def _lock(world: World, dice: random.Random, file: Path, name: str) -> str | None:
    seconds = dice.uniform(2, 8)
    with contextlib.closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return None
        world.over.wait(seconds)
        database.execute("ROLLBACK")
    return f"{name} could not be written for {seconds:.0f} s"


def _run(*argv: str) -> int:
    """The exit code. Raises OSError if there is no such program."""
    return subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode


def _part(world: World, name: str) -> int | None:
    return _pid(world.home / "run" / f"{name}.json")


def _pid(note: Path) -> int | None:
    try:
        return int(json.loads(note.read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


def _signal(pid: int | None, number: signal.Signals) -> bool:
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
