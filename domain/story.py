"""The ledger's entries as lines that a person reads: the timeline of the CLI and of the outcome's artifact."""

from collections.abc import Callable
from typing import Any

from domain.policy.baseline import standing
from domain.task import Prepared
from domain.text import block

Body = dict[str, Any]


def told(kind: str, body: Body) -> str | None:
    """One line for an entry; None for the ones that are bookkeeping."""
    teller = _TELLERS.get(kind)
    try:
        return block(teller(body), escape=True) if teller else None
    except (LookupError, TypeError, ValueError, AttributeError):
        return f"{kind}: this Lockgate cannot read what stands there"


def _short(commit: str | None) -> str:
    return (commit or "nothing")[:12]


def _prepared(body: Body) -> str:
    if body["refusals"]:
        return f"brief refused: {body['refusals'][0]}"
    stands = standing(Prepared.model_validate(body)).sentence
    prepared = f"prepared on base {_short(body['base'])} (settings from {body['settings_source']})"
    return f"{stands}; {prepared}" if stands else prepared


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
    """How the name is known. A claim is always called one: a name may be any text, also "ann (signed in)"."""
    if body.get("rule"):
        return ""  # the policy's own
    if host := body.get("forge"):
        return f" (a user of {host})"
    return " (signed in)" if body.get("signed_in") else " (a claim)"


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


_TELLERS: dict[str, Callable[[Body], str]] = {
    "submitted": lambda body: f"{body['by']}{_known_by(body)} asks for it",
    "asked-for": lambda body: f"asked for by {body['by']['login']} at {body['url']}",
    "chosen": lambda body: f"chosen: {body['agent']}, {body['reasons'][0]}",
    "prepared": _prepared,
    "plan": lambda body: f"plan: {len(body['steps'])} steps",
    "attempt": _attempt,
    "tested": _tested,
    "scanned": _scanned,
    "rehearsal": _rehearsal,
    "rehearsed": _rehearsed,
    "migrated": _migrated,
    "verdict": _verdict,
    "raced": lambda body: f"attempt {body['passed']} passed every gate first; the others of its turn may stop",
    "opinion": lambda body: f"another agent reviewed it: {len(body['concerns'])} concerns",
    "question": _question,
    "pull-request": lambda body: f"pull request {body['url']} at {_short(body['head'])}",
    "revert": lambda body: f"pull request {body['url']} takes the merge back",
    "reverted": lambda body: f"the merge was reverted by {_short(body['commit'])}",
    "answers": lambda body: str(body["points"][-1]),
    "approval": _approval,
    "merged": lambda body: f"merged as {_short(body['commit'])}",
    "lacking": lambda body: f"approved, and cannot be merged yet: {body['reason'][:200]}",
    "ready": lambda body: f"{body['by']}{_known_by(body)} says that this is mended",
    "waits-for-window": lambda body: f"waits until {body['until'][:16]} UTC: {body['reason']}",
    "opened-window": _opened_window,
    "waits-for-forge": lambda body: f"waits for its forge: {body['reason'][:200]}",
    "share-passed": _share_passed,
    "sick": lambda body: f"{_short(body['revision'])} has to leave: {body['reason'][:200]}",
    "held": lambda body: f"{body['by']}{_known_by(body)} holds {body['environment']}: {body['reason']}",
    "opened": lambda body: f"{body['by']}{_known_by(body)} opens {body['environment']} again: {body['reason']}",
    "cancelled": lambda body: f"{body['by']}{_known_by(body)} asks to cancel it{_why(body)}",
    "not-cancelled": lambda body: f"the request of {body['by']} to cancel it was refused: {body['reason']}",
    "artifact": lambda body: f"{body['kind']} {_short(body['id'])} built and signed",
    "deploy-started": lambda body: f"deploying {_short(body['revision'])} to {body['environment']}",
    "deployed": _deployed,
    "health": _health,
    "ran-on": lambda body: f"{_short(body['revision'])} was tried on the database's schema and is well",
    "downgraded": _downgraded,
    "live": lambda body: f"{_short(body['revision'])} was seen serving {body['environment']}",
    "rolled_back": _rolled_back,
    "going-back-chosen": lambda body: f"{_short(body['failed'])} keeps dying: going back to {_short(body['serving'])}",
    "stays-there": lambda body: f"{_short(body['revision'])} keeps dying and stays: {body['reason'][:200]}",
    "outcome": lambda body: f"outcome: {body['sentence']}",
}
