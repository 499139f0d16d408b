"""What may pass without a person: only what lockgate.toml on base allows, and what nothing below holds back.

An agent's opinion is among what holds back. It never lets anything pass: a change passes by its bounds.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePosixPath

from domain.paths import matches
from domain.policy.by_record import RecordStanding
from domain.policy.change import Change, is_python, text_of
from domain.policy.change_paths import (
    AGENT_INSTRUCTIONS,
    BUILD_FILES,
    CHECK_FILES,
    CI_FILES,
    DEPENDENCY_FILES,
    DOCUMENTATION,
    TOOL_FILES,
)
from domain.policy.reviewers import Owners, from_base, owned
from domain.policy.rule import Hit, Rule, apply
from domain.project import SENSITIVE_PATHS
from domain.task import CaseOutcome, Decision, Evidence, Finding, Severity, Verdict

AGENT_REVIEW, ALONE = "agent-review", "alone"
"""Names of the two ways past a person, as an approval records them."""
UNREAD = "gave no review"


@dataclass(frozen=True)
class Passing:
    """What is known of a change that no gate refused. `interventions`: where this run was stopped before."""

    change: Change
    evidence: Evidence
    verdict: Verdict
    owners: Owners
    interventions: tuple[str, ...]
    most_lines: int
    standing: RecordStanding | None


def passes(
    change: Change,
    evidence: Evidence,
    verdict: Verdict,
    owners: Owners,
    interventions: Sequence[str] = (),
    standing: RecordStanding | None = None,
) -> tuple[str | None, tuple[Finding, ...]]:
    """(the way that lets it pass, nothing); or (None, what holds it back). Nothing holds where no way is open.

    `standing`: the record of the agent that made it, against the bar that [review] sets; None: nobody knows.
    """
    policy = change.settings.review
    ways = (
        (ALONE, policy.alone, policy.alone_lines, ALONE_RULES),
        (AGENT_REVIEW, policy.agent, policy.agent_lines, AGENT_RULES),
    )
    held: tuple[Finding, ...] = ()
    for name, is_open, most_lines, rules in ways:
        if not is_open:
            continue
        held = apply(rules, Passing(change, evidence, verdict, owners, tuple(interventions), most_lines, standing))
        if not held:
            return name, ()
    return None, held


def _not_from_base(case: Passing) -> Iterator[Hit]:
    if not from_base(case.change.prepared):
        yield Hit(f"the settings come from {case.change.prepared.settings_source}, not from lockgate.toml on base")


def _not_accepted(case: Passing) -> Iterator[Hit]:
    if case.verdict.decision is not Decision.ACCEPTED:
        yield Hit(f"the verdict is: {case.verdict.decision}")


_OF_TIME = "mutants-not-tried"
"""It says how busy the machine was, and nothing of the change. If nobody looks, `hold-untried` counts it."""


def _findings(case: Passing) -> Iterator[Hit]:
    for finding in (*case.evidence.tested.findings, *case.evidence.scanned.findings):
        if finding.rule == _OF_TIME:
            continue
        yield Hit(f"{finding.rule}: {finding.message}", finding.path, finding.line)
    for suppressed in case.evidence.scanned.suppressed:
        yield Hit(f"suppressed: {suppressed}")


def _owned(case: Passing) -> Iterator[Hit]:
    for problem in case.owners.problems:
        yield Hit(problem)
    for path, place, line, _ in owned(case.owners, case.evidence.attempt.changed_paths):
        yield Hit(f"{', '.join(line.owners)} must see it ({place} line {line.number})", path)


def _sensitive(case: Passing) -> Iterator[Hit]:
    globs = (
        *case.change.settings.sensitive_paths, *SENSITIVE_PATHS, *AGENT_INSTRUCTIONS, *DEPENDENCY_FILES, *CHECK_FILES,
        *CI_FILES, *BUILD_FILES, *TOOL_FILES,
    )  # fmt: skip
    for path in case.change.changed:
        if matches(path, globs):
            yield Hit("a sensitive path is changed", path)


def _size(case: Passing) -> Iterator[Hit]:
    lines = case.evidence.attempt.changed_lines
    if lines > case.most_lines:
        yield Hit(f"{lines} changed lines are more than the {case.most_lines} that may pass")


def _tests(case: Passing) -> Iterator[Hit]:
    for path in case.change.changed:
        if path in case.change.base and case.change.is_test(path):
            yield Hit("an existing test is changed", path)


def _evidence(case: Passing) -> Iterator[Hit]:
    tested, scanned, baseline = case.evidence.tested, case.evidence.scanned, case.change.prepared.baseline
    if baseline is None or baseline.problem:
        yield Hit("nothing is known of the tests on base")
    if len(scanned.scanners) < 2:
        yield Hit(f"scanned by {', '.join(scanned.scanners) or 'nothing'} alone")
    kept = [
        row
        for row in tested.rows
        if row.kind == "existing" and row.base is CaseOutcome.PASSED and row.head is CaseOutcome.PASSED
    ]
    if all(row.test == case.change.settings.test for row in kept):
        yield Hit("no existing test is known, one by one, to pass on base and on the change")
    for row in tested.rows:
        if row.kind != "existing" and row.head is not CaseOutcome.PASSED:
            yield Hit(f"{row.test} is {row.head} on the change")


def _interventions(case: Passing) -> Iterator[Hit]:
    for line in (*case.interventions, *case.change.prepared.warnings):
        yield Hit(line)


def _concerns(case: Passing) -> Iterator[Hit]:
    opinion = case.evidence.opinion
    if opinion is None:
        return
    for concern in opinion.concerns:
        yield Hit(f"the reviewing agent says: {concern}")
    if UNREAD in opinion.summary or not opinion.summary.strip():
        yield Hit("the reviewing agent gave no review that can be read")


def _record(case: Passing) -> Iterator[Hit]:
    if case.change.settings.review.record is None:
        return
    if case.standing is None:
        yield Hit(f"the record of {case.evidence.attempt.agent or 'an unknown agent'} is not known")
    elif not case.standing.is_met:
        yield Hit(case.standing.sentence)


def _reviewed(case: Passing) -> Iterator[Hit]:
    reviewer, editor = case.change.prepared.brief.roles.review, case.evidence.attempt.agent
    wanted = case.change.settings.review.agents
    if reviewer is None or case.evidence.opinion is None:
        yield Hit("no other agent reviewed it: the brief names none under roles.review")
    elif not editor or reviewer == editor:
        yield Hit(f"{reviewer} cannot review a change of {editor or 'an unknown agent'}")
    elif wanted and reviewer not in wanted:
        yield Hit(f"a review by {reviewer} does not count (agents: {', '.join(wanted)})")


def _unscoped(case: Passing) -> Iterator[Hit]:
    if not case.change.prepared.brief.scope.paths:
        yield Hit("the brief has no scope.paths")


def _untried(case: Passing) -> Iterator[Hit]:
    code = [path for path in case.change.changed if _is_code(path) and not case.change.is_test(path)]
    mutation = case.evidence.tested.mutation
    if not code:
        return
    if mutation is None or mutation.left_out or mutation.problem or mutation.is_late:
        why = mutation.sentence if mutation else "no mutants were tried"
        yield Hit(f"what the tests notice of this change is not known: {why}", code[0])
    elif mutation.tried < mutation.made:
        yield Hit(mutation.sentence, code[0])
    elif not mutation.made and (meant := [path for path in code if _means_another(case.change, path)]):
        yield Hit(mutation.sentence, meant[0])
    elif other := [path for path in code if not path.endswith(".py")]:
        yield Hit("only Python has mutants", other[0])


def _gone(case: Passing) -> Iterator[Hit]:
    """Files of Python with a place where there are fewer lines than on base: mutants stand for lines that are there."""
    for path in case.change.changed:
        before, after = text_of(case.change.base, path), text_of(case.change.head, path)
        if not is_python(path) or case.change.is_test(path) or before is None or after is None:
            continue
        old, new, first = _apart(before.splitlines(), after.splitlines())
        if max(len(old), len(new)) > _COMPARED:
            yield Hit(f"more than {_COMPARED:,} lines lie between its first change and its last", path)
            continue
        for kind, start, end, at, to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind in ("delete", "replace") and _lines_of(old[start:end]) > _lines_of(new[at:to]):
                yield Hit("code is taken out, and no mutant stands for it", path, first + min(at + 1, len(new)) or None)
                break


_COMPARED = 4_000
"""Lines that are compared one by one: four times as long for twice as many."""


def _apart(old: list[str], new: list[str]) -> tuple[list[str], list[str], int]:
    """(old, new) without the lines that both begin and end with, and how many lines come before."""
    most = min(len(old), len(new))
    first = next((at for at in range(most) if old[at] != new[at]), most)
    most -= first
    last = next((at for at in range(most) if old[-1 - at] != new[-1 - at]), most)
    return old[first : len(old) - last], new[first : len(new) - last], first


def _lines_of(code: Sequence[str]) -> int:
    """Lines that are neither empty nor a comment."""
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in code)


def _means_another(change: Change, path: str) -> bool:
    """Whether a file of code is another program than on base: comments and layout are none."""
    before, after = text_of(change.base, path), text_of(change.head, path)
    try:
        return not is_python(path) or ast.dump(ast.parse(before or "")) != ast.dump(ast.parse(after or ""))
    except (SyntaxError, ValueError, RecursionError):
        return True


def _kinds(case: Passing) -> Iterator[Hit]:
    for path in case.change.changed:
        if matches(path, DOCUMENTATION) and not _is_code(path):
            if reader := _reader(case.change, path):
                yield Hit(f"{reader} may read it: it is no documentation then", path)
        elif not (_is_code(path) or (is_python(path) and case.change.is_test(path))):
            yield Hit("neither product code, nor a test, nor documentation", path)


def _reader(change: Change, path: str) -> str | None:
    """Code that names a text, or in whose directory or below it lies; what a project shows on its front page, and what
    lies below docs, is documentation unless code names it."""
    file = PurePosixPath(path)
    is_shown = file.name.upper().startswith(_SHOWN) or file.parts[0] in ("docs", "doc") or change.is_test(path)
    above = {str(parent) for parent in file.parents} - {"."}
    for tree in (change.head, change.base):
        for other, entry in tree.items():
            if not _is_code(other) or other == path:
                continue
            if file.name.encode() in entry.content or (not is_shown and str(PurePosixPath(other).parent) in above):
                return other
    return None


_SHOWN = ("README", "CHANGELOG", "CHANGES", "HISTORY", "AUTHORS", "NEWS", "CONTRIBUTING", "LICENSE")


_CODE = (".py", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".go", ".rs", ".java", ".kt", ".rb", ".c", ".h", ".cc",
         ".cpp", ".cs")  # fmt: skip


def _is_code(path: str) -> bool:
    return path.endswith(_CODE)


def _files(case: Passing) -> Iterator[Hit]:
    for path in case.change.changed:
        gone, new = path not in case.change.head, path not in case.change.base
        if gone or (new and not case.change.is_test(path)):
            yield Hit("a file is taken out" if gone else "a file is new", path)


def _rule(name: str, what: str, why: str, fix: str, check: Callable[[Passing], Iterable[Hit]]) -> Rule[Passing]:
    return Rule(name, "review", Severity.PERSON, what, why, fix, check)


HOLDING: tuple[Rule[Passing], ...] = (
    _rule(
        "hold-settings",
        "Settings that are not lockgate.toml on base.",
        "Who briefs an agent does not say as well that nobody need look.",
        "put [review] into lockgate.toml on the branch",
        _not_from_base,
    ),
    _rule(
        "hold-verdict",
        "A verdict other than accepted.",
        "What needs a person needs a person.",
        "a reviewer answers",
        _not_accepted,
    ),
    _rule(
        "hold-finding",
        "Any finding at all, also a note or a suppressed one.",
        "Nobody else would ever read it.",
        "a reviewer reads it, or the change does without",
        _findings,
    ),
    _rule(
        "hold-owned",
        "A changed path that has an owner in CODEOWNERS on base, or a CODEOWNERS that cannot be read.",
        "Its owners want to see each change of it.",
        "an owner answers",
        _owned,
    ),
    _rule(
        "hold-sensitive",
        "A changed path under sensitive_paths of the settings or of their defaults, a manifest or lock file, "
        "configuration of a check, or instructions for agents.",
        "These break more than tests can show.",
        "a reviewer looks at this file",
        _sensitive,
    ),
    _rule(
        "hold-size",
        "More changed lines than agent_lines, or alone_lines; unaltered acceptance files are not counted.",
        "Bounds mean little for a large change.",
        "a reviewer reads it, or the brief asks for less",
        _size,
    ),
    _rule(
        "hold-tests",
        "An existing test or its configuration changed, also one that the brief opens.",
        "The change then says itself what is right.",
        "a reviewer compares the test with the brief",
        _tests,
    ),
    _rule(
        "hold-evidence",
        "No results on base, rules but no scanner, no existing test with a result of its own, or an acceptance or new "
        "test that did not pass.",
        "A command that exits with 0 shows too little for nobody to look.",
        "test by pytest, and have scanners in the workshop",
        _evidence,
    ),
    _rule(
        "hold-kind",
        "A changed file that is neither product code, nor a test in Python, nor documentation: data, templates, "
        "configuration, and texts that code names or that lie in a directory of code or below it.",
        "Tests read such files, and no mutant and few rules know what is in them.",
        "a reviewer looks at this file",
        _kinds,
    ),
    _rule(
        "hold-intervention",
        "Somebody asked for changes in this run, a release of it was sick, or prepare warned of something on base.",
        "A person has this run in hand, or should.",
        "a reviewer answers",
        _interventions,
    ),
    _rule(
        "hold-record",
        "An agent whose record is not known to be as `record` of [review] asks, or has too few cases to tell.",
        "Trust is what the ledger shows, and it goes with a rollback.",
        "a reviewer answers; its next changes count",
        _record,
    ),
    _rule(
        "hold-concern",
        "A reviewing agent with a concern, or without a review that can be read.",
        "An agent's word is enough to hold a change back, and never to let it pass.",
        "a reviewer weighs it",
        _concerns,
    ),
)

AGENT_RULES: tuple[Rule[Passing], ...] = (
    *HOLDING,
    _rule(
        "hold-unreviewed",
        "No review by another agent than the one that made the change, or by none that [review] agents names.",
        "It is what `agent = true` asks for.",
        "name another agent under roles.review of the brief",
        _reviewed,
    ),
)

ALONE_RULES: tuple[Rule[Passing], ...] = (
    *HOLDING,
    _rule(
        "hold-untried",
        "Changed product code of which not every mutant was tried: there was no time, mutants are switched off, the "
        "tests are not run by pytest, or it is not Python. Or of which none can be made, unless only comments and "
        "layout changed.",
        "Nobody knows then whether a test would notice a mistake in it, and nobody looks.",
        "set `mutation_s` in lockgate.toml on base, or a reviewer reads it",
        _untried,
    ),
    _rule(
        "hold-gone",
        "Product code in Python that has fewer lines than before where it changed; comments are not counted.",
        "Mutants stand for lines that are there; a guard that is gone fails no test that nobody wrote.",
        "a reviewer reads it",
        _gone,
    ),
    _rule(
        "hold-unscoped",
        "A brief without scope.paths.",
        "Small means little where it may be anywhere.",
        "say under scope.paths where the change may be",
        _unscoped,
    ),
    _rule(
        "hold-files",
        "A file that is new, other than a test, or taken out.",
        "Scanners and tests know the files that were there before best.",
        "a reviewer reads it",
        _files,
    ),
)

PASS_RULES = tuple(dict.fromkeys((*AGENT_RULES, *ALONE_RULES)))
"""Each rule once, for docs/gates.md."""
