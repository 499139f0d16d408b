"""Seals the ledger: its head is signed and kept outside of it, at each outcome, release and rollback; and compares it
with all that was signed before."""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from prefect.settings import get_current_settings

from blocks import kept
from blocks.artifacts import checkpoints
from blocks.artifacts.signing_key import SigningKey
from blocks.home import home
from blocks.workshop import Workshop
from domain.checkpoint import Checkpoint, Ends, KeptCheckpoints, Sealed, differences, is_ours, newest_of
from domain.entry import Entry
from domain.errors import LedgerError, LockgateError, reason_of
from domain.records import CHECKPOINT, DOWNGRADED, LIVE, OUTCOME, ROLLED_BACK, kinds_of
from domain.value import Value
from tasks.people.pager import log, page

KINDS = kinds_of(OUTCOME, LIVE, ROLLED_BACK, DOWNGRADED)
"""What is sealed as soon as it is on record."""
UNSEALED = timedelta(minutes=30)
"""Housekeeping seals within ten minutes what was not sealed at once."""
_AGAIN_S = 86_400
OURS = "checkpoints"
"""The ledger's run for its notes of checkpoints."""


def seal(shop: Workshop, repository: str | None = None) -> None:
    """Sign the ledger as it stands, and keep that in the store, and in a ref of `repository`. Never raises: whatever is
    not sealed now is sealed with the next one, or by housekeeping, for a checkpoint covers all entries before it."""
    try:
        _seal(shop, repository)
    except Exception as err:  # what was done is done, and on record
        log().warning("no checkpoint of the ledger was made, the next one covers this too: %s", reason_of(err))


def seal_rest(shop: Workshop) -> list[str]:
    """Seal what nobody has sealed, such as when the store did not answer; what was done, as sentences."""
    if (left := unsealed(shop)) is None:
        return []
    _seal(shop, None)
    return [f"sealed the ledger: entry {left.number} ({left.kind}) had no checkpoint"]


def unsealed(shop: Workshop) -> Entry | None:
    """The newest entry that should be sealed and is not."""
    newest = max((entry for kind in KINDS if (entry := shop.ledger.last(kind))), key=lambda e: e.number, default=None)
    sealed = shop.ledger.last(CHECKPOINT.kind)
    covered = Sealed.model_validate(sealed.body).number if sealed else 0
    return newest if newest and newest.number > covered else None


def overdue(shop: Workshop) -> Entry | None:
    """What should have been sealed long ago, and is not. A station that has just begun to sign has some time for what
    older versions left, and so has one that has never signed."""
    left, since = unsealed(shop), checkpoints.since()
    return left if left and since and datetime.now(UTC) - max(left.at, since) > UNSEALED else None


def can_sign() -> bool:
    """Whether the signing key can be asked for: Prefect would start a server of its own where there is none."""
    return kept.is_used() or get_current_settings().api.url is not None


def _seal(shop: Workshop, repository: str | None) -> None:
    if not can_sign():
        return
    ledger = shop.ledger
    last = ledger.last_number()
    hashes = ledger.hashes((1, last))
    key = SigningKey.ensure()
    pem = key.public_key()
    known = checkpoints.trusted()
    if not known:
        checkpoints.trust(pem)
    elif checkpoints.fingerprint(pem) not in map(checkpoints.fingerprint, known):
        log().warning("the signing key was changed: if that was you, say so by `lockgate verify --trust %s`",
                      checkpoints.fingerprint(pem))  # fmt: skip
    _check_signed(shop, hashes[1], (*known, pem))
    made = Checkpoint(
        ledger=hashes[1], place=ledger.place, number=last, head=hashes[last], at=datetime.now(UTC), key=pem
    )
    envelope = checkpoints.sign(made, key)
    shop.store.seal(made.name, envelope)
    in_repository = None
    if repository and shop.checkpoints_in_repository:
        try:
            shop.forge.append(repository, envelope.decode())
            in_repository = repository
        except LockgateError as err:
            log().warning("the checkpoint of the ledger is in the store alone: %s", err)
    note = Sealed(number=last, name=made.name, key=checkpoints.fingerprint(pem), repository=in_repository)
    ledger.record(OURS, *CHECKPOINT.at(last), note)


def _check_signed(shop: Workshop, first: str, keys: Iterable[str]) -> None:
    """Raises LedgerError, and pages once a day, where the ledger is not what its newest checkpoint says: to sign that
    would make a rewritten ledger good. The newest is enough, for the hash of an entry covers all entries before it."""
    newest = next((one for one in _kept(shop, keys) if is_ours(one, first, shop.ledger.place)), None)
    said = newest and newest.checkpoint
    if not said or shop.ledger.hashes([said.number]).get(said.number) == said.head:
        return
    what = (
        f"entry {said.number} of the ledger is not the one that was signed at {said.at:%Y-%m-%d %H:%M} UTC, or is "
        "gone: nothing more is signed until it is. See `lockgate verify`"
    )
    mark = home() / "contradicted"
    if not mark.exists() or time.time() - mark.stat().st_mtime > _AGAIN_S:
        mark.touch()
        page(shop.pager, "Lockgate: the ledger is not what was signed", what)
    raise LedgerError(what)


def _kept(shop: Workshop, keys: Iterable[str]) -> Iterator[KeptCheckpoints]:
    """What lies in the store as checkpoints, the newest first."""
    known = tuple(keys)
    return (checkpoints.read(data, "in the store", name, known) for name, data in shop.store.sealed())


class Compared(Value):
    """A ledger beside what was signed about it."""

    problems: tuple[str, ...]
    proof: str
    covered: int = 0
    """Up to this entry the ledger is what was signed."""


def compare(shop: Workshop, repositories: Iterable[str] = ()) -> Compared:
    """The ledger beside the newest checkpoints of the store, and of these repositories.

    Raises LedgerError if the ledger or the store does not answer. A repository that does not answer is said.
    """
    ledger, trusted = shop.ledger, checkpoints.trusted()
    first = ledger.hashes([1]).get(1)
    found = newest_of(_kept(shop, trusted), first, ledger.place)
    names = {one.name for one in found if is_ours(one, first, ledger.place)}
    silent = []
    for repository in dict.fromkeys(repositories):
        try:
            lines = shop.forge.appended(repository)
        except LockgateError as err:
            silent.append(f"; {repository} could not be asked ({err})")
            continue
        read = (checkpoints.read(line.encode(), f"in {repository}", "a commit", trusted) for line in lines)
        found += newest_of(read, first, ledger.place)
    named = _named(ledger.entries(run_id=OURS, kind=CHECKPOINT.kind))
    last = ledger.last_number()
    good = [one for one in found if is_ours(one, first, ledger.place)]
    hashes = ledger.hashes(one.checkpoint.number for one in good if one.checkpoint)
    ends = Ends(first=first, place=ledger.place, last=last, hashes=hashes)
    oldest = min(names, default="")  # the store has all of them, a repository those of its own runs
    listed = [one for one in named if one.name >= oldest]
    has_signed = bool(trusted) and (bool(named) or overdue(shop) is not None)
    problems = differences(ends, found, listed, has_signed)
    if not problems and (older := ledger.why_older()):
        problems = (older,)
    covered = max((one.checkpoint.number for one in good if one.checkpoint), default=0)
    where = " and ".join(dict.fromkeys(one.where for one in good))
    proof = f"signed up to entry {covered} of {last}, {where}" if covered else "none yet: the next outcome is sealed"
    return Compared(problems=problems, proof=proof + "".join(silent), covered=covered)


def repositories_of(shop: Workshop, limit: int = 5) -> tuple[str, ...]:
    """Repositories that have checkpoints of this ledger, the newest first."""
    notes = _named(shop.ledger.entries(run_id=OURS, kind=CHECKPOINT.kind))
    return tuple(dict.fromkeys(one.repository for one in reversed(notes) if one.repository))[:limit]


def _named(entries: Iterable[Entry]) -> list[Sealed]:
    return [Sealed.model_validate(entry.body) for entry in entries]
