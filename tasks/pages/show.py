"""What a person looks at in the UI: one artifact a step, in Markdown. What an agent or a tool wrote is quoted, never
rendered: a picture in a plan would be a request to somebody's server from the reviewer's browser."""

import re
from collections.abc import Callable, Sequence

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError

from blocks.targets.timeline import Say, quietly
from domain.brief import Brief
from domain.known_by import known_as
from domain.migration import Rehearsal
from domain.policy.baseline import standing
from domain.policy.mutation_rules import ranges
from domain.prompts import fence
from domain.proposal import ProvenProposal
from domain.task import (
    Attempt,
    CaseOutcome,
    CaseRow,
    Evidence,
    Finding,
    Health,
    Merged,
    Opinion,
    Outcome,
    Plan,
    Prepared,
    Release,
    RolledBack,
    Scanned,
    Tested,
    Verdict,
)
from domain.text import one_line

DIFF_LINES = 1500
MARKS = {CaseOutcome.PASSED: "✅", CaseOutcome.FAILED: "❌", CaseOutcome.ERROR: "💥", CaseOutcome.SKIPPED: "⏭️"}


class Output:
    """Carries an agent's output to the run's log, line by line, bounded."""

    def __init__(self, attempt: int | None = None, max_lines: int = 2000) -> None:
        """`attempt` tells apart those that run side by side."""
        self._rest = ""
        self._left = max_lines
        self._who = f"agent {attempt}" if attempt else "agent"

    def __call__(self, chunk: str) -> None:
        *lines, self._rest = (self._rest + chunk).split("\n")
        for line in lines:
            self._say(line)

    def flush(self) -> None:
        if self._rest:
            self._say(self._rest)
            self._rest = ""

    def _say(self, line: str) -> None:
        self._left -= 1
        if self._left >= 0:
            get_run_logger().info("%s │ %s", self._who, line[:500])
        elif self._left == -1:
            get_run_logger().info("%s │ … the rest is in the transcript", self._who)


def progress() -> Say:
    """Carries what a step does to the run's log, line by line, from any thread. Outside of a run nobody listens."""
    try:
        log = get_run_logger()
    except MissingContextError:
        return quietly
    return lambda line: log.info("%s", one_line(line)[:500])


def quote(text: str) -> str:
    """Text as Markdown that shows exactly that text: no links, pictures, HTML or control characters.

    An address is no Markdown, but pages link it; not where a code span divides it:
    https://github.github.com/gfm/#autolinks-extension-
    """
    text = one_line(text).strip()
    text = re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", text)
    text = re.sub(r"^(\d*)([-=.])", r"\1\\\2", text)  # a list, a rule or the underline of a heading
    return re.sub(r"((?:://|www\.|@)+)", r"`\1`", text, flags=re.IGNORECASE)


def bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {quote(item)}" for item in items) or "- none"


def prepared(value: Prepared, attempt: int) -> None:
    """Base, settings and what stands in the way."""
    brief = value.brief
    parts = [f"# {quote(brief.title)}", fence(brief.goal)]
    if value.refusals:
        parts += ["## Refused", bullets(value.refusals)]
    else:
        parts += [
            f"Attempt {attempt} of {brief.budget.attempts} starts at `{value.base[:12]}` on `{brief.branch}`; "
            f"settings from {value.settings_source}; {len(value.requirements)} requirements.",
        ]
    if value.baseline:
        passed = sum(o is CaseOutcome.PASSED for o in value.baseline.cases.values())
        parts.append(f"On base {passed} of {len(value.baseline.cases)} tests pass.")
    if value.warnings:
        parts += ["## Look at this in the repository", bullets(value.warnings)]
    _markdown("brief", "\n\n".join(parts), "Brief and base")


def plan(value: Plan, findings: Sequence[Finding], agent: str) -> None:
    """The plan, and what policy says to it."""
    parts = [f"# Plan by {quote(agent)}", "\n".join(f"{n}. {quote(s)}" for n, s in enumerate(value.steps, 1))]
    for title, items in (("Paths", value.paths), ("Dependencies", value.dependencies), ("Questions", value.questions)):
        if items:
            parts += [f"## {title}", bullets(items)]
    if findings:
        parts += ["## Policy", bullets([f.sentence for f in findings])]
    _markdown("plan", "\n\n".join(parts), "Plan")


def proposal(value: ProvenProposal) -> None:
    """A proposed acceptance test, and how it stands on base."""
    told = value.proposal
    parts = [
        f"# Proposed acceptance test {value.number}: {quote(told.path)}",
        fence(told.content, "python"),
        fence(told.why),
    ]
    title, points = ("Why it is none", value.refusals) if value.refusals else ("Red on base", value.red)
    _markdown("proposal", "\n\n".join([*parts, f"## {title}", bullets(points)]), "Proposed acceptance test")


def attempt(value: Attempt, diff: str) -> None:
    """The change as a diff."""
    if value.problem:
        _markdown("diff", f"# Attempt {value.number}: no usable change\n\n{fence(value.problem)}", "Change")
        return
    head = f"# Attempt {value.number}: +{value.added_lines} −{value.removed_lines} in {len(value.changed_paths)} files"
    _markdown("diff", f"{head}\n\n{bullets(value.changed_paths)}\n\n{fence(_shorten(diff), 'diff')}", "Change")


def left_behind(number: int, paths: Sequence[str]) -> None:
    """What the agent left in the working copy that is no part of its change."""
    if paths:
        more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
        names = ", ".join(one_line(path) for path in paths[:5])
        said = "attempt %s: %d ignored files or folders are no part of the change: %s%s"
        get_run_logger().info(said, number, len(paths), names, more)


def tested(value: Tested, number: int) -> None:
    """Every test on base and on the change. The UI renders a table's cells as Markdown."""
    rows = [
        {"test": quote(row.test), "kind": row.kind, "base": _mark(row.base), "change": _mark(row.head)}
        for row in value.rows
    ]
    _guarded(
        lambda: create_table_artifact(
            key="tests", table=rows, description=f"Attempt {number}: tests on base and on the change ({value.sandbox})"
        )
    )
    if value.mutation:
        _markdown("mutants", f"# Attempt {number}: what the tests notice\n\n{noticed(value)}", "Mutants and coverage")


def noticed(value: Tested) -> str:
    """What the tests notice of mutants, and which changed lines they run."""
    if value.mutation is None:
        return ""
    parts = [quote(value.mutation.sentence) + "."]
    if value.mutation.survivors:
        lines = ["| no test fails when | this line | is |", "|---|---|---|"]
        lines += [
            f"| {quote(f'{one.path}:{one.line}')}{'' if one.is_run else ' (no test runs it)'} "
            f"| {quote(one.before)} | {quote(one.after)} |"
            for one in value.mutation.survivors
        ]
        parts.append("\n".join(lines))
    if value.coverage:
        parts.append(quote(value.coverage.sentence) + ".")
        if value.coverage.uncovered:
            parts.append(bullets([f"{path}: {ranges(lines)}" for path, lines in value.coverage.uncovered.items()]))
    return "\n\n".join(parts)


def scanned(value: Scanned, number: int) -> None:
    """What the gates found."""
    lines = ["| weight | gate | rule | finding |", "|---|---|---|---|"]
    lines += [f"| {f.severity} | {f.gate} | `{f.rule}` | {quote(f.sentence)} |" for f in value.findings]
    body = "\n".join(lines) if value.findings else "No findings."
    if value.suppressed:
        body += f"\n\n## Suppressed on the base branch\n{bullets(value.suppressed)}"
    _markdown("findings", f"# Attempt {number}: security scan\n\n{body}\n\n{', '.join(value.scanners)}", "Findings")


def review(prepared: Prepared, evidence: Evidence, verdict: Verdict, diff: str, mark: str, migration: str = "") -> str:
    """The question that a reviewer sees, as Markdown; also an artifact. `migration`: what its rehearsal says."""
    a, brief = evidence.attempt, prepared.brief
    findings = [f.sentence for f in (*evidence.tested.findings, *evidence.scanned.findings)]
    stands = standing(prepared).sentence
    given = [file.path for file in brief.acceptance.files if file.keep]
    where = f"and released to **{quote(brief.environment)}**" if brief.environment else "and not released"
    parts = [
        f"# Review: {quote(brief.title)}",
        *([f"**{quote(stands)}**, and what fails there is not counted."] if stands else []),
        fence(brief.goal),
        f"**{verdict.decision}** · attempt {a.number} · +{a.added_lines} −{a.removed_lines}",
        *([f"From the brief, part of the change as given: {', '.join(map(quote, given))}."] if given else []),
        f"Nothing is merged yet: once it is approved it will be merged into `{brief.branch}` {where}.",
        f"## Tests\n{count(evidence.tested.rows)}",
        *_sentences(evidence.tested),
        f"## Findings\n{bullets(findings)}",
        *([f"## Why a person\n{bullets(verdict.reasons)}"] if verdict.reasons else []),
        *([migration] if migration else []),
        *([opinion_text(evidence.opinion, brief.roles.review or "")] if evidence.opinion else []),
        fence(_shorten(diff), "diff"),
        f"Your answer is bound to `{mark}`.",
    ]
    text = "\n\n".join(parts)
    _markdown("review", text, "Review")
    return text


def doubt(prepared: Prepared, least: float) -> str:
    """The question whether an agent should start on a base of which too little passes, as Markdown."""
    parts = [
        f"# Begin? {quote(prepared.brief.title)}",
        f"**{quote(standing(prepared).sentence)}**, and below {int(100 * least)} % a person is asked. Nobody has been "
        "paid yet. What fails on base is not counted, so a change can break more of it and nobody would see it.",
        fence(prepared.brief.goal),
        bullets(prepared.warnings),
        "Approve to begin all the same. Reject to end it, and mend the tests or what lockgate.toml installs first.",
    ]
    text = "\n\n".join(parts)
    _markdown("review", text, "Begin?")
    return text


def rehearsal(value: Rehearsal, reasons: Sequence[tuple[str, str]], environment: str) -> None:
    """What a migration did on copies of the database."""
    _markdown("rehearsal", rehearsal_text(value, reasons, environment), "Rehearsal of the migration")


def rehearsal_text(value: Rehearsal, reasons: Sequence[tuple[str, str]], environment: str) -> str:
    """The same, for the form of the person who decides."""
    made, back = value.copy_made, value.downgrade
    grown = "unknown" if value.bytes_after is None else f"{value.bytes_after - value.bytes_before:+,} bytes"
    way_back = "no command for it" if back is None else "proven" if back.is_proven else "not proven"
    if value.changed_nothing:
        way_back = "nothing to bring back"
    facts = [
        f"{value.migration_class} · way back: {way_back} · {value.under_load.longest_try_s:.2f} s · {grown}",
        f"copied by {made.method}: {made.size_bytes:,} bytes in {made.seconds:.1f} s",
        f"{value.queries} statements of the running release were tried on the new schema",
    ]
    parts = [f"## The migration, on a copy of {quote(environment)}", bullets(facts)]
    if reasons:
        parts.append(bullets([f"{rule}: {reason}" for rule, reason in reasons]))
    if value.changes:
        parts += ["What it changes:", bullets([change.sentence for change in value.changes])]
    rows = [
        f"| {quote(impact.table)} | {when} | {impact.blocked_read_s:.2f} s | {impact.blocked_write_s:.2f} s "
        f"| {quote(', '.join(impact.locks))} |"
        for when, run in zip(("under load", "behind a long transaction"), value.runs, strict=False)
        for impact in run.impacts
    ]
    if rows:
        head = ["| table | | longest blocked read | longest blocked write | locks |", "|---|---|---|---|---|"]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join([*parts, fence("\n".join(value.timeline))])


def merged(value: Merged, brief: Brief, number: int) -> None:
    if value.commit:
        text = f"Attempt {number} is on `{brief.branch}` as `{value.commit}`."
    else:
        next_ = "" if value.asks_again else "; it is tested again on the new tip"
        text = f"Not merged: {quote(value.reason)}{next_}."
    _markdown("merge", f"# Merge\n\n{text}", "Merge")


def deployed(value: Release) -> None:
    """The release's own timeline."""
    head = f"# Release `{value.revision[:12]}` to {quote(value.environment)}"
    trouble = f"**It never took the traffic:** {quote(value.problem)}" if value.problem else f"<{value.url}>"
    _markdown("release", f"{head}\n\n{trouble}\n\n{fence(chr(10).join(value.timeline))}", "Release")


def health(value: Health, release: Release) -> None:
    """What the public address said."""
    word = "healthy" if value.healthy else "sick"
    head = f"# `{value.revision[:12]}` is {word} in {quote(release.environment)}"
    who = (
        f"Which release answered: {value.identity}." if value.identity else "No answer was known to be this release's."
    )
    parts = [head, quote(value.reason), who, fence("\n".join(value.timeline))]
    if value.log_tail:
        parts += ["## Its log", fence(value.log_tail)]
    _markdown("health", "\n\n".join(parts), "Health")


def rolled_back(value: RolledBack, release: Release, sick: Health) -> None:
    """Where traffic is now, and why."""
    serving = f"`{value.serving[:12]}` serves again" if value.serving else "nothing serves"
    reverted = (
        f"`{value.revert[:12]}`"
        if value.revert
        else quote(value.revert_pull)
        if value.revert_pull
        else "nothing to revert"
    )
    head = f"# Rolled back: {serving} in {quote(value.environment)}"
    body = f"{quote(sick.reason)}\n\nRevert of the merge: {reverted}"
    _markdown("rollback", f"{head}\n\n{body}\n\n{fence(chr(10).join(value.timeline))}", "Rollback")


def outcome(value: Outcome, story: Sequence[str]) -> None:
    """How it ended and how it went."""
    parts = [f"# {quote(value.sentence)}", bullets(value.reasons) if value.reasons else "", fence("\n".join(story))]
    if value.url:
        parts.insert(1, f"<{value.url}>")
    _markdown("outcome", "\n\n".join(filter(None, parts)), "Outcome")


def count(rows: Sequence[CaseRow]) -> str:
    """The rows in three lines."""
    lines = []
    for kind in ("acceptance", "existing", "new"):
        mine = [row for row in rows if row.kind == kind]
        if mine:
            passing = sum(row.head is CaseOutcome.PASSED for row in mine)
            before = sum(row.base is CaseOutcome.PASSED for row in mine)
            lines.append(f"- {kind}: {passing} of {len(mine)} pass (on base {before})")
    return "\n".join(lines) or "- no tests ran"


def _sentences(value: Tested) -> list[str]:
    return [bullets([part.sentence for part in (value.mutation, value.coverage) if part])] if value.mutation else []


def _mark(value: CaseOutcome) -> str:
    return f"{MARKS.get(value, '∅')} {value}"


def _shorten(diff: str) -> str:
    lines = diff.splitlines()
    if len(lines) <= DIFF_LINES:
        return diff
    return "\n".join([*lines[:DIFF_LINES], f"… {len(lines) - DIFF_LINES} more lines: see the commit"])


def _markdown(key: str, text: str, description: str) -> None:
    _guarded(lambda: create_markdown_artifact(key=key, markdown=text, description=description))


def _guarded(create: Callable[[], object]) -> None:
    """Artifacts are for people's eyes: outside of a run there is nobody to show them to, and Prefect would start a
    server of its own to keep them."""
    if TaskRunContext.get() or FlowRunContext.get():
        create()


def opinion(value: Opinion, agent: str) -> None:
    """What a reviewing agent said."""
    _markdown("opinion", opinion_text(value, agent), "Another agent's review")


def opinion_text(value: Opinion, agent: str) -> str:
    """The same, for the form of the person who decides."""
    head = f"## What {quote(agent)} says of it\n\nAn agent's words: they decide nothing."
    return f"{head}\n\n{fence(value.summary)}\n\n{bullets(value.concerns)}"


def rolled_back_by_hand(value: RolledBack, reason: str) -> None:
    """A person's rollback."""
    head = f"# {quote(value.environment)} serves `{(value.serving or 'nothing')[:12]}` again"
    who = f"{quote(value.by)} ({known_as(value.signed_in, value.way)}): " if value.by else ""
    _markdown("rollback", f"{head}\n\n{who}{quote(reason)}\n\n{fence(chr(10).join(value.timeline))}", "Rollback")
