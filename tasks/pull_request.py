"""pull_request: what no gate refused is put where the team reviews, if the repository lives at a hosted forge.

One pull request a change that may be merged, found again by its branch `lockgate/RUN`; the next attempt moves the same
one. Nothing that a gate refused is pushed: it may hold a secret, or a workflow that the forge would run. What an agent
wrote is shown as code: no mention, closing keyword, picture or HTML of it has an effect.
"""

import contextlib
import json
import re
from collections.abc import Callable, Sequence

from prefect import get_run_logger
from prefect.exceptions import MissingContextError
from prefect.input import RunInput
from pydantic import Field

from blocks.workshop import Workshop, workshop_of
from domain.brief import Brief
from domain.errors import ForgeError, InputError, NotYet, Protected, Unapproved, reason_of
from domain.issues import AskedFor
from domain.policy.pull_review import Heard, hear
from domain.policy.reviewers import needs, owners_of
from domain.ports import HostedForge
from domain.prompts import fence
from domain.pull_request import (
    Annotation,
    DeploymentState,
    Level,
    LineRemark,
    Proposed,
    PullRequest,
    PullState,
    Reverting,
    ReviewState,
    Status,
    StatusState,
)
from domain.records import (
    ASKED_FOR,
    ATTEMPT,
    MERGED,
    PLAN,
    PULL_REQUEST,
    REVERT,
    REVERTED,
    REVERTING,
    SCANNED,
    TESTED,
    WAITS_FOR_FORGE,
)
from domain.task import (
    Approval,
    Attempt,
    Evidence,
    Feedback,
    Finding,
    Merged,
    Outcome,
    Plan,
    Prepared,
    Question,
    Scanned,
    Severity,
    Tested,
    Verdict,
)
from domain.text import block, one_line
from domain.value import Value
from tasks.edit import pack_commit
from tasks.pages import show
from tasks.pages.sarif import as_sarif
from tasks.people.asking import answered
from tasks.people.pager import page
from tasks.step import step

SUMMARY = "lockgate"
"""The status that tells of all gates and the review: the one to require on a branch."""
MOST_ROWS, MOST_FINDINGS, MOST_ANNOTATIONS, MOST_CHARS = 40, 30, 200, 5_000
MOST_AT_A_LINE, MOST_BYTES = 5, 2_000_000
"""Findings of one line, and bytes of a file at whose lines something is said."""
LEVELS = {Severity.REFUSE: Level.FAILURE, Severity.PERSON: Level.WARNING, Severity.NOTE: Level.NOTICE}
PATIENT = 5
"""How often a run looks, a second apart, while its forge computes whether it can merge; then it is suspended."""
DECIDING = (ReviewState.APPROVED, ReviewState.CHANGES_REQUESTED)
AWAY, MOST_WAITS = "away", 12
"""How the key of a run that waits for its forge to answer begins; and how often it waits, before a person is asked."""


class WaitsForForge(Value):
    """A run is suspended until its hosted forge answers, or lets its pull request be merged."""

    reason: str


class Allowed(RunInput):
    """What lets a run look again whether the forge's own rules let it merge."""

    looked_by: str = Field(min_length=1, description="Your name, for the record: the forge is asked again")


@step("pull_request", "pull_request-{evidence.attempt.number}")
def propose(prepared: Prepared, evidence: Evidence, verdict: Verdict, mark: str) -> Proposed | None:
    """Branch, pull request, statuses; None if the repository has no hosted forge.

    Safe to repeat per fingerprint: branch, pull request and each status are looked for first. Raises ForgeError if
    somebody else moved the branch.
    """
    shop, brief, run = workshop_of(prepared.brief), prepared.brief, prepared.run_id
    host, commit = shop.forge.hosted(brief.repository), evidence.attempt.commit
    if host is None or commit is None:
        return None
    if brief.pull:
        return _at_their_own(shop, prepared, evidence, verdict, mark, host)
    branch = branch_of(shop, run)
    before = [one for one in _proposals(shop, run) if one.branch == branch]
    other = shop.forge.publish(brief.repository, branch, commit, [one.head for one in before])
    if other:
        raise ForgeError(
            f"somebody moved {branch} of {brief.repository} to {other[:12]}: nothing is pushed over it. Take the "
            "branch away, and send the brief anew"
        )
    body = description(shop, prepared, evidence, verdict, host)
    pull = host.propose(brief.repository, branch, brief.branch, _title(brief), body, draft=True)
    host.report(brief.repository, commit, statuses(evidence))
    host.report(brief.repository, commit, (_summary(StatusState.PENDING, "no gate refuses it; waits for a review"),))
    _list_findings(host, brief.repository, pull.number, commit, evidence)
    if evidence.attempt.source:
        _say_at_lines(shop, host, brief.repository, pull.number, commit, evidence)
    if pull.state is PullState.OPEN:
        if not before:  # later on it is a draft because somebody made it one: that stands
            host.mark_ready(brief.repository, pull)
        owners = owners_of(shop.forge.tree(brief.repository, prepared.base))
        asked = needs(prepared, owners, evidence.attempt.changed_paths)
        host.ask_reviewers(brief.repository, pull.number, [name for need in asked for name in need.names])
    proposed = Proposed(
        host=host.host,
        repository=brief.repository,
        number=pull.number,
        url=pull.url,
        branch=branch,
        head=commit,
        base=brief.branch or "",
    )
    return shop.ledger.record(run, *PULL_REQUEST.at(mark), proposed)


def _at_their_own(
    shop: Workshop, prepared: Prepared, evidence: Evidence, verdict: Verdict, mark: str, host: HostedForge
) -> Proposed:
    """What the gates say of a pull request that somebody else opened, at its head and in our comment. Nothing is
    pushed, and its text stays theirs."""
    brief, run, attempt = prepared.brief, prepared.run_id, evidence.attempt
    number, head = brief.pull or 0, attempt.source or ""
    pull = host.pull_request(brief.repository, number)
    before = max((one.id for one in host.reviews(brief.repository, number)), default=0)
    host.report(brief.repository, head, statuses(evidence))
    host.report(brief.repository, head, (_summary(StatusState.PENDING, "no gate refuses it; waits for a review"),))
    _list_findings(host, brief.repository, number, head, evidence)
    _say_at_lines(shop, host, brief.repository, number, head, evidence)
    if pull.state is PullState.OPEN:
        owners = owners_of(shop.forge.tree(brief.repository, prepared.base))
        asked = needs(prepared, owners, attempt.changed_paths)
        names = [name for need in asked for name in need.names]
        host.ask_reviewers(brief.repository, number, [one for one in names if not (pull.by and one == pull.by.login)])
    host.comment(brief.repository, number, f"lockgate:{run}", description(shop, prepared, evidence, verdict, host))
    proposed = Proposed(
        host=host.host,
        repository=brief.repository,
        number=number,
        url=pull.url,
        branch=pull.branch,
        head=head,
        base=brief.branch,
        judged=attempt.commit or "",
        by=pull.by.login if pull.by else "",
        after=before,
    )
    return shop.ledger.record(run, *PULL_REQUEST.at(mark), proposed)


@step("pull_request", "pull_request-{attempt.number}-refused")
def tell_refused(run: str, brief: Brief, attempt: Attempt, why: Feedback) -> None:
    """What is wrong with a change that somebody opened a pull request for: at its head, and in our comment. For any
    other there is nowhere to say it. Safe to repeat; not repeated once a newer attempt has spoken."""
    shop = workshop_of(brief)
    host = shop.forge.hosted(brief.repository) if brief.pull else None
    if host is None or brief.pull is None or attempt.source is None:
        return
    tested = shop.ledger.find(run, *TESTED.at(attempt.commit), Tested) if attempt.commit else None
    scanned = shop.ledger.find(run, *SCANNED.at(attempt.commit), Scanned) if attempt.commit else None
    if tested and scanned:
        evidence = Evidence(attempt=attempt, tested=tested, scanned=scanned)
        host.report(brief.repository, attempt.source, statuses(evidence))
        _list_findings(host, brief.repository, brief.pull, attempt.source, evidence)
        _say_at_lines(shop, host, brief.repository, brief.pull, attempt.source, evidence)
    first = why.points[0] if why.points else why.source
    state = _summary(StatusState.FAILURE, f"waits for a push: {one_line(' '.join(first.split()))}")
    host.report(brief.repository, attempt.source, (state,))
    more = f"\n- … and {len(why.points) - MOST_FINDINGS} more" if len(why.points) > MOST_FINDINGS else ""
    points = "\n".join(f"- {inert(point)}" for point in why.points[:MOST_FINDINGS]) + more
    desk = f" [The desk]({host.desk_url.rstrip('/')}/desk/task/{run}) has the whole story." if host.desk_url else ""
    text = (
        f"**Refused** by {inert(why.source)} · attempt {attempt.number} · {inert(attempt.source)}\n\n{points}\n\n"
        f"Push what mends it: that is the next attempt. Close the pull request to end it.{desk}"
    )
    host.comment(brief.repository, brief.pull, f"lockgate:{run}", text)


def _list_findings(host: HostedForge, repository: str, number: int, commit: str, evidence: Evidence) -> None:
    """For the forge's own list of findings, where it has one. Output alone: it fails no run. Why it takes none is said
    once in a run's process."""
    rehearsed = evidence.rehearsed.findings if evidence.rehearsed else ()
    findings = (*rehearsed, *evidence.scanned.findings, *evidence.tested.findings)
    log = json.dumps(as_sarif(findings, repository, commit)).encode()
    try:
        why = host.scan_results(repository, commit, f"refs/pull/{number}/head", log)
    except Exception as err:
        why = reason_of(err)
    if why and why not in _not_listed:
        _not_listed.add(why)
        _log_that(f"the findings are not in its code scanning: {why}")


_not_listed: set[str] = set()


def _say_at_lines(
    shop: Workshop, host: HostedForge, repository: str, number: int, head: str, evidence: Evidence
) -> None:
    """What the gates say of lines of a change that was made elsewhere, at those lines, once a head; the worst first.
    Our comment has it all, so a forge that takes none fails no run."""
    rehearsed = evidence.rehearsed.findings if evidence.rehearsed else ()
    found: dict[tuple[str, int], list[Finding]] = {}
    for one in sorted((*rehearsed, *evidence.scanned.findings, *evidence.tested.findings), key=_rank):
        if one.path and one.line and one.line > 0:
            found.setdefault((one.path, one.line), []).append(one)
    if not found or evidence.attempt.commit is None:
        return
    try:
        paths = {path for path, _ in found}
        theirs = shop.forge.files(repository, head, paths, MOST_BYTES)
        judged = shop.forge.files(repository, evidence.attempt.commit, paths, MOST_BYTES)
        remarks = [
            LineRemark(
                path=path,
                line=line,
                where=inert(f"{path}:{line}"),
                text=" · ".join(_remark(one) for one in dict.fromkeys(some[:MOST_AT_A_LINE])),
                is_as_judged=path in theirs and theirs[path] == judged.get(path),
            )
            for (path, line), some in found.items()
        ]
        host.remark(repository, number, head, remarks)
    except NotYet:
        raise  # the step is tried again
    except (ForgeError, InputError) as err:
        _log_that(err)


def _rank(finding: Finding) -> int:
    return list(LEVELS).index(finding.severity)


def _remark(finding: Finding) -> str:
    fix = f" ({inert(finding.fix)})" if finding.fix else ""
    return f"{inert(finding.gate)} {inert(finding.rule)}: {inert(finding.message)}{fix}"


def branch_of(shop: Workshop, run: str) -> str:
    """Its branch: one for each merge, since a pull request that was merged takes no more commits."""
    merges = sum(bool(entry.body["commit"]) for entry in shop.ledger.entries(run_id=run, kind=MERGED.kind))
    return f"lockgate/{run}" + (f"-{merges + 1}" if merges else "")


def _proposals(shop: Workshop, run: str) -> list[Proposed]:
    return [Proposed.model_validate(entry.body) for entry in shop.ledger.entries(run_id=run, kind=PULL_REQUEST.kind)]


# ── what is said there ──


def description(shop: Workshop, prepared: Prepared, evidence: Evidence, verdict: Verdict, host: HostedForge) -> str:
    """The body: brief, plan, evidence, findings, and where to look further."""
    a, brief = evidence.attempt, prepared.brief
    plans = shop.ledger.entries(run_id=prepared.run_id, kind=PLAN.kind)
    steps = Plan.model_validate(plans[-1].body).steps if plans else ()
    findings = [*evidence.tested.findings, *evidence.scanned.findings]
    rows = evidence.tested.rows
    parts = [
        f"**{verdict.decision}** by the gates · attempt {a.number} · +{a.added_lines} −{a.removed_lines} in "
        f"{len(a.changed_paths)} files · made by {inert(a.agent or brief.agent)}",
        f"## Brief\n\n{fence(brief.goal)}",
        "## Plan\n\n" + "\n".join(f"{n}. {inert(step)}" for n, step in enumerate(steps, 1)) if steps else "",
        f"## Evidence\n\n{show.count(rows)}",
        _table(evidence),
        "## Findings\n\n" + ("\n".join(f"- {inert(one.sentence)}" for one in findings[:MOST_FINDINGS]) or "- none"),
        f"… and {len(findings) - MOST_FINDINGS} more" if len(findings) > MOST_FINDINGS else "",
        "## Why a person\n\n" + "\n".join(f"- {inert(one)}" for one in verdict.reasons) if verdict.reasons else "",
        _opinion(evidence),
        _how_to_answer(a),
        f"[The desk]({host.desk_url.rstrip('/')}/desk/task/{prepared.run_id}) has the whole story."
        if host.desk_url
        else f"Run {inert(prepared.run_id)}.",
        asked_for(shop, prepared.run_id),
    ]
    return "\n\n".join(part for part in parts if part)


def _how_to_answer(attempt: Attempt) -> str:
    if attempt.source:
        return (
            f"An approval counts for commit {inert(attempt.source)} alone, while the branch stands there. What is "
            "pushed is the next attempt, and judged again. The platform merges it."
        )
    return (
        f"An approval counts for commit {inert(str(attempt.commit))} alone, while its branch stands there. Request "
        "changes, with comments at lines, and the agent gets them. Push nothing to this branch; the platform merges it."
    )


def asked_for(shop: Workshop, run: str) -> str:
    """Which issue asked for it; empty: none did. The word that closes it at the merge is there if policy says so."""
    asked = shop.ledger.find(run, *ASKED_FOR.at(), AskedFor)
    return "" if asked is None else f"{'Closes' if asked.closes else 'Asked for at'} {asked.name or f'#{asked.number}'}"


def _table(evidence: Evidence) -> str:
    rows = evidence.tested.rows
    shown = [f"| {inert(row.test)} | {row.kind} | {row.base} | {row.head} |" for row in rows[:MOST_ROWS]]
    more = f"\n\n… and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
    return "\n".join(["| test | kind | on base | on the change |", "|---|---|---|---|", *shown]) + more


def _opinion(evidence: Evidence) -> str:
    said = evidence.opinion
    if said is None:
        return ""
    return f"## Another agent says\n\n{fence(said.summary)}\n\n" + "\n".join(f"- {inert(one)}" for one in said.concerns)


def inert(text: str) -> str:
    """Text of an agent or a tool as one code span: forges look for mentions, references, HTML and pictures everywhere
    else (https://github.github.com/gfm/#code-spans). A bar would end a cell of a table there too."""
    line = one_line(" ".join(text.split()), 500).replace("|", "¦")
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    ticks = "`" * (longest + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line or ' '}`"


def _title(brief: Brief) -> str:
    """A title holds no Markdown; a mention in it calls nobody."""
    return one_line(" ".join(brief.title.split()))


def statuses(evidence: Evidence) -> tuple[Status, ...]:
    """One for each gate that looked."""
    tested, scanned, rehearsed = evidence.tested, evidence.scanned, evidence.rehearsed
    by = f"{len(scanned.findings)} findings by {len(scanned.scanners)} scanners"
    said = [
        _status("lockgate/tests", tested.findings, _flat(show.count(tested.rows)), _table(evidence)),
        _status("lockgate/security", scanned.findings, by),
    ]
    if rehearsed:
        sentence = f"{rehearsed.migration_class}, rehearsed on a copy"
        said.append(_status("lockgate/migration", rehearsed.findings, sentence))
    return tuple(said)


def _status(context: str, findings: Sequence[Finding], sentence: str, more: str = "") -> Status:
    at_lines = tuple(_annotation(one) for one in findings if one.path)[:MOST_ANNOTATIONS]
    lines = [f"- {inert(one.sentence)}" for one in findings[:MOST_FINDINGS]]
    if len(findings) > MOST_FINDINGS:
        lines.append(f"- … and {len(findings) - MOST_FINDINGS} more")
    text = "\n\n".join(part for part in ("\n".join(lines), more) if part)
    return Status(context=context, state=_state(findings), sentence=sentence, text=text, annotations=at_lines)


def _annotation(finding: Finding) -> Annotation:
    """A forge shows it as plain text; of a whole file, it stands at its first line."""
    fix = f"\n\n{finding.fix}" if finding.fix else ""
    return Annotation(
        path=str(finding.path),
        line=max(1, finding.line or 1),
        level=LEVELS[finding.severity],
        title=one_line(finding.rule, 200),
        message=block(f"{finding.message}{fix}", escape=True)[:MOST_CHARS],
    )


def _state(findings: Sequence[object]) -> StatusState:
    refused = any(getattr(one, "severity", None) is Severity.REFUSE for one in findings)
    return StatusState.FAILURE if refused else StatusState.SUCCESS


def _flat(text: str) -> str:
    return "; ".join(line.removeprefix("- ") for line in text.splitlines())


def _summary(state: StatusState, sentence: str) -> Status:
    return Status(context=SUMMARY, state=state, sentence=sentence)


# ── what people decide there ──


def proposed_at(shop: Workshop, run: str, mark: str) -> tuple[Proposed | None, HostedForge | None]:
    """The pull request of what has this fingerprint, and the forge that it is at; None for what there is not."""
    proposed = shop.ledger.find(run, *PULL_REQUEST.at(mark), Proposed)
    return proposed, shop.forge.hosted(proposed.repository) if proposed else None


def heard(shop: Workshop, run: str, question: Question, given: Sequence[str] = ()) -> Heard | None:
    """What the people there have decided about exactly this change, asked now; None if it is at no hosted forge."""
    proposed, host = proposed_at(shop, run, question.fingerprint)
    if proposed is None or host is None:
        return None
    at, number = proposed.repository, proposed.number
    pull = host.pull_request(at, number)
    reviews = host.reviews(at, number) if pull.state is not PullState.CLOSED else ()
    deciding = [one for one in reviews if one.commit == proposed.head and one.state in DECIDING]
    threads = host.threads(at, number) if deciding else ()
    return hear(
        question,
        proposed,
        pull,
        reviews,
        threads,
        may_write=lambda person: host.may_write(at, person),
        me=host.me(at) if reviews or pull.state is PullState.MERGED else "",
        given=given,
    )


def approval_of(said: Heard, mark: str, host: str, asking: int) -> Approval | None:
    """The answer, as the ledger keeps it; None if nothing is decided."""
    if said.answer is None:
        return None
    names = [person.login for person in said.by] or ["somebody"]
    return Approval(
        answer=said.answer,
        reviewer=names[-1],
        comment=said.comment,
        fingerprint=mark,
        others=tuple(names[:-1]),
        forge=host,
        asking=asking,
        points=said.points,
    )


# ── merge ──


def until_allowed(prepared: Prepared, mark: str, stands: Callable[[], bool]) -> None:
    """Suspend while the forge's own rules do not let the pull request be merged, and what was approved stands. The
    supervisor asks it, and wakes the run; so may a person."""
    shop, run = workshop_of(prepared.brief), prepared.run_id
    proposed, host = proposed_at(shop, run, mark)
    if proposed is None or host is None:
        return
    host.report(proposed.repository, proposed.head, (_summary(StatusState.SUCCESS, "judged, and approved"),))
    for turn in range(100):
        why = host.why_blocked(proposed.repository, proposed.number, looks=PATIENT)
        if why is None or not stands():
            return
        title = f"{show.quote(prepared.brief.title)}: approved, and {show.quote(proposed.host)} does not merge it yet"
        key = f"forge-{mark[:16]}-{turn}"
        shop.ledger.record(run, *WAITS_FOR_FORGE.at(key), WaitsForForge(reason=why))
        answered(Allowed, f"# {title}\n\n{why}", key)
    raise RuntimeError("a hundred times the forge did not let it be merged; the run stops waiting")


def tell_asked_again(prepared: Prepared, mark: str, why: str) -> None:
    """What was called approved at the forge waits for a review once more."""
    shop = workshop_of(prepared.brief)
    proposed, host = proposed_at(shop, prepared.run_id, mark)
    if proposed and host:
        said = _summary(StatusState.PENDING, f"waits for a review again: {why}")
        host.report(proposed.repository, proposed.head, (said,))


def wait_for_forge(run: str, brief: Brief, why: NotYet) -> None:
    """Suspend until the hosted forge answers again: the supervisor asks it, less often each time, and wakes the run.
    Returns where the run has waited `MOST_WAITS` times."""
    for turn in range(MOST_WAITS):
        key = f"{AWAY}-{turn}"
        workshop_of(brief).ledger.record(run, *WAITS_FOR_FORGE.at(key), WaitsForForge(reason=str(why)))
        answered(Allowed, f"# {show.quote(brief.title)}: its forge is waited for\n\n{show.quote(str(why))}", key)


def pause_s(turn: int) -> float:
    """How long a run waits for its forge at least, the `turn`th time: 15 s to 10 minutes, 75 minutes in all."""
    return min(15.0 * float(2**turn), 600.0)


def is_merged(shop: Workshop, proposed: Proposed) -> bool:
    """Whether the forge has merged exactly what was judged."""
    host = shop.forge.hosted(proposed.repository)
    pull = host.pull_request(proposed.repository, proposed.number) if host else None
    return pull is not None and pull.state is PullState.MERGED and pull.head == proposed.head


def merge_there(
    shop: Workshop, prepared: Prepared, evidence: Evidence, proposed: Proposed, allowed: Callable[[], object]
) -> tuple[str | None, str | None]:
    """(the commit on the branch, None), or (None, where the branch stands instead). Looks whether it is merged;
    `allowed` is called right before it is, and what it raises stops it.

    Raises Unapproved if the pull request holds anything but what was judged, or was closed; NotYet where the forge
    refuses for now; ForgeError where it refuses for good, or where what came out is not what was tested.
    """
    brief, head = prepared.brief, proposed.head
    host = shop.forge.hosted(brief.repository)
    if host is None:
        raise ForgeError(
            f"{brief.repository} has no hosted forge any more: name its block again, and send the brief anew"
        )
    pull = host.pull_request(brief.repository, proposed.number)
    if pull.head != head:
        raise Unapproved(f"{pull.url} stands at {pull.head[:12]}, and {head[:12]} was judged")
    if pull.base != brief.branch:
        raise Unapproved(f"{pull.url} leads to {pull.base} now, and {brief.branch} was judged")
    if pull.state is PullState.CLOSED:
        raise Unapproved(f"{pull.url} was closed without a merge")
    if pull.state is not PullState.MERGED and (tip := shop.forge.base(brief.repository, brief.branch)) != prepared.base:
        return None, tip
    _, _, message = shop.forge.message(brief.repository, evidence.attempt.commit or "").partition("\n")
    allowed()
    title = f"{_title(brief)} (#{pull.number})"
    answer = host.merge(brief.repository, pull, head, title, message.strip(), one=bool(proposed.judged))
    if answer.commit is None:
        tip = shop.forge.base(brief.repository, brief.branch)
        if tip != prepared.base:
            return None, tip
        if answer.is_moved:
            raise Unapproved(f"{pull.url} is not as it was when it was judged: {answer.reason}")
        kind = NotYet if answer.may_pass else ForgeError
        raise kind(f"{host.host} did not merge {pull.url}: {answer.reason}")
    if not shop.forge.contains(brief.repository, brief.branch, answer.commit):  # it brings it here
        raise ForgeError(f"{pull.url} became {answer.commit[:12]}, which is not on {brief.branch}: look where it went")
    if shop.forge.tree_id(brief.repository, answer.commit) != evidence.attempt.tree:
        raise ForgeError(
            f"{pull.url} became {answer.commit[:12]}, which is not what was tested: {brief.branch} moved in that "
            "moment. Nothing was released. Look at it, revert it by hand if need be, and require branches to be up to "
            "date"
        )
    return answer.commit, None


# ── the way back ──


class Reverted(Value):
    """A pull request took a merge back."""

    commit: str


def take_back(prepared: Prepared, revision: str, reason: str) -> tuple[str | None, str | None]:
    """(the commit on the branch that reverts `revision`, None); where the branch takes no push, (None, the page of the
    pull request that will). Safe to repeat."""
    shop, brief = workshop_of(prepared.brief), prepared.brief
    try:
        return shop.forge.revert(brief.repository, brief.branch, revision, reason), None
    except Protected:
        host = shop.forge.hosted(brief.repository)
        if host is None:
            raise
    proposed = _propose_revert(shop, host, prepared, revision, reason)
    return None, proposed.url


def _propose_revert(shop: Workshop, host: HostedForge, prepared: Prepared, revision: str, reason: str) -> Proposed:
    """Its commit is in the store and on record before it is pushed: what is tried again, anywhere, pushes the same."""
    brief, run = prepared.brief, prepared.run_id
    commit = shop.forge.undo(brief.repository, brief.branch, revision, reason)
    pack_commit(shop, prepared, commit, revision)
    made = shop.ledger.record(run, *REVERTING.at(revision), Reverting(commit=commit))
    branch = f"lockgate/revert-{revision[:12]}"
    if other := shop.forge.publish(brief.repository, branch, made.commit, ()):
        raise ForgeError(
            f"somebody made {branch} of {brief.repository}, at {other[:12]}: take it away, and revert by hand"
        )
    title, _, _ = shop.forge.message(brief.repository, made.commit).partition("\n")
    body = (
        f"{inert(revision)} was rolled back from {inert(str(brief.environment))}.\n\n{inert(reason)}\n\nThis takes its "
        f"merge back, and nothing else. The run {inert(run)} goes on once it is merged; the platform merges it as soon "
        "as the branch's rules let it."
    )
    pull = host.propose(brief.repository, branch, brief.branch, one_line(title), body, draft=False)
    told_ = _summary(StatusState.SUCCESS, "takes back what was sick in production")
    host.report(brief.repository, made.commit, (told_,))
    proposed = Proposed(
        host=host.host,
        repository=brief.repository,
        number=pull.number,
        url=pull.url,
        branch=branch,
        head=made.commit,
        base=brief.branch,
    )
    return shop.ledger.record(run, *REVERT.at(revision), proposed)


def until_reverted(prepared: Prepared, revision: str) -> str:
    """How the merge of `revision` was reverted. Suspends while its own pull request waits for the branch's rules."""
    shop, run, brief = workshop_of(prepared.brief), prepared.run_id, prepared.brief
    proposed = shop.ledger.find(run, *REVERT.at(revision), Proposed)
    host = shop.forge.hosted(proposed.repository) if proposed else None
    if proposed is None or host is None:
        return "its merge was reverted"
    for turn in range(100):
        pull = host.pull_request(proposed.repository, proposed.number)
        if pull.state is PullState.CLOSED:
            by = f" by {pull.ended_by.login}" if pull.ended_by else ""
            return f"its revert was closed{by} without a merge, so {brief.branch} still has that change"
        why = _why_not_reverted(shop, host, run, revision, proposed, pull)
        if why is None:
            return "its merge was reverted"
        key = f"forge-{revision[:16]}-{turn}"
        title = f"{show.quote(brief.title)}: rolled back, and its revert waits for a person"
        if turn == 0 and shop.ledger.find(run, *WAITS_FOR_FORGE.at(key), WaitsForForge) is None:
            page(shop.pager, f"Lockgate: {brief.title}", f"rolled back; its revert waits: {proposed.url}: {why}")
        shop.ledger.record(run, *WAITS_FOR_FORGE.at(key), WaitsForForge(reason=f"{proposed.url}: {why}"))
        answered(Allowed, f"# {title}\n\n{proposed.url}: {why}", key)
    raise RuntimeError("a hundred times the forge did not let the revert be merged; the run stops waiting")


def _why_not_reverted(
    shop: Workshop, host: HostedForge, run: str, revision: str, proposed: Proposed, pull: PullRequest
) -> str | None:
    """None if the revert is on the branch now, and nothing else with it."""
    at = proposed.repository
    if pull.head != proposed.head or pull.base != proposed.base:
        return (
            f"it is at {pull.head[:12]} and leads to {pull.base}; make it {proposed.head[:12]} to {proposed.base} again"
        )
    if pull.state is PullState.OPEN and (why := host.why_blocked(at, pull.number, looks=PATIENT)):
        return why
    title, _, message = shop.forge.message(at, proposed.head).partition("\n")
    answer = host.merge(at, pull, proposed.head, f"{one_line(title)} (#{pull.number})", message.strip())
    if answer.commit is None:
        return answer.reason
    if not shop.forge.contains(at, proposed.base, answer.commit):  # it brings it here
        raise ForgeError(f"{pull.url} became {answer.commit[:12]}, which is not on {proposed.base}: look where it went")
    shop.ledger.record(run, *REVERTED.at(revision), Reverted(commit=answer.commit))
    return None


# ── after the merge ──


def tell_release(
    prepared: Prepared, revision: str, state: DeploymentState, url: str = "", sentence: str = "", comment: str = ""
) -> None:
    """How a release goes, as a deployment and in our comment. Output alone: it fails no run."""
    shop, brief, run = workshop_of(prepared.brief), prepared.brief, prepared.run_id
    try:
        merged = shop.ledger.find(run, *MERGED.at(revision), Merged)
        if merged is None or brief.environment is None or not _proposals(shop, run):
            return
        host = shop.forge.hosted(brief.repository)
        if host is None:
            return
        host.announce(brief.repository, revision, brief.environment, state, url, sentence)
        if comment:
            _comment(shop, host, run, merged.head, comment)
    except Exception as err:
        _log_that(err)


def tell_end(shop: Workshop, brief: Brief, outcome: Outcome) -> None:
    """How the run ended, in our comment at its newest pull request; where it was not merged, as its status too."""
    try:
        known = _proposals(shop, outcome.run_id)
        host = shop.forge.hosted(brief.repository) if known or brief.pull else None
        if host is None:
            return
        if brief.pull:
            _tell_theirs(shop, host, brief.repository, brief.pull, outcome)
            return
        text = "\n".join(
            [f"**{outcome.end}**: {inert(outcome.sentence)}", *(f"- {inert(one)}" for one in outcome.reasons)]
        )
        _comment(shop, host, outcome.run_id, known[-1].head, text)
        if outcome.commit is None:
            state = _summary(StatusState.FAILURE, outcome.sentence)
            host.report(brief.repository, known[-1].head, (state,))
    except Exception as err:
        _log_that(err)


def _tell_theirs(shop: Workshop, host: HostedForge, repository: str, number: int, outcome: Outcome) -> None:
    """The same at somebody else's pull request. What asked for the run there tells its end by itself."""
    run = outcome.run_id
    last = shop.ledger.last(ATTEMPT.kind, run_id=run)
    if outcome.commit is None and last and last.body.get("source"):
        host.report(repository, str(last.body["source"]), (_summary(StatusState.FAILURE, outcome.sentence),))
    asked = shop.ledger.find(run, *ASKED_FOR.at(), AskedFor)
    if asked is None or asked.number != number:
        reasons = "".join(f"\n- {inert(one)}" for one in outcome.reasons)
        host.comment(
            repository, number, f"lockgate:{run}/end", f"**{outcome.end}**: {inert(outcome.sentence)}{reasons}"
        )


def _comment(shop: Workshop, host: HostedForge, run: str, head: str | None, text: str) -> None:
    """`head`: the judged commit. What the gates said at somebody else's pull request stays beside it."""
    proposed = next((one for one in reversed(_proposals(shop, run)) if head in (one.head, one.judged)), None)
    if proposed:
        marker = f"lockgate:{run}/end" if proposed.judged else f"lockgate:{run}"
        host.comment(proposed.repository, proposed.number, marker, text)


def _log_that(err: Exception | str) -> None:
    with contextlib.suppress(MissingContextError):
        why = err if isinstance(err, str) else reason_of(err)
        get_run_logger().warning("the hosted forge could not be told: %s", why)
