"""What each task did, read off the ledger once and kept small: the record of agents and of reviews is made of it.

Runs that were deleted in Prefect stay: the ledger has them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from domain.entry import Entry
from domain.policy.reviewers import canonical_name
from domain.records import (
    APPROVAL,
    ATTEMPT,
    BILL,
    LIVE,
    LOOKED,
    MERGED,
    METERED,
    OUTCOME,
    PLANTED,
    PLANTED_ANSWER,
    PREPARED,
    QUESTION,
    RESERVED,
    ROLLED_BACK,
    SUBMITTED,
    VERDICT,
    At,
    kinds_of,
)
from domain.task import ELSEWHERE, asking_key
from domain.value import Value

KINDS = kinds_of(
    SUBMITTED,
    PREPARED,
    ATTEMPT,
    VERDICT,
    QUESTION,
    LOOKED,
    APPROVAL,
    MERGED,
    LIVE,
    ROLLED_BACK,
    OUTCOME,
    BILL,
    METERED,
    RESERVED,
    PLANTED,
    PLANTED_ANSWER,
)
"""Entries that it reads."""
TEST = "test"
"""The step of a bill for tests."""
SHOWN, OPENED = "shown", "opened"
_WORD = re.compile(r"\w+")
_DIFF = re.compile(r"^(`{3,}|~{3,})diff\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


class Looked(Value):
    """Somebody saw the page of a review (`shown`), or lines of its change (`opened`), for the first time. It decides
    nothing: a browser says so, with the session of who is signed in."""

    by: str
    what: str


class Submitted(Value):
    """Who asked for a task. Only what came in at the door is known."""

    by: str
    signed_in: bool = True
    way: str = ""


def look_at(asking: str, name: str, what: str) -> At:
    """Where a look stands: one a person, asking of a question, and kind of look."""
    return LOOKED.at(asking, canonical_name(name), what)


@dataclass(slots=True)
class AttemptHistory:
    """An attempt."""

    number: int
    agent: str
    version: str
    commit: str | None
    lines: int
    files: int
    at: datetime
    is_refused: bool | None = None
    """By the newest verdict on its commit; None: the gates did not judge it."""
    rules: tuple[str, ...] = ()


@dataclass(slots=True)
class Asking:
    """A question for a review, each time it is asked."""

    key: str
    at: datetime
    attempt: int
    commit: str
    words: int
    """In the lines of the change that the question showed; of a long change that is less than all."""


@dataclass(slots=True)
class GivenAnswer:
    """An answer of a person."""

    key: str
    """Of the asking that it answers."""
    at: datetime
    by: str
    answer: str
    has_comment: bool
    signed_in: bool
    forge: str
    others: int
    """So many had approved it before."""
    is_whole: bool
    """Nobody else has to answer."""


class Paid(NamedTuple):
    """For what something was used."""

    attempt: int
    """0 for what came before the first."""
    day: date
    """In UTC."""
    agent: str


@dataclass(slots=True)
class Used:
    """What it came to."""

    usd: float = 0.0
    sandbox_s: float = 0.0
    calls: int = 0


@dataclass(slots=True)
class TaskHistory:
    """A run of a brief."""

    run_id: str
    title: str = ""
    repository: str = ""
    agents: tuple[str, ...] = ()
    """Those that edit."""
    environment: str | None = None
    """Where it releases to; empty: nowhere; None: nobody said yet."""
    asked_by: str = ""
    asked_at: datetime | None = None
    tries: dict[int, AttemptHistory] = field(default_factory=dict)
    commits: dict[str, int] = field(default_factory=dict)
    """Commit that was tested → its attempt. One that was put on a branch that moved has no entry of its own."""
    asked: dict[str, Asking] = field(default_factory=dict)
    given: list[GivenAnswer] = field(default_factory=list)
    looks: dict[tuple[str, str, str], datetime] = field(default_factory=dict)
    """(key of the asking, canonical name, what) → when."""
    merged: str | None = None
    judged: str | None = None
    """The commit that was judged; it differs from `merged` where a forge merged."""
    merged_at: datetime | None = None
    live: set[str] = field(default_factory=set)
    end: str = ""
    reserved: dict[str, tuple[Paid, float]] = field(default_factory=dict)
    """Call that nobody saw the end of → for what, and at most how much in USD."""
    used: dict[Paid, Used] = field(default_factory=dict)
    """Without the calls in `reserved`."""
    models: dict[tuple[int, str], int] = field(default_factory=dict)
    """(attempt, model) → calls of its edits."""
    closed: set[str] = field(default_factory=set)
    """Calls that were metered, until the task ends; a ledger has each once, and `used` has what they cost."""


@dataclass(slots=True)
class Back:
    """A release was taken back."""

    at: datetime
    is_reverted: bool


@dataclass(slots=True)
class Plant:
    """A planted fault."""

    reviewer: str
    answer: str | None = None


class History:
    """Of one ledger. `take` entries of `KINDS` in their order, as they come; those that came before are passed over."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskHistory] = {}
        self.back: dict[str, Back] = {}
        """Revision → when it was first taken back."""
        self.planted: dict[str, Plant] = {}
        self.last = 0
        self.hash = ""

    def take(self, entries: Iterable[Entry]) -> None:
        """Entries that this version cannot read are left out: one of them is no reason to show nothing."""
        for entry in entries:
            if entry.number <= self.last:
                continue
            self.last, self.hash = entry.number, entry.hash
            try:
                self._take(entry)
            except (KeyError, TypeError, AttributeError, ValueError):
                continue

    def _take(self, entry: Entry) -> None:
        body, kind = entry.body, entry.kind
        if kind == ROLLED_BACK.kind:
            known = self.back.get(str(body["failed"]))
            reverted = bool(body.get("revert")) or bool(known and known.is_reverted)
            self.back[str(body["failed"])] = Back(known.at if known else entry.at, reverted)
            return
        if kind == PLANTED.kind:
            self.planted.setdefault(entry.key, Plant(str(body["reviewer"])))
            return
        if kind == PLANTED_ANSWER.kind:
            self.planted[entry.key].answer = str(body["answer"])
            return
        run_id = str(body["run_id"]) if kind in (BILL.kind, METERED.kind, RESERVED.kind) else entry.run_id
        task = self.tasks.setdefault(run_id, TaskHistory(run_id))
        match kind:
            case "submitted":
                task.asked_by = str(body["by"]) if body["signed_in"] else ""
            case "prepared":
                brief = body["brief"]
                edit = tuple((brief.get("roles") or {}).get("edit") or ())
                task.title, task.repository = str(brief["title"]), str(brief["repository"])
                named = (ELSEWHERE,) if brief.get("change") else edit or (str(brief["agent"]),)
                task.agents = tuple(dict.fromkeys(named))
                task.environment = str(brief.get("environment") or "")
                task.asked_at = task.asked_at or entry.at
            case "attempt":
                number, lines = int(body["number"]), body["added_lines"] + body["removed_lines"]
                agent, version = str(body.get("agent") or ""), str(body.get("version") or "")
                task.tries[number] = AttemptHistory(
                    number, agent, version, body["commit"], lines, len(body["changed_paths"]), entry.at
                )
            case "verdict":
                commit = VERDICT.parts(entry.key)["commit"].partition("/")[0]
                for one in task.tries.values():
                    if one.commit == commit:
                        one.is_refused, one.rules = body["decision"] == "refused", tuple(body.get("rules") or ())
            case "question":
                words = words_of(str(body["text"]))
                asking = Asking(entry.key, entry.at, int(body["attempt"]), str(body["commit"]), words)
                task.asked.setdefault(entry.key, asking)
            case "looked":
                key = LOOKED.parts(entry.key)["asking"]
                task.looks.setdefault((key, canonical_name(str(body["by"])), str(body["what"])), entry.at)
            case "approval":
                self._answered(task, entry, body)
            case "merged":
                if body["commit"]:
                    task.merged, task.merged_at = str(body["commit"]), entry.at
                    task.judged = str(body.get("head") or body["commit"])
            case "live":
                task.live.add(str(body["revision"]))
            case "outcome":
                task.end = str(body["end"])
                task.title = str(body.get("title") or task.title)
                task.environment = str(body.get("environment") or "")
                task.closed.clear()
            case _:
                if kind == BILL.kind and body["step"] == TEST:
                    task.commits[BILL.parts(entry.key)["of"]] = int(body["attempt"])
                _spend(task, entry)

    def _answered(self, task: TaskHistory, entry: Entry, body: dict[str, Any]) -> None:
        if body.get("rule") or body["answer"] == "expired":
            return  # the policy's own, or nobody's
        comment = bool(str(body.get("comment") or "").strip()) or bool(body.get("points"))
        key = asking_key(str(body["fingerprint"]), int(body.get("asking") or 1))
        task.given.append(GivenAnswer(
            key, entry.at, str(body["reviewer"]), str(body["answer"]), comment,
            bool(body.get("signed_in")), str(body.get("forge") or ""), len(body.get("others") or ()),
            not body.get("waits_for"),
        ))  # fmt: skip


def _spend(task: TaskHistory, entry: Entry) -> None:
    """As the bill counts it (`domain/bill.py`): a reserved call that was never metered counts in full."""
    body, usd = entry.body, float(entry.body["usd"])
    paid = Paid(int(body["attempt"]), entry.at.date(), str(body.get("agent") or ""))
    if entry.kind == BILL.kind:
        used = task.used.setdefault(paid, Used())
        used.usd += usd
        used.sandbox_s += float(body["sandbox_s"])
        return
    call = str(body["call"])
    if call in task.closed:
        return
    if entry.kind == RESERVED.kind:
        task.reserved.setdefault(call, (paid, usd))
        return
    task.closed.add(call)
    task.reserved.pop(call, None)
    used = task.used.setdefault(paid, Used())
    used.usd += usd
    used.calls += 1
    if task.environment is None and "environment" in body:
        task.environment = str(body["environment"] or "")
    if body["step"] == "edit":
        which = paid.attempt, str(body["model"])
        task.models[which] = task.models.get(which, 0) + 1


def words_of(question: str) -> int:
    """Words in the changed lines that a question shows."""
    found = _DIFF.findall(question)
    lines = found[-1][1].split("\n") if found else []
    return sum(
        len(_WORD.findall(line)) for line in lines if line[:1] in ("+", "-") and not line.startswith(("+++ ", "--- "))
    )
