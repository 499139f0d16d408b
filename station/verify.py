"""Recomputes the chain of a run: brief → tree → evidence → approval → artifact → what the live service says."""

from blocks.artifacts.signing_key import SigningKey
from blocks.artifacts.statement import verify as verify_statement
from blocks.workshop import Workshop, workshop
from domain.artifact import Artifact, digest_of_files
from domain.errors import InputError, LockgateError
from domain.health import Identity
from domain.rehearsed import Migrated
from domain.task import (
    Approval,
    Attempt,
    End,
    Evidence,
    Health,
    Merged,
    Outcome,
    Prepared,
    Rehearsed,
    Release,
    Scanned,
    Tested,
)
from domain.value import Value
from station.runs import ledger_of, read_run
from tasks.deploy import provenance
from tasks.review_gate import fingerprint


class Link(Value):
    """One link of the chain."""

    name: str
    proof: str = ""
    problem: str | None = None


def verify(run_id: str) -> list[Link]:
    """Each link with its proof or its problem, in order. Raises InputError for a run without an outcome."""
    found = read_run(run_id)
    run = str(found.id)
    ledger = ledger_of(found)
    broken = ledger.verify()
    links = [Link(name="ledger", proof="every entry follows from the one before", problem=broken)]
    outcome = ledger.find(run, "outcome", "outcome", Outcome)
    if outcome is None:
        raise InputError(f"run {run_id} has no outcome yet: there is nothing to verify")
    if outcome.commit is None:
        links.append(Link(name="outcome", proof=f"{outcome.end}: nothing of it is on the branch"))
        return links
    shop = workshop(Prepared.model_validate(ledger.entries(run_id=run, kind="prepared")[-1].body).brief.workshop)
    try:
        links += _change(shop, run, outcome)
    except (LockgateError, LookupError) as err:
        links.append(Link(name="evidence", problem=str(err)))
    if outcome.end is End.LIVE:
        links += _release(shop, run, outcome)
    return links


def _change(shop: Workshop, run: str, outcome: Outcome) -> list[Link]:
    ledger, commit = shop.ledger, outcome.commit or ""
    attempts = [Attempt.model_validate(e.body) for e in ledger.entries(run_id=run, kind="attempt")]
    prepared = [Prepared.model_validate(e.body) for e in ledger.entries(run_id=run, kind="prepared")]
    tested, scanned = ledger.find(run, "tested", commit, Tested), ledger.find(run, "scanned", commit, Scanned)
    merged = ledger.find(run, "merged", commit, Merged)
    if tested is None or scanned is None or merged is None:
        raise LookupError(f"the ledger has no evidence or merge of {commit[:12]}")
    start = prepared[-1]
    brief = start.brief
    again = shop.forge.tree_id(brief.repository, commit)
    known = {a.commit: a for a in attempts}.get(commit)
    attempt = known or attempts[-1].model_copy(update={"commit": commit, "tree": again, "base": start.base})
    named = f"Lockgate-Brief: {brief.digest}" in shop.forge.message(brief.repository, commit)
    approvals = [Approval.model_validate(e.body) for e in ledger.entries(run_id=run, kind="approval")]
    granted = {a.fingerprint for a in approvals if a.is_approved}
    rehearsed = ledger.find(run, "rehearsed", f"{brief.environment}/{commit}", Rehearsed)
    evidence = Evidence(attempt=attempt, tested=tested, scanned=scanned, rehearsed=rehearsed)
    marks = [fingerprint(p, evidence) for p in prepared]
    approved = next((mark for mark in marks if mark in granted), None)
    on_branch = shop.forge.contains(brief.repository, brief.branch, commit)
    return [
        Link(
            name="brief",
            proof=f"{brief.digest[:12]} is named by commit {commit[:12]}",
            problem=None if named else f"commit {commit[:12]} does not name this brief ({brief.digest[:12]})",
        ),
        Link(
            name="tree",
            proof=f"{again[:12]} is what was tested",
            problem=None if attempt.tree == again else f"the commit's tree is {again[:12]}, tested was {attempt.tree}",
        ),
        _contract(shop, start),
        Link(
            name="approval",
            proof=f"bound to {str(approved)[:12]}",
            problem=None if approved else "no approval is bound to this brief, tree and evidence",
        ),
        Link(
            name="merge",
            proof=f"{commit[:12]} is on {brief.branch}",
            problem=None if on_branch else f"{commit[:12]} is not on {brief.branch}",
        ),
    ]


def _contract(shop: Workshop, prepared: Prepared) -> Link:
    try:
        shop.store.get(prepared.contract)
    except LockgateError as err:
        return Link(name="contract", problem=str(err))
    return Link(name="contract", proof=f"{prepared.contract[:12]} is whole in the store")


def _release(shop: Workshop, run: str, outcome: Outcome) -> list[Link]:
    commit, environment = outcome.commit or "", outcome.environment or ""
    release = shop.ledger.find(run, "deployed", commit, Release)
    health = shop.ledger.find(run, "health", commit, Health)
    if release is None or health is None:
        return [Link(name="release", problem=f"the ledger has no release of {commit[:12]}")]
    signed = _statement(shop, run, release)
    target = shop.target(environment)
    digest = target.artifact(commit)
    newer = [e for e in shop.ledger.entries(kind="live") if e.body["environment"] == environment][-1]
    superseded = newer.body["revision"] != commit
    serving = target.current()
    gone = None if superseded else f"{environment} serves {serving or 'nothing'}, not {commit}"
    return [
        signed,
        *_schema(shop, run, environment, commit, superseded),
        Link(
            name="artifact",
            proof=f"{release.artifact[:12]}" + ("" if digest else " (no longer kept: superseded)"),
            problem=None
            if digest == release.artifact or (superseded and digest is None)
            else f"the release on disk has digest {digest}",
        ),
        Link(
            name="live",
            proof=_who(environment, commit, health) if serving == commit else "superseded by a later release",
            problem=None if serving == commit else gone,
        ),
    ]


def _who(environment: str, commit: str, health: Health) -> str:
    if health.identity is Identity.SEEN:
        return f"{environment} answers from {commit[:12]}, as the platform sees: the service says no releaseId"
    return f"{environment} says releaseId {commit[:12]}"


def _schema(shop: Workshop, run: str, environment: str, commit: str, superseded: bool) -> list[Link]:
    """The database's schema, where the release came with one."""
    migrated, database = shop.ledger.find(run, "migrated", f"{environment}/{commit}", Migrated), None
    if migrated is None or (database := shop.database(environment)) is None:
        return []
    now = database.current_schema()
    differs = now != migrated.after and not superseded
    return [
        Link(
            name="schema",
            proof=f"{migrated.after[:12]} was rehearsed ({migrated.rehearsal[:12]})",
            problem=f"the database is at schema {now[:12]}, not at {migrated.after[:12]}" if differs else None,
        )
    ]


def _statement(shop: Workshop, run: str, release: Release) -> Link:
    """What was signed about the release, against what the ledger and the repository say now."""
    made = shop.ledger.find(run, "artifact", f"{release.environment}/{release.revision}", Artifact)
    start = Prepared.model_validate(shop.ledger.entries(run_id=run, kind="prepared")[-1].body)
    merged = shop.ledger.find(run, "merged", release.revision, Merged)
    if made is None:
        return Link(name="statement", problem=f"the ledger has no artifact of {release.revision[:12]}")
    about = provenance(shop, start, release.revision, merged)
    files = digest_of_files(shop.forge.tree(start.brief.repository, release.revision))
    about = about.model_copy(update={"files": files})
    try:
        envelope, key = shop.store.get(made.statement), SigningKey.ensure().public_key()
    except LockgateError as err:
        return Link(name="statement", problem=str(err))
    problem = verify_statement(envelope, key, made.id, about, made.sbom)
    return Link(name="statement", proof=f"{made.kind} {made.id[:12]} is signed for this brief", problem=problem)
