"""What the chaos suite calls broken, over a world that is written down."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kits.briefs import git, repository
from tests.chaos import seen
from tests.chaos.clock import Clock
from tests.chaos.world import Task, World

RUN = "the-run"


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A repository, its commit before and its newest one."""
    place = repository(tmp_path_factory.mktemp("north") / "north.git", {"a.py": "1\n"})
    first = git(place, "rev-parse", "main")
    tree = git(place, "hash-object", "-t", "tree", "-w", "--stdin")
    second = git(place, "-c", "user.name=n", "-c", "user.email=n@e", "commit-tree", tree, "-p", first, "-m", "Add part")
    git(place, "update-ref", "refs/heads/main", second)
    return place, first, second


def world(place: Path, entries: list[tuple[str, Mapping[str, Any]]], killed: set[str]) -> World:
    """With one task, whose run's entries these are."""
    ledger = sqlite3.connect(":memory:")
    ledger.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, run_id TEXT, kind TEXT, body TEXT)")
    told = [(RUN, kind, json.dumps(body)) for kind, body in entries]
    ledger.executemany("INSERT INTO entries (run_id, kind, body) VALUES (?, ?, ?)", told)
    made = SimpleNamespace(
        repositories={"north": place},
        tasks=[Task("part", "north", is_sick=False, repository=place, run_id=RUN)],
        rows=lambda query: ledger.execute(query).fetchall(),
        killed=killed,
    )
    return cast(World, made)


LIVE = ("live", {"environment": "north", "revision": "NEW"})
FIRST = ("live", {"environment": "north", "revision": "OLD"})
ELSEWHERE = ("live", {"environment": "south", "revision": "OLD"})
BACK = ("rolled_back", {"environment": "north", "failed": "NEW", "serving": "OLD", "by_itself": "it kept dying"})


@pytest.mark.parametrize(
    ("serves", "entries", "says"),
    [
        pytest.param("NEW", [LIVE], None, id="what main has"),
        pytest.param("OLD", [LIVE], "the record says", id="the one before, and nothing tells why"),
        pytest.param("OLD", [LIVE, BACK], None, id="it went back by itself"),
        pytest.param("OLD", [FIRST], "nothing there went back", id="merged and never released"),
        pytest.param("OLD", [FIRST, ("merged", {}), ("outcome", {"end": "frozen"})], None, id="frozen after its merge"),
        pytest.param("OLD", [ELSEWHERE], "the record says None", id="on record for another environment"),
    ],
)
def test_what_serves_is_what_main_has_or_what_is_on_record(
    north: tuple[Path, str, str], serves: str, entries: Any, says: str | None
) -> None:
    place, old, new = north
    told = json.loads(json.dumps(entries).replace("OLD", old).replace("NEW", new))
    found = list(seen._wrongly_served(world(place, told, set()), "north", old if serves == "OLD" else new))
    assert (says is None and not found) or (says is not None and len(found) == 1 and says in found[0]), found


@pytest.mark.parametrize(
    ("sick", "killed", "broken"), [([], set(), 1), (["NEW"], set(), 1), (["NEW"], {"NEW"}, 0), (["NEW"], {"OLD"}, 1)]
)
def test_who_gives_up_was_sick_or_was_killed(
    north: tuple[Path, str, str], sick: list[str], killed: set[str], broken: int
) -> None:
    entries = [("sick", {"revision": one}) for one in sick] + [("outcome", {"end": "gave_up"})]
    found = list(seen._runs(world(north[0], entries, killed)))
    assert len(found) == broken, found


@pytest.mark.parametrize("wrong_s", [0, 3600, -500])
def test_a_clock_that_jumps_is_wrong_and_what_waits_waits_as_long_as_ever(tmp_path: Path, wrong_s: int) -> None:
    clock = Clock(tmp_path)
    clock.jump(wrong_s)
    asked = (
        "import datetime, threading, time; began = time.monotonic(); time.sleep(0.05); threading.Event().wait(0.05)\n"
        "print(time.time(), datetime.datetime.now(datetime.UTC).timestamp(), time.monotonic() - began)"
    )
    child = (
        "import subprocess, sys, prefect; assert sys.prefix != sys.base_prefix\n"
        "subprocess.run([sys.executable, '-I', '-c', sys.argv[1]], env={}, check=True)"
    )
    before = time.time()
    told = subprocess.run(  # as `lockgate up` starts its own: nothing of a clock is in what is handed on
        [clock.programs / "python", "-c", child, asked], env={"PATH": "/usr/bin"}, capture_output=True, check=True
    )
    *clocks, waited = map(float, told.stdout.split())
    assert waited >= 0.1
    for told_s in clocks:
        assert before <= told_s - wrong_s <= time.time() + 1


def test_what_was_deleted_while_it_waited_is_not_verified() -> None:
    asked: list[str] = []

    def lockgate(_: str, run: str) -> SimpleNamespace:
        asked.append(run)
        return SimpleNamespace(returncode=int(run == "bad"), stdout="BROKEN", stderr="")

    tasks = [Task(name, None, False, Path(), run_id=name, deleted=name == "gone") for name in ("gone", "good", "bad")]
    there = cast(World, SimpleNamespace(tasks=tasks, station=SimpleNamespace(lockgate=lockgate)))
    assert list(seen._rows(there)) == ["lockgate verify bad: BROKEN"]
    assert asked == ["good", "bad"]
