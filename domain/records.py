"""Every kind of entry in the ledger: how its key is made, what it holds, and the sentence that people read of it.

Kinds and keys stay as they are, so that old chains verify and a run finds what it has done. What a reader has to know
stands in the value and not in the key.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from domain.known_by import known_as
from domain.text import block

Body = dict[str, Any]
_PART = re.compile(r"\{(\w+)\}")


class At(NamedTuple):
    """Where an entry stands within its run: `ledger.record(run, *MERGED.at(commit), value)`."""

    kind: str
    key: str


@dataclass(frozen=True)
class Record:
    """One kind of entry."""

    kind: str
    key: str
    """The form of its key, with its parts in braces."""
    holds: str
    """Class of the value."""
    says: Callable[[Body], str] | None = None
    """The value as JSON data → one line for people; None: it is bookkeeping."""

    def at(self, *parts: object) -> At:
        """Where the entry with these parts in its key stands. Raises TypeError unless there are as many as it has."""
        names = _PART.findall(self.key)
        if len(parts) != len(names):
            raise TypeError(f"the key of {self.kind} is {self.key}, with {len(names)} parts and not {len(parts)}")
        return At(self.kind, self.key.format(**dict(zip(names, parts, strict=True))))

    def parts(self, key: str) -> dict[str, str]:
        """The parts of a key; empty if it has another form. Only the last one may hold what stands between two."""
        *first, last = re.split(_PART, self.key)[1::2] or [""]
        pattern = re.escape(self.key).replace(r"\{", "{").replace(r"\}", "}")
        for name in first:
            pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>.+?)")
        found = re.fullmatch(pattern.replace(f"{{{last}}}", f"(?P<{last}>.+)"), key, re.DOTALL)
        return found.groupdict() if found else {}


def _short(commit: str | None) -> str:
    return (commit or "nothing")[:12]


def _prepared(body: Body) -> str:
    if body["refusals"]:
        return f"brief refused: {body['refusals'][0]}"
    if body.get("unfit"):
        return f"{body['brief']['change']} is no attempt as it stands: {body['unfit']}"
    from domain.policy.baseline import standing  # late: they are slow to import, and few ask for sentences
    from domain.task import Prepared

    stands = standing(Prepared.model_validate(body)).sentence
    prepared = f"prepared on base {_short(body['base'])} (settings from {body['settings_source']})"
    return f"{stands}; {prepared}" if stands else prepared


def _proposal(body: Body) -> str:
    if body["refusals"]:
        return f"proposed acceptance test {body['number']} is none: {body['refusals'][0][:200]}"
    return f"acceptance test {body['mark']} is proposed, and red on base: {body['proposal']['path']}"


def _attempt(body: Body) -> str:
    if body["help"]:
        return f"attempt {body['number']}: the agent asks for help: {body['help'][:200]}"
    if body["problem"]:
        return f"attempt {body['number']}: no usable change: {body['problem'][:200]}"
    lines = f"+{body['added_lines']} −{body['removed_lines']}"
    return f"attempt {body['number']}: {lines} in {len(body['changed_paths'])} files, commit {_short(body['commit'])}"


def _tested(body: Body) -> str:
    rows = body["rows"]
    good = sum(row["head"] == "passed" for row in rows)
    return f"tested: {good} of {len(rows)} pass on the change" + _noticed(body.get("mutation"))


def _noticed(mutation: Body | None) -> str:
    if not mutation or not mutation["made"]:
        return ""
    return f"; {mutation['tried']} of {mutation['made']} mutants tried, {len(mutation['survivors'])} survive"


def _scanned(body: Body) -> str:
    weights = [finding["severity"] for finding in body["findings"]]
    return f"scanned: {weights.count('refuse')} refusing findings, {weights.count('person')} for a person"


def _rehearsal(body: Body) -> str:
    run = body["under_load"]
    if run["problem"] is not None:
        return "the migration failed on a copy of the database"
    if body["before"] == body["after"]:
        return "the migration changes nothing of the schema"
    back = body["downgrade"]
    proven = back and back["problem"] is back["again"] is None and not back["differences"]
    way_back = "it has no command for the way back"
    if back:
        way_back = "it could be taken back there" if proven else "it could not be taken back there"
    return f"the migration ran on a copy in {run['longest_try_s']:.1f} s; {way_back}"


def _rehearsed(body: Body) -> str:
    by_weight = sorted(body["findings"], key=lambda finding: finding["severity"] != "refuse")
    if not by_weight:
        return "rehearsal: nothing speaks against the migration"
    word = "refused" if by_weight[0]["severity"] == "refuse" else "for a person"
    return f"rehearsal: {word}: {by_weight[0]['message'][:200]}"


def _migrated(body: Body) -> str:
    how = f"{body['migration_class']}, in {body['run']['tries']} tries"
    new = "as before" if body["before"] == body["after"] else how
    return f"the database of {body['environment']} is at schema {_short(body['after'])}: {new}"


def _verdict(body: Body) -> str:
    return f"verdict: {body['decision']}" + "".join(f"\n    - {reason[:200]}" for reason in body["reasons"][:5])


def _question(body: Body) -> str:
    again = f"{body['again'][:200]}: " if body.get("again") else ""
    return f"{again}waiting for a review of attempt {body['attempt']}"


def _approval(body: Body) -> str:
    comment = f": {body['comment']}" if body["comment"] else ""
    return f"{body['reviewer']}{_known_by(body)} answered: {body['answer']}{comment}"


def _opened_window(body: Body) -> str:
    return f"{body['by']}{_known_by(body)} let it go at once{_why(body)}"


def _why(body: Body) -> str:
    return f": {body['why']}" if body["why"] else ""


def _known_by(body: Body) -> str:
    """How the name is known."""
    if body.get("rule"):
        return ""  # the policy's own
    if host := body.get("forge"):
        return f" (a user of {host})"
    return f" ({known_as(bool(body.get('signed_in')), str(body.get('way', '')))})"


def _person(body: Body) -> str:
    """Who did what a run could have done as well."""
    return f"{body['by']}{_known_by(body)} " if body.get("by") else ""


def _downgraded(body: Body) -> str:
    who = f" by {body['by']}{_known_by(body)}" if body.get("by") else ""
    return f"the database of {body['environment']} went back to schema {_short(body['after'])}{who}"


def _health(body: Body) -> str:
    return f"{_short(body['revision'])} is {'healthy' if body['healthy'] else 'sick'}: {body['reason']}"


def _deployed(body: Body) -> str:
    if body["problem"]:
        return f"release {_short(body['revision'])} never took the traffic: {body['problem'][:200]}"
    return f"release {_short(body['revision'])} has the traffic of {body['environment']}"


def _share_passed(body: Body) -> str:
    new = body["new"] or {"errors": 0, "requests": 0}
    return f"well with {body['share']} % of the traffic: {new['errors']} of {new['requests']} requests failed"


def _rolled_back(body: Body) -> str:
    serving = f"{_short(body['serving'])} was seen serving again" if body["serving"] else "nothing serves"
    if why := body.get("by_itself"):
        return f"rolled back by itself, for {why}: {serving}"
    return f"{_person(body)}rolled back: {serving}" + (
        f"; merge reverted by {_short(body['revert'])}"
        if body["revert"]
        else f"; its revert waits in {body['revert_pull']}"
        if body.get("revert_pull")
        else ""
    )


SUBMITTED = Record("submitted", "submitted", "Submitted", lambda body: f"{body['by']}{_known_by(body)} asks for it")
"""Who asked for the task."""
ASKED_FOR = Record(
    "asked-for",
    "issue",
    "AskedFor",
    lambda body: f"asked for by {body['by'].get('name') or body['by']['login']} at {body['url']}",
)
"""The issue that the task comes from."""
PREPARED = Record("prepared", "{key}", "Prepared", _prepared)
"""The base commit, the settings, and the contract that the change is judged by."""
PLAN = Record("plan", "{asked}", "Plan", lambda body: f"plan: {len(body['steps'])} steps")
"""The agent's plan, each time it was asked for one."""
ANSWERS = Record("answers", "{asked}", "Feedback", lambda body: str(body["points"][-1]))
"""What a person answered to the agent's questions."""
PROPOSAL = Record("proposal", "{number}", "ProvenProposal", _proposal)
"""An acceptance test that the agent proposed, and what was seen of it on base."""
AGREED = Record(
    "agreed",
    "acceptance",
    "AgreedAcceptance",
    lambda body: f"{body['by']}{_known_by(body)} approved the acceptance test {body['mark']}",
)
"""The proposal that a person approved: the brief's acceptance."""
CHOSEN = Record("chosen", "agent", "ChosenAgent", lambda body: f"chosen: {body['agent']}, {body['reasons'][0]}")
"""The agent that was chosen for the task."""
ATTEMPT = Record("attempt", "{number}", "Attempt", _attempt)
"""What the agent made."""
PACKED = Record("packed", "{commit}", "Packed")
"""A commit, for other machines."""
SCRATCHPAD = Record("scratchpad", "{attempt}", "Scratchpad")
"""What the agent noted for its next attempt."""
MEMORY = Record("memory", "{attempt}", "Scratchpad")
"""What the agent would know in later tasks."""
SESSION = Record("session", "{attempt}", "Scratchpad")
"""The agent's own state, to go on from."""
RACED = Record(
    "raced",
    "{turn}",
    "Raced",
    lambda body: f"attempt {body['passed']} passed every gate first; the others of its turn may stop",
)
"""The first attempt of a turn that passed every gate."""
TESTED = Record("tested", "{commit}", "Tested", _tested)
"""What tests said of a commit."""
SCANNED = Record("scanned", "{commit}", "Scanned", _scanned)
"""What scanners said of a commit."""
REHEARSAL = Record("rehearsal", "{environment}/{revision}/{running}/{source}", "Rehearsal", _rehearsal)
"""A migration that was tried on copies of one database."""
REHEARSED = Record("rehearsed", "{environment}/{revision}", "Rehearsed", _rehearsed)
"""What was found when the migration was rehearsed."""
VERDICT = Record("verdict", "{commit}", "Verdict", _verdict)
"""What the judge says of a commit; `{commit}/rehearsed` once its migration was rehearsed."""
OPINION = Record(
    "opinion", "{commit}", "Opinion", lambda body: f"another agent reviewed it: {len(body['concerns'])} concerns"
)
"""What another agent thinks of a commit."""
QUESTION = Record("question", "{asking}", "Question", _question)
"""What people are asked to review."""
APPROVAL = Record("approval", "{asking}", "Approval", _approval)
"""What a person, or the policy, answered."""
SECOND_PERSON = Record("second-person", "{fingerprint}", "Second")
"""Whether two people have to approve."""
LOOKED = Record("looked", "{asking}/{name}/{what}", "Looked")
"""Who has seen what is reviewed."""
PULL_REQUEST = Record(
    "pull-request", "{fingerprint}", "Proposed", lambda body: f"pull request {body['url']} at {_short(body['head'])}"
)
"""The pull request at the forge."""
WAITS_FOR_FORGE = Record(
    "waits-for-forge", "{asked}", "WaitsForForge", lambda body: f"waits for its forge: {body['reason'][:200]}"
)
"""Why the forge does not merge yet, or does not answer."""
WAITS_FOR_PUSH = Record(
    "waits-for-push",
    "{asked}",
    "WaitsForPush",
    lambda body: f"waits for a push to {body['change']}, which is at {_short(body['source'])}",
)
"""What was refused of a change that was made elsewhere, and where it stood."""
LACKING = Record(
    "lacking", "{asked}", "Lacking", lambda body: f"approved, and cannot be merged yet: {body['reason'][:200]}"
)
"""What merge or release would fail for."""
READY = Record("ready", "{asked}", "Ready", lambda body: f"{body['by']}{_known_by(body)} says that this is mended")
"""Who says that it is mended."""
WAITS_FOR_WINDOW = Record(
    "waits-for-window", "{asked}", "Waits", lambda body: f"waits until {body['until'][:16]} UTC: {body['reason']}"
)
"""Until when nothing may be released."""
OPENED_WINDOW = Record("opened-window", "{fingerprint}", "Opened", _opened_window)
"""Who let it be released before that."""
MERGED = Record("merged", "{commit}", "Merged", lambda body: f"merged as {_short(body['commit'])}")
"""What was merged, by the commit on its branch."""
CANCELLED = Record(
    "cancelled",
    "{request}",
    "Cancelled",
    lambda body: f"{body['by']}{_known_by(body)} asks to cancel it{_why(body)}",
)
"""Who asked that it be cancelled."""
NOT_CANCELLED = Record(
    "not-cancelled",
    "{request}",
    "NotCancelled",
    lambda body: f"the request of {body['by']} to cancel it was refused: {body['reason']}",
)
"""Why it was not."""
FIRST_RELEASE = Record("first-release", "{environment}", "Release")
"""What served before the run's first release."""
DEPLOY_STARTED = Record(
    "deploy-started",
    "{revision}",
    "Release",
    lambda body: f"deploying {_short(body['revision'])} to {body['environment']}",
)
"""A release on its way."""
ARTIFACT = Record(
    "artifact",
    "{environment}/{revision}",
    "Artifact",
    lambda body: f"{body['kind']} {_short(body['id'])} built and signed",
)
"""What was built and signed."""
MIGRATED = Record("migrated", "{environment}/{revision}", "Migrated", _migrated)
"""A migration that ran on the environment's database."""
RAN_ON = Record(
    "ran-on",
    "{environment}/{revision}/{schema}",
    "RanOn",
    lambda body: f"{_short(body['revision'])} was tried on the database's schema and is well",
)
"""An older release that was tried on the newer schema."""
SHARE_PASSED = Record("share-passed", "{revision}-{share}", "SharePassed", _share_passed)
"""A release was well with a share of the traffic."""
WATCHED = Record("watched", "{revision}", "Watched")
"""What a window of observation saw."""
SICK = Record(
    "sick", "{revision}", "Sick", lambda body: f"{_short(body['revision'])} has to leave: {body['reason'][:200]}"
)
"""A release that has to leave."""
DEPLOYED = Record("deployed", "{revision}", "Release", _deployed)
"""A release that got all of the traffic, or the reason why it did not."""
HEALTH = Record("health", "{revision}", "Health", _health)
"""What was seen of it with all of the traffic."""
LIVE = Record(
    "live", "{revision}", "Release", lambda body: f"{_short(body['revision'])} was seen serving {body['environment']}"
)
"""A release that was seen serving."""
MEND = Record(
    "mend",
    "{attempt}",
    "Mend",
    lambda body: (
        f"{body['attempt']['agent']} did not mend attempt {body['attempt']['number']}: {body['attempt']['problem']}"
        if body["attempt"]["problem"]
        else f"{body['attempt']['agent']} mended attempt {body['attempt']['number']}: {_short(body['commit'])}"
    ),
)
"""What our agent made of a change elsewhere that was refused."""
ROLLBACK_CHOSEN = Record("rollback-chosen", "{environment}", "RolledBack")
"""Where a person's rollback goes."""
ROLLED_BACK = Record("rolled_back", "{what}", "RolledBack", _rolled_back)
"""The release before serves again. `what`: the release that left; the environment, if a person asked for it."""
REVERTING = Record("reverting", "{revision}", "Reverting")
"""The commit that will revert a merge."""
REVERT = Record("revert", "{revision}", "Proposed", lambda body: f"pull request {body['url']} takes the merge back")
"""The pull request that reverts a merge."""
REVERTED = Record(
    "reverted", "{revision}", "Reverted", lambda body: f"the merge was reverted by {_short(body['commit'])}"
)
"""The commit that reverted it."""
GOING_BACK_CHOSEN = Record(
    "going-back-chosen",
    "{revision}/{act}",
    "GoingBack",
    lambda body: f"{_short(body['failed'])} keeps dying: going back to {_short(body['serving'])}",
)
"""A release keeps dying, and where the traffic goes."""
STAYS_THERE = Record(
    "stays-there",
    "{revision}",
    "StaysThere",
    lambda body: f"{_short(body['revision'])} keeps dying and stays: {body['reason'][:200]}",
)
"""Why it stays all the same."""
BROUGHT_BACK = Record("brought-back", "{environment}/{at}", "BroughtBack")
"""What had stopped in an environment, and was started again."""
DOWNGRADE_CHOSEN = Record("downgrade-chosen", "{environment}", "Migrated")
"""The migration that is taken back."""
DOWNGRADED = Record("downgraded", "{environment}", "Migrated", _downgraded)
"""The database is back at the schema before."""
HELD = Record(
    "held",
    "{id}",
    "Holding",
    lambda body: f"{body['by']}{_known_by(body)} holds {body['environment']}: {body['reason']}",
)
"""Who lets nothing be released to an environment."""
OPENED = Record(
    "opened",
    "{id}",
    "Holding",
    lambda body: f"{body['by']}{_known_by(body)} opens {body['environment']} again: {body['reason']}",
)
"""Who opens it again."""
OUTCOME = Record("outcome", "outcome", "Outcome", lambda body: f"outcome: {body['sentence']}")
"""How the task ended."""
BILL = Record("bill", "{step}-{of}", "BillLine")
"""What a step took. `of`: the attempt or commit."""
BASELINE = Record("baseline", "{key}", "Suite")
"""What the tests of a base commit say, for all runs."""
SPOTTED = Record("spotted", "{key}", "Spotted")
"""Where a repository has secrets, for all runs."""
EXPORT = Record("export", "{key}", "Exported")
"""What a lock wants installed, for all runs."""
PROJECT = Record("project", "{key}", "BuiltProject")
"""A project of a repository, built once for all runs."""
NOTIFYING = Record("notifying", "{message}|{step}|{channel}|{number}", "Notifying")
"""A notice that is about to be sent."""
NOTIFIED = Record("notified", "{message}|{step}|{channel}|{number}", "Notified")
"""A notice that was sent, or why not."""
CHECKPOINT = Record("checkpoint", "{number}", "Sealed")
"""What was sealed of the ledger, up to which entry."""
ISSUE_MARK = Record("issue-mark", "{at}", "IssueMark")
"""Up to when a repository's issues were looked at."""
ISSUE_TRIGGER = Record("issue-trigger", "{trigger}", "Decided")
"""What was decided on a wish at an issue."""
ISSUE_RUN = Record("issue-run", "{trigger}", "IssueRun")
"""The run that came of it."""
ISSUE_TOLD = Record("issue-told", "{trigger}", "IssueTold")
"""The issue has its last comment."""
METERED = Record("metered", "{call}", "Metered")
"""What a call to a model took, for the gateway."""
RESERVED = Record("reserved", "{call}", "Reserved")
"""At most what it can take, before it is let through."""
EGRESS = Record("egress", "{part}-{number}", "Decisions")
"""What a sandbox asked of the network, and was answered."""
PLANTED = Record("planted", "{slot}", "Planted")
"""A fault that waits for a reviewer to see it."""
PLANTED_ANSWER = Record("planted-answer", "{slot}", "PlantedAnswer")
"""What the reviewer said to it."""
IDENTITY = Record("identity", "ledger", "Identity")
"""What tells this ledger from every other one."""

RECORDS = {record.kind: record for record in list(globals().values()) if isinstance(record, Record)}
"""Kind → what is known of it."""


def kinds_of(*records: Record) -> tuple[str, ...]:
    """Their kinds, to ask a ledger for their entries."""
    return tuple(record.kind for record in records)


def sentence_of(kind: str, body: Body) -> str | None:
    """One line for an entry; None if it is bookkeeping, or of a kind that this Lockgate does not know."""
    record = RECORDS.get(kind)
    if record is None or record.says is None:
        return None
    try:
        return block(record.says(body), escape=True)
    except (LookupError, TypeError, ValueError, AttributeError):
        return f"{kind}: this Lockgate cannot read what stands there"
