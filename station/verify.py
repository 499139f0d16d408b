"""Recomputes the chain of a run: brief → tree → evidence → approval → artifact → what the live service says."""

from collections.abc import Callable, Sequence

from blocks.artifacts import checkpoints
from blocks.artifacts.signing_key import SigningKey
from blocks.artifacts.statement import verify as verify_statement
from blocks.catalogue import names
from blocks.home import places
from blocks.workshop import Workshop, workshop
from domain.artifact import Artifact, digest_of_files
from domain.errors import InputError, LockgateError
from domain.health import IdentitySource
from domain.known_by import known_as
from domain.policy.holding import is_asked_for
from domain.records import (
    APPROVAL,
    ARTIFACT,
    ATTEMPT,
    DEPLOYED,
    HEALTH,
    LIVE,
    MERGED,
    MIGRATED,
    OUTCOME,
    PREPARED,
    REHEARSED,
    ROLLED_BACK,
    SCANNED,
    TESTED,
)
from domain.rehearsed import Migrated
from domain.task import (
    Answer,
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
from station.runs import read_run, shop_of
from tasks.deploy import provenance
from tasks.releasing import checkpoint
from tasks.review_gate import fingerprint


class Link(Value):
    """One link of the chain."""

    name: str
    proof: str = ""
    problem: str | None = None
    elsewhere: str | None = None
    """The machine that alone can look at it: here it is neither proven nor broken."""


def verify(run_id: str) -> list[Link]:
    """Each link with its proof or its problem, in order. Raises InputError for a run that is unknown, or not over."""
    found = read_run(run_id)
    run, shop = str(found.id), shop_of(found)
    links = _guarded("ledger", lambda: _chain(shop, run))
    try:
        outcome = shop.ledger.find(run, *OUTCOME.at(), Outcome)
    except LockgateError as err:
        return [*links, Link(name="outcome", problem=str(err))]
    if outcome is None:
        if any(link.problem for link in links):
            return [*links, Link(name="outcome", problem=f"this ledger knows no outcome of run {run}")]
        raise InputError(f"run {run_id} has no outcome yet: there is nothing to verify")
    if outcome.commit is None:
        return [*links, Link(name="outcome", proof=f"{outcome.end}: nothing of it is on the branch")]
    links += _guarded("evidence", lambda: _change(shop, run, outcome))
    if outcome.end is End.LIVE:
        links += _guarded("release", lambda: _release(shop, run, outcome))
    return links


def verify_ledgers() -> list[Link]:
    """The chain and the checkpoints of each workshop's ledger."""
    links, seen = [], set[str]()
    for name in names("workshop"):
        shop = workshop(name)
        if shop.ledger.place not in seen:
            seen.add(shop.ledger.place)
            links += _guarded(f"ledger of {name}", lambda shop=shop: _chain(shop))  # type: ignore[misc]
    return links


def trust(mark: str) -> str:
    """From now on checkpoints by the key with this fingerprint count; what to say. Raises InputError for an unknown."""
    shop = workshop("default")
    by = [checkpoints.read(data, "in the store", name, ()).checkpoint for name, data in shop.store.sealed()]
    keys = {SigningKey.ensure().public_key(), *(one.key for one in by if one)}
    chosen = [pem for pem in keys if checkpoints.fingerprint(pem) == mark]
    if not chosen:
        known = ", ".join(sorted(map(checkpoints.fingerprint, keys)))
        raise InputError(f"no checkpoint is signed by a key {mark!r}; there are {known}")
    checkpoints.trust(chosen[0])
    return f"checkpoints that the key {mark} signed count from now on"


def _guarded(name: str, look: Callable[[], list[Link]]) -> list[Link]:
    """What a look finds; that it cannot be done is a finding, whatever stands in the ledger."""
    try:
        return look()
    except LockgateError as err:
        return [Link(name=name, problem=str(err))]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as err:
        said = (str(err).splitlines() or [""])[0][:200]
        why = said if isinstance(err, LookupError) and " " in said else f"{type(err).__name__}: {said}"
        return [Link(name=name, problem=f"the ledger holds what this Lockgate cannot read ({why})")]


def _chain(shop: Workshop, run: str | None = None) -> list[Link]:
    """Whether the ledger follows from its first entry, and is what was signed about it."""
    try:
        broken = shop.ledger.verify()
    except LockgateError as err:
        broken = str(err)
    links = [Link(name="ledger", proof="every entry follows from the one before", problem=broken)]
    return links + _guarded("checkpoints", lambda: _sealed(shop, run))


def _sealed(shop: Workshop, run: str | None) -> list[Link]:
    ledger = shop.ledger
    repositories = checkpoint.repositories_of(shop)
    if run:
        prepared = ledger.entries(run_id=run, kind=PREPARED.kind)
        repositories = tuple(r for r in repositories if prepared and r == prepared[-1].body["brief"]["repository"])
    seen = checkpoint.compare(shop, repositories)
    problems = list(seen.problems)
    if left := checkpoint.overdue(shop):
        problems.append(
            f"entry {left.number} ({left.kind}) has no checkpoint after {checkpoint.UNSEALED}: see why in the log of "
            "the run and of housekeeping; `lockgate doctor` looks at the store"
        )
    return [Link(name="checkpoints", proof=seen.proof, problem="; ".join(problems) or None)]


def _change(shop: Workshop, run: str, outcome: Outcome) -> list[Link]:
    ledger, commit = shop.ledger, outcome.commit or ""
    attempts = [Attempt.model_validate(e.body) for e in ledger.entries(run_id=run, kind=ATTEMPT.kind)]
    prepared = [Prepared.model_validate(e.body) for e in ledger.entries(run_id=run, kind=PREPARED.kind)]
    merged = ledger.find(run, *MERGED.at(commit), Merged)
    judged = (merged.judged if merged else None) or commit
    tested, scanned = ledger.find(run, *TESTED.at(judged), Tested), ledger.find(run, *SCANNED.at(judged), Scanned)
    if tested is None or scanned is None or merged is None:
        raise LookupError(f"the ledger has no evidence or merge of {commit[:12]}")
    start = prepared[-1]
    brief = start.brief
    again = shop.forge.tree_id(brief.repository, commit)
    known = {a.commit: a for a in attempts}.get(judged)
    attempt = known or attempts[-1].model_copy(update={"commit": judged, "tree": again, "base": start.base})
    named = f"Lockgate-Brief: {brief.digest}" in shop.forge.message(brief.repository, commit)
    approvals = [Approval.model_validate(e.body) for e in ledger.entries(run_id=run, kind=APPROVAL.kind)]
    granted = {a.fingerprint for a in approvals if a.is_approved}
    rehearsed = ledger.find(run, *REHEARSED.at(brief.environment, judged), Rehearsed)
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
            proof=f"bound to {str(approved)[:12]}; {_by(approvals, approved)}",
            problem=None if approved else "no approval is bound to this brief, tree and evidence",
        ),
        Link(
            name="merge",
            proof=f"{commit[:12]} is on {brief.branch}",
            problem=None if on_branch else f"{commit[:12]} is not on {brief.branch}",
        ),
    ]


def _by(approvals: Sequence[Approval], mark: str | None) -> str:
    """Who approved it, and how the name was established."""
    given = [a for a in approvals if a.fingerprint == mark and a.answer is Answer.APPROVE]
    how = {
        name: f"a user of {a.forge}" if a.forge else "the policy" if a.rule else known_as(a.signed_in, a.way)
        for a in given
        for name in ((*a.others, a.reviewer) if a.forge else (a.reviewer,))
    }
    return "by " + ", ".join(f"{name} ({known})" for name, known in how.items())


def _contract(shop: Workshop, prepared: Prepared) -> Link:
    try:
        shop.store.get(prepared.contract)
    except LockgateError as err:
        return Link(name="contract", problem=str(err))
    return Link(name="contract", proof=f"{prepared.contract[:12]} is whole in the store")


def _release(shop: Workshop, run: str, outcome: Outcome) -> list[Link]:
    commit, environment = outcome.commit or "", outcome.environment or ""
    release = shop.ledger.find(run, *DEPLOYED.at(commit), Release)
    health = shop.ledger.find(run, *HEALTH.at(commit), Health)
    if release is None or health is None:
        return [Link(name="release", problem=f"the ledger has no release of {commit[:12]}")]
    signed = _statement(shop, run, release)
    place = shop.place_of(environment)
    if place and place not in places():
        proof = f"not looked at here: releases of {environment} live on {place}, where `lockgate verify {run}` does it"
        return [signed, Link(name="live", proof=proof, elsewhere=place)]
    target = shop.target(environment)
    digest = target.artifact(commit)
    left = _left(shop, environment, commit)
    superseded = left is not None
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
            proof=_who(environment, commit, health) if serving == commit else str(left),
            problem=None if serving == commit else gone,
        ),
    ]


def _left(shop: Workshop, environment: str, commit: str) -> str | None:
    """Why a release that was live does not serve any more, by the ledger; None: it is the one that should."""
    kinds = (LIVE.kind, ROLLED_BACK.kind)
    entries = sorted((entry for kind in kinds for entry in shop.ledger.entries(kind=kind)), key=lambda e: e.number)
    why: str | None = None
    for entry in entries:
        if entry.body.get("environment") != environment:
            continue
        if entry.kind == LIVE.kind:
            why = None if entry.body["revision"] == commit else "superseded by a later release"
        elif entry.body["serving"] == commit:
            why = None
        else:
            back = str(entry.body["serving"] or "nothing")[:12]
            who = "by a person" if is_asked_for(entry) else "by the platform"
            why = f"rolled back {who} at {entry.at:%Y-%m-%d %H:%M} UTC: {back} serves"
    return why


def _who(environment: str, commit: str, health: Health) -> str:
    if health.identity is IdentitySource.SEEN:
        return f"{environment} answers from {commit[:12]}, as the platform sees: the service says no releaseId"
    return f"{environment} says releaseId {commit[:12]}"


def _schema(shop: Workshop, run: str, environment: str, commit: str, superseded: bool) -> list[Link]:
    """The database's schema, where the release came with one."""
    migrated, database = shop.ledger.find(run, *MIGRATED.at(environment, commit), Migrated), None
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
    made = shop.ledger.find(run, *ARTIFACT.at(release.environment, release.revision), Artifact)
    start = Prepared.model_validate(shop.ledger.entries(run_id=run, kind=PREPARED.kind)[-1].body)
    merged = shop.ledger.find(run, *MERGED.at(release.revision), Merged)
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
