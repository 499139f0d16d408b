"""What is on the screen of a review: the change that was judged, what the gates saw of it, and what was asked for."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from blocks.ledger.writing import record
from domain.access import STARTED_BY, Role, Token
from domain.diffs import File, files_of
from domain.entry import Entry
from domain.errors import LockgateError
from domain.history import OPENED, SHOWN, Looked, look_at
from domain.policy.reviewers import may_approve, missing
from domain.ports import Forge
from domain.proposal import ACCEPT
from domain.records import (
    APPROVAL,
    ATTEMPT,
    LOOKED,
    OPINION,
    PREPARED,
    QUESTION,
    REHEARSED,
    SCANNED,
    TESTED,
    VERDICT,
    kinds_of,
)
from domain.task import (
    Approval,
    Attempt,
    CaseOutcome,
    CaseRow,
    Finding,
    Opinion,
    Prepared,
    Question,
    Rehearsed,
    Scanned,
    Severity,
    Tested,
    Verdict,
)
from domain.value import Value
from station import api
from station.door.reading import DoorDenied
from station.door.table import ANSWERS
from station.status import ledger_of, read_run

V = TypeVar("V", bound=Value)
KINDS = kinds_of(PREPARED, ATTEMPT, TESTED, SCANNED, REHEARSED, VERDICT, OPINION, QUESTION, APPROVAL)
WEIGHTS = (Severity.REFUSE, Severity.PERSON, Severity.NOTE)

ForgeOf = Callable[[str], Forge]
"""Workshop → its forge."""


class Shown(NamedTuple):
    """A file of the change, with the findings at its lines."""

    file: File
    at: dict[int, list[Finding]]
    beside: list[Finding]
    """Of the file, or of lines that are not shown."""

    @property
    def findings(self) -> list[Finding]:
        return [*self.beside, *(finding for here in self.at.values() for finding in here)]

    @property
    def is_folded(self) -> bool:
        return self.file.is_folded and not self.findings


class WaitingReview(NamedTuple):
    """A question that waits, and all that is needed to answer it."""

    run_id: str
    mark: str
    question: Question
    prepared: Prepared
    attempt: Attempt | None
    base: str
    verdict: Verdict | None
    findings: list[Finding]
    elsewhere: list[Finding]
    """Those that stand at no file that is shown: without a path, or of another file."""
    suppressed: tuple[str, ...]
    tests: list[tuple[str, int, int, int]]
    """(kind, of how many, pass on the change, passed on base)"""
    not_passing: list[CaseRow]
    sentences: list[str]
    opinion: Opinion | None
    reviewer: str
    missing: list[str]
    given: list[str]
    files: list[Shown]
    left_out: int
    problem: str

    @property
    def added(self) -> int:
        return sum(shown.file.added for shown in self.files)

    @property
    def removed(self) -> int:
        return sum(shown.file.removed for shown in self.files)

    def why_not(self, token: Token) -> str | None:
        """Why somebody cannot approve; None if they can."""
        if may_approve(self.question.needs, token.name, self.question.made_by):
            return None
        return f"Your approval does not count here. Who may approve: {', '.join(self.question.reviewers) or 'others'}"


class OpenQuestion(NamedTuple):
    """Anything else that a run waits for, and its text."""

    run_id: str
    kind: str
    title: str
    points: tuple[str, ...]
    text: str
    approval: str = ""
    """The answer that approves the acceptance test that `text` shows; empty: it shows none."""


def known(run_id: str, token: Token, *, to_answer: bool = False) -> dict[str, Any]:
    """A run that this token may look into; `to_answer`: or that asks what it may answer. Raises Denied for others."""
    try:
        run = read_run(str(UUID(run_id)))
    except ValueError:
        raise DoorDenied(404, "there is no such run") from None
    key = str((((run.get("state") or {}).get("state_details")) or {}).get("pause_key") or "")
    form = ANSWERS.get(key.partition("-")[0]) if to_answer and run["state_type"] == "PAUSED" else None
    may_answer = form is not None and token.may(form.role)
    if not (token.sees_all_briefs or may_answer or (run.get("labels") or {}).get(STARTED_BY) == token.name):
        raise DoorDenied(403, f"{token.name} may look into runs that {token.name} started, and not into this one")
    return run


def waits_for(run: dict[str, Any]) -> tuple[str, str]:
    """(kind, mark) of the question that the run waits with. Raises Denied if it waits for nothing."""
    state = run["state"] or {}
    key = str((state.get("state_details") or {}).get("pause_key") or "")
    kind, _, rest = key.partition("-")
    if run["state_type"] != "PAUSED" or not kind:
        late = last_answer(run["id"])
        raise DoorDenied(409, f"The run does not wait for an answer: it is {run['state_name']}. {late}".strip())
    return kind, rest.partition("-")[0]


def asked_of(run: dict[str, Any], kind: str) -> OpenQuestion:
    """Questions of the agent, or what the run lacks."""
    from station import answers

    points: tuple[str, ...] = ()
    digest = answers.proposal_of(run)
    if kind == "questions" and not digest:
        points = answers.questions(run["id"])
    details = (run["state"] or {}).get("state_details") or {}
    place = (details.get("run_input_keyset") or {}).get("description")
    text = str((api.get(f"/flow_runs/{run['id']}/input/{place}") if place and not points else "") or "")
    approval = f"{ACCEPT} {digest}" if digest else ""
    if approval not in text:  # nobody approves what is not on the page
        approval, text = (
            "",
            "The proposed test cannot be shown now, so it cannot be approved here: load the page again.",
        )
    return OpenQuestion(run["id"], kind, run["name"], points, text, approval)


def review_of(run: dict[str, Any], mark: str, forge_of: ForgeOf) -> WaitingReview:
    """The review that the run waits for. Raises Denied if it is not on record."""
    entries = ledger_of(run).entries(run["id"], KINDS)
    asked = [e for e in entries if e.kind == QUESTION.kind and str(e.body["fingerprint"]).startswith(mark)]
    if not asked or not mark:
        raise DoorDenied(
            409, "The ledger does not know this question: it is not shown, for nobody could say what it is about."
        )
    question = Question.model_validate(asked[-1].body)
    before = [entry for entry in entries if entry.number <= asked[-1].number]
    prepared = Prepared.model_validate(_newest(before, "prepared").body)
    commit = question.commit
    of_change = [entry for entry in before if question.attempt]
    attempt = _last(of_change, "attempt", str(question.attempt), Attempt)
    tested, scanned = _last(of_change, "tested", commit, Tested), _last(of_change, "scanned", commit, Scanned)
    rehearsed = _last(of_change, "rehearsed", f"{prepared.brief.environment}/{commit}", Rehearsed)
    verdict = _last(of_change, "verdict", f"{commit}/rehearsed", Verdict) or _last(
        of_change, "verdict", commit, Verdict
    )
    findings = [f for part in (rehearsed, scanned, tested) if part for f in part.findings]
    findings.sort(key=lambda finding: WEIGHTS.index(finding.severity))
    rows = tested.rows if tested else ()
    given = [a for e in entries if e.kind == APPROVAL.kind for a in [Approval.model_validate(e.body)] if a.waits_for
             and a.fingerprint == question.fingerprint]  # fmt: skip
    files, left_out, problem = _change(prepared, question, findings, forge_of)
    placed = {id(finding) for shown in files for finding in shown.findings}
    return WaitingReview(
        run_id=str(run["id"]),
        mark=mark,
        question=question,
        prepared=prepared,
        attempt=attempt,
        base=prepared.base,
        verdict=verdict,
        findings=findings,
        elsewhere=[finding for finding in findings if id(finding) not in placed],
        suppressed=scanned.suppressed if scanned else (),
        tests=[_counted(kind, rows) for kind in dict.fromkeys(row.kind for row in rows)],
        not_passing=[row for row in rows if row.head is not CaseOutcome.PASSED],
        sentences=[part.sentence for part in (tested.mutation, tested.coverage) if part] if tested else [],
        opinion=_last(of_change, "opinion", commit, Opinion),
        reviewer=prepared.brief.roles.review or "",
        missing=[need.sentence for need in missing(question.needs, [a.reviewer for a in given])],
        given=[a.reviewer for a in given],
        files=files,
        left_out=left_out,
        problem=problem,
    )


def note_look(run_id: str, token: Token, mark: str, what: str) -> None:
    """Put on record that somebody who may review saw the page, or lines of the change, for the first time since it was
    asked. It decides nothing. Safe to repeat. Raises Denied if the run does not wait with this question."""
    if what not in (SHOWN, OPENED) or not token.may(Role.REVIEW):
        raise DoorDenied(400, "there is nothing to note")
    run = known(run_id, token)
    kind, waits = waits_for(run)
    if kind != "review" or not mark or waits != mark:
        raise DoorDenied(409, "The run does not wait with this question any more.")
    ledger, run_id = ledger_of(run), str(run["id"])
    entries = ledger.entries(run_id, kinds_of(QUESTION, LOOKED))
    asking = next((e.key for e in reversed(entries) if e.kind == QUESTION.kind and e.key.startswith(mark)), None)
    if asking is None:
        raise DoorDenied(409, "The ledger does not know this question.")
    at = look_at(asking, token.name, what)
    if not any((entry.kind, entry.key) == at for entry in entries):
        record(ledger.url, run_id, *at, Looked(by=token.name, what=what))


def last_answer(run_id: str) -> str:
    """Who answered it last, for who came too late; empty if nobody knows."""
    try:
        given = ledger_of(read_run(run_id)).entries(run_id, (APPROVAL.kind,))
    except LockgateError:
        return ""
    if not given:
        return ""
    answer = Approval.model_validate(given[-1].body)
    return f"{answer.reviewer} answered: {answer.answer}."


def _change(
    prepared: Prepared, question: Question, findings: Sequence[Finding], forge_of: ForgeOf
) -> tuple[list[Shown], int, str]:
    """The files of the change that was judged; why they cannot be shown."""
    if not question.attempt:
        return [], 0, ""
    brief = prepared.brief
    try:
        diff = forge_of(brief.workshop).diff(brief.repository, prepared.base, question.commit)
    except LockgateError as err:
        return [], 0, f"The change cannot be shown: {err}"
    files, left_out = files_of(diff)
    return [_with_findings(file, findings) for file in files], left_out, ""


def _with_findings(file: File, findings: Sequence[Finding]) -> Shown:
    mine = [finding for finding in findings if finding.path in (file.path, file.was)]
    shown = {line.new for line in file.lines if line.new is not None}
    at: dict[int, list[Finding]] = defaultdict(list)
    for finding in mine:
        if finding.path == file.path and finding.line is not None and finding.line in shown:
            at[finding.line].append(finding)
    placed = [finding for here in at.values() for finding in here]
    return Shown(file, dict(at), [finding for finding in mine if finding not in placed])


def _counted(kind: str, rows: Sequence[CaseRow]) -> tuple[str, int, int, int]:
    mine = [row for row in rows if row.kind == kind]
    good = CaseOutcome.PASSED
    return kind, len(mine), sum(row.head is good for row in mine), sum(row.base is good for row in mine)


def _newest(entries: Sequence[Entry], kind: str) -> Entry:
    found = next((entry for entry in reversed(entries) if entry.kind == kind), None)
    if found is None:
        raise DoorDenied(409, "The ledger does not know how this run began: it cannot be shown.")
    return found


def _last(entries: Sequence[Entry], kind: str, key: str, type_: type[V]) -> V | None:
    found = next((entry for entry in reversed(entries) if (entry.kind, entry.key) == (kind, key)), None)
    return type_.model_validate(found.body) if found else None
