"""A ledger as a busy team has it, for `bench/desk.py`: tasks that are over, and tasks that wait for a person."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from blocks.ledger.database import transaction
from blocks.ledger.rows import GENESIS, EntryRow, utc_text
from domain.artifact import Artifact, ArtifactKind
from domain.brief import Brief
from domain.health import IdentitySource
from domain.history import OPENED, SHOWN, Looked, Submitted, look_at
from domain.models import Metered, Reserved, TokenUsage
from domain.project import ProjectSettings
from domain.task import (
    Answer,
    Approval,
    Attempt,
    BillLine,
    CaseOutcome,
    CaseRow,
    Decision,
    End,
    Health,
    Merged,
    Outcome,
    Plan,
    Prepared,
    Question,
    Release,
    RolledBack,
    Scanned,
    Suite,
    Tested,
    Verdict,
)
from domain.value import Value, canonical, digest_of

TESTS = 60
CALLS = 12
AGENTS = ("mini-swe/one", "codex/two", "claude-code/three")
PEOPLE = ("ann", "bob", "carl", "dora")


class Line(NamedTuple):
    """What is recorded."""

    at: datetime
    run_id: str
    kind: str
    key: str
    value: Value


def run_of(number: int) -> str:
    """The id of the task with this number, of one that is over: Prefect knows none of them."""
    return str(UUID(int=0xDE5C << 96 | number))


def digest(*what: object) -> str:
    """One that no other gets."""
    return digest_of([str(each) for each in what])


def brief_of(number: int, repository: str) -> Brief:
    """A brief as people write them."""
    return Brief(
        title=f"Add filter number {number} to the search",
        goal=f"`GET /v2/search?filter={number}` returns those products alone that the filter names. " * 4,
        repository=repository,
        agent=AGENTS[number % len(AGENTS)],
        environment="shop",
        branch="main",
        acceptance={"files": [{"path": "tests/acceptance/test_filter.py", "content": "def test_filter(): ...\n" * 40}]},  # type: ignore[arg-type]
    )


def task(
    number: int, run: str, repository: str, base: str, head: str, *, waits: bool, begins: datetime
) -> Iterator[Line]:
    """Everything that one task records, in order; of one that waits all until its question."""
    brief, at = brief_of(number, repository), begins
    agent, commit = brief.agent, head if waits else digest("commit", number)[:40]
    cases = {f"tests/test_search.py::test_{case}": CaseOutcome.PASSED for case in range(TESTS)}

    def line(kind: str, key: str, value: Value, minutes: float = 0.2) -> Line:
        nonlocal at
        at += timedelta(minutes=minutes)
        return Line(at, run, kind, key, value)

    yield line("prepared", "prepared", Prepared(
        run_id=run, brief=brief, base=base, settings=ProjectSettings(test="python -m pytest"),
        requirements=("pytest==9.2.0",), settings_source="lockgate.toml", contract=digest("contract", number),
        baseline=Suite(cases=cases, exit_code=0, output=digest("base", number)),
    ))  # fmt: skip
    who = PEOPLE[number % len(PEOPLE)]
    yield line("submitted", "submitted", Submitted(by=PEOPLE[number % 3]))
    yield line("plan", "plan", Plan(steps=("read", "edit", "test"), paths=("search.py",)))
    if number % 6 == 0:
        first, rules = digest("first", number)[:40], ("regression", "mutant-survives")[: 1 + number % 4 // 2]
        yield line(
            "attempt", "0", Attempt(number=0, base=base, commit=first, added_lines=70, agent=agent, version="1.4.2")
        )
        yield line("verdict", first, Verdict(decision=Decision.REFUSED, reasons=("a test broke",), rules=rules))
    for call in range(CALLS):
        of = {
            "run_id": run, "step": "edit", "attempt": 1, "agent": agent, "environment": None, "model": "large-1",
            "call": f"{number}-{call}",
        }  # fmt: skip
        yield line("reserved", f"{call}", Reserved(**of, usd=0.5))  # type: ignore[arg-type]
        yield line("metered", f"{call}", Metered(**of, usd=0.01, tokens=TokenUsage(input=9000, output=400)))  # type: ignore[arg-type]
    yield line("attempt", "1", Attempt(
        number=1, base=base, commit=commit, tree=digest("tree", number)[:40], changed_paths=("search.py",),
        added_lines=40 + 90 * (number % 5), removed_lines=3,
        agent=agent, version="1.4.2", transcript=digest("transcript", number), seconds=80,
    ))  # fmt: skip
    rows = tuple(CaseRow(test=name, kind="existing", base=outcome, head=outcome) for name, outcome in cases.items())
    yield line(
        "tested", commit, Tested(commit=commit, rows=rows, sandbox="bubblewrap", output=digest("output", number))
    )
    yield line("scanned", commit, Scanned(commit=commit, findings=(), scanners=("semgrep 1", "gitleaks 8")))
    for step in ("edit", "test", "security_scan"):
        yield line("bill", f"{step}/1", BillLine(run_id=run, step=step, attempt=1, agent=agent, sandbox_s=12.5))
    yield line("verdict", commit, Verdict(decision=Decision.NEEDS_PERSON, reasons=("a person decides",)))
    mark = digest("mark", run)
    yield line(
        "question",
        mark,
        Question(
            fingerprint=mark,
            attempt=1,
            commit=commit,
            text="# What is asked\n\n```diff\n" + "+a line of it\n" * 120 + "```\n",
        ),
    )
    if waits:
        return
    minutes = 30.0 if number % 5 else 0.1
    for what in (SHOWN, OPENED)[: number % 3]:
        yield line(*look_at(mark, who, what), Looked(by=who, what=what))
    comment = "" if number % 4 else "the name could be shorter"
    given = Approval(answer=Answer.APPROVE, reviewer=who, comment=comment, fingerprint=mark, signed_in=True)
    yield line("approval", mark, given, minutes)
    yield line("merged", commit, Merged(commit=commit, evidence=digest("evidence", number), reviewer=who))
    yield line("artifact", f"shop/{commit}", Artifact(
        kind=ArtifactKind.ARCHIVE, revision=commit, id=digest("artifact", number), sbom=digest("sbom", number),
        statement=digest("statement", number),
    ))  # fmt: skip
    release = Release(
        environment="shop", revision=commit, artifact=digest("artifact", number), url="http://127.0.0.1:9/"
    )
    yield line("deploy-started", f"shop/{commit}", release)
    yield line("deployed", commit, release)
    for share in (5, 25, 50):
        yield line("bill", f"deploy/{share}", BillLine(run_id=run, step="deploy", attempt=1, sandbox_s=3.0))
    health = Health(revision=commit, healthy=True, reason="well", observations=40, identity=IdentitySource.SAID)
    yield line("health", commit, health)
    yield line("live", f"shop/{commit}", release)
    outcome = Outcome(
        run_id=run, title=brief.title, end=End.LIVE, sentence=f"live: {commit[:12]} serves shop", attempts=1,
        commit=commit, environment="shop", usd=0.12,
    )  # fmt: skip
    if number % 11 == 0:
        gone = RolledBack(
            environment="shop", failed=commit, serving=None, revert=commit[::-1], bundle=digest("bundle", number)
        )
        yield line("rolled_back", f"shop/{commit}", gone)
    yield line("outcome", "outcome", outcome)


def fill(ledger: Path, repository: str, base: str, head: str, *, parked: Sequence[str], entries: int) -> int:
    """Add to a ledger until it has so many entries: tasks that are over, then those of these runs, which wait for a
    review; how many there are."""
    with transaction(f"sqlite:///{ledger}", write=True):
        pass  # makes the tables
    with closing(sqlite3.connect(ledger)) as connection:
        newest = connection.execute("SELECT id, hash FROM entries ORDER BY id DESC LIMIT 1").fetchone()
        number, previous = newest or (0, GENESIS)
        rows = []
        for one in _all(repository, base, head, parked, entries - number):
            number += 1
            row = EntryRow(
                id=number, at=utc_text(one.at.timestamp()), run_id=one.run_id, kind=one.kind, key=one.key,
                type=type(one.value).__name__, body=canonical(one.value.model_dump(mode="json")), previous=previous,
                hash="",
            )  # fmt: skip
            row.hash = previous = row.computed_hash()
            rows.append((row.id, row.at, row.run_id, row.kind, row.key, row.type, row.body, row.previous, row.hash))
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    return number


def _all(repository: str, base: str, head: str, parked: Sequence[str], entries: int) -> Iterator[Line]:
    """As many tasks that are over as there is room for, then those that wait."""
    begins, count, number = datetime.now(UTC) - timedelta(days=5), 0, 0
    one = len(list(task(0, "", repository, base, head, waits=False, begins=begins)))
    waiting = len(list(task(0, "", repository, base, head, waits=True, begins=begins))) * len(parked)
    while count + waiting + one <= entries:
        yield from task(number, run_of(number), repository, base, head, waits=False, begins=begins)
        number, count, begins = number + 1, count + one, begins + timedelta(minutes=2)
    for run in parked:
        yield from task(number, run, repository, base, head, waits=True, begins=begins)
        number, begins = number + 1, begins + timedelta(minutes=1)
