"""What is on the screen of a task: where it stands in the loop, what happened so far, what it cost, and its log."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from domain.access import STARTED_BY, Role, Token
from domain.bill import KINDS as OF_BILL
from domain.bill import By, ChargeSum, bill, dollars
from domain.entry import Entry
from domain.records import APPROVAL, ATTEMPT, BILL, METERED, RESERVED, VERDICT, kinds_of, sentence_of
from domain.task import Answer, Attempt, CaseRow, Decision, Finding, Outcome, Scanned, Tested, Verdict
from domain.value import digest_of
from station import api
from station.desk.moves import Stand
from station.door.table import MAY_CANCEL_ANY, MAY_CANCEL_OWN
from station.status import DELETED, ledger_of

STEPS = ("prepare", "plan", "edit", "test", "judge", "review", "merge", "deploy", "health", "live")
"""The loop, from left to right."""
OF_TASK = {
    "prepare": "prepare", "propose": "plan", "plan": "plan", "edit": "edit", "test": "test", "security_scan": "test",
    "rehearse": "judge",
    "review": "review", "review_gate": "review", "merge": "merge", "deploy": "deploy", "first_release": "deploy",
    "health_check": "health", "rollback": "health",
}  # fmt: skip
"""How the name of a running task begins → the step."""
AFTER = {
    "prepared": "plan", "proposal": "plan", "plan": "edit", "attempt": "test", "tested": "judge", "scanned": "judge",
    "verdict": "review",
    "question": "review", "approval": "merge", "merged": "deploy", "deploy-started": "deploy", "deployed": "health",
    "health": "live", "live": "live", "rolled_back": "edit",
}  # fmt: skip
"""Kind of the newest entry → the step that comes then."""
ASKS = {"review": "review", "questions": "plan", "ready": "merge", "forge": "merge", "window": "deploy", "push": "edit"}
"""What a suspended run waits for → the step. One whose forge does not answer may be at any."""
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
NOT_OF_STORY = kinds_of(BILL, METERED, RESERVED)
LOG_LINES = 200
MOST_ROWS = 500
NEWEST = 50


class AttemptRow(NamedTuple):
    """One attempt, and what came of it."""

    attempt: Attempt
    verdict: Verdict | None


class TaskRow(NamedTuple):
    """A run."""

    run_id: str
    title: str
    state: str
    message: str
    is_over: bool
    asks: str
    """What it waits for, as its key begins; empty: for nobody."""
    at: str
    """The step of `STEPS` where it stands."""
    mark: str
    """Of its stand: another one means that something moved."""
    turns: int
    goal: str
    is_brief: bool
    """False: a rollback, say, which has no loop."""
    outcome: Outcome | None
    story: list[tuple[datetime, str]]
    tries: list[AttemptRow]
    rows: tuple[CaseRow, ...]
    row_count: int
    findings: tuple[Finding, ...]
    lines: Sequence[ChargeSum]
    usd: str
    log: list[tuple[str, str]]
    may_stop: bool


def newest() -> list[dict[str, Any]]:
    """The runs of briefs that were submitted last."""
    return api.newest(NEWEST, api.in_short)


def task_of(run: dict[str, Any], token: Token, entries: Sequence[Entry] | None = None) -> TaskRow:
    """Everything on the page, from the ledger and the server; `entries`: what is to be told of it."""
    run_id = str(run["id"])
    if entries is None:
        entries = ledger_of(run).entries(run_id)
    state = run["state"] or {}
    is_over = _is_over(run)
    key = str((state.get("state_details") or {}).get("pause_key") or "")
    asks = key.partition("-")[0] if run["state_type"] == "PAUSED" else ""
    verdicts = {e.key.partition("/")[0]: Verdict.model_validate(e.body) for e in entries if e.kind == VERDICT.kind}
    made = [Attempt.model_validate(entry.body) for entry in entries if entry.kind == ATTEMPT.kind]
    tested = _newest(entries, "tested", Tested)
    scanned = _newest(entries, "scanned", Scanned)
    running = [] if is_over else _running(run_id)
    log = _log(run_id) if run["state_name"] != DELETED else []
    bought = bill([entry for entry in entries if entry.kind in OF_BILL])
    brief = run["parameters"].get("brief") if isinstance(run.get("parameters"), Mapping) else None
    return TaskRow(
        run_id=run_id,
        title=str(run["name"]),
        state=str(run["state_name"]),
        message=str(state.get("message") or ""),
        is_over=is_over,
        asks=asks,
        at=_at(running, entries, asks, is_over),
        mark=_mark(run, entries[-1].number if entries else 0, running, log),
        turns=len(made),
        goal=str(brief.get("goal", "")) if isinstance(brief, Mapping) else "",
        is_brief=isinstance(brief, Mapping),
        outcome=_newest(entries, "outcome", Outcome),
        story=[(e.at, line) for e in entries if e.kind not in NOT_OF_STORY and (line := sentence_of(e.kind, e.body))],
        tries=[AttemptRow(attempt, verdicts.get(attempt.commit or "")) for attempt in made],
        rows=tested.rows[:MOST_ROWS] if tested else (),
        row_count=len(tested.rows) if tested else 0,
        findings=(*(scanned.findings if scanned else ()), *(tested.findings if tested else ())),
        lines=bought.by(By.STEP),
        usd=dollars(bought.total.usd),
        log=[(at[11:19], line) for at, line in log],
        may_stop=not is_over and _may_stop(run, token),
    )


def stand_of(run: dict[str, Any]) -> Stand:
    """Where the run stands, by little questions: what its page asks whenever it is to be told that something moved."""
    run_id, is_over = str(run["id"]), _is_over(run)
    if is_over:
        return Stand("over", True)
    newest = ledger_of(run).newest(run_id)
    return Stand(_mark(run, newest, _running(run_id), _log(run_id, 1)), False)


def _is_over(run: Mapping[str, Any]) -> bool:
    return run["state_type"] in FINAL or run["state_name"] == DELETED


def _mark(run: Mapping[str, Any], newest: int, running: Sequence[str], log: Sequence[tuple[str, str]]) -> str:
    at = str((run["state"] or {}).get("timestamp") or "")
    return digest_of([run["state_name"], at, newest, sorted(running), log[-1][0] if log else ""])[:32]


def _may_stop(run: Mapping[str, Any], token: Token) -> bool:
    """As the door decides it: the page offers nothing that would be refused."""
    is_own = (run.get("labels") or {}).get(STARTED_BY) == token.name
    return token.may(MAY_CANCEL_ANY) or token.may(Role.ADMINISTER) or (is_own and token.may(MAY_CANCEL_OWN))


def _at(running: Sequence[str], entries: Sequence[Entry], asks: str, is_over: bool) -> str:
    if asks in ASKS:
        return ASKS[asks]
    for task in running:
        if step := OF_TASK.get(task.partition("-")[0]):
            return step
    last = next((entry for entry in reversed(entries) if entry.kind in AFTER), None)
    if last is None:
        return "prepare"
    if last.kind == VERDICT.kind and last.body["decision"] == Decision.REFUSED:
        return "judge" if is_over else "edit"
    if last.kind == APPROVAL.kind and last.body["answer"] != Answer.APPROVE:
        return "review" if is_over else "edit"
    return AFTER[last.kind]


def _running(run_id: str) -> list[str]:
    """Names of its tasks that run now."""
    wanted = {"flow_runs": {"id": {"any_": [run_id]}}, "task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    return [str(task["name"]) for task in api.post("/task_runs/filter", wanted) or []]


def _log(run_id: str, most: int = LOG_LINES) -> list[tuple[str, str]]:
    """(when, what) of the newest lines of the run's log, oldest first."""
    wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_DESC", "limit": most}
    found = api.post("/logs/filter", wanted) or []
    return [(str(line["timestamp"]), str(line["message"])) for line in reversed(found)]


def _newest(entries: Sequence[Entry], kind: str, type_: Any) -> Any:
    found = next((entry for entry in reversed(entries) if entry.kind == kind), None)
    return type_.model_validate(found.body) if found else None
