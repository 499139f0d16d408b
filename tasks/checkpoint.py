"""Seals the ledger: its head is signed and kept outside of it, at each outcome, release and rollback; and compares it
with all that was signed before."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from prefect.settings import get_current_settings

from blocks import kept
from blocks.artifacts import checkpoints
from blocks.artifacts.signing_key import SigningKey
from blocks.workshop import Workshop
from domain.checkpoint import Checkpoint, Ends, Sealed, differences
from domain.entry import Entry
from domain.errors import LockgateError
from domain.value import Value
from tasks.pager import log

KINDS = ("outcome", "live", "rolled_back", "downgraded")
"""What is sealed as soon as it is on record."""
UNSEALED = timedelta(minutes=30)
"""Housekeeping seals within ten minutes what was not sealed at once."""
OURS = "checkpoints"
"""The ledger's run for its notes of checkpoints."""


def seal(shop: Workshop, repository: str | None = None) -> None:
    """Sign the ledger as it stands, and keep that in the store, and in a ref of `repository`. Never raises: whatever is
    not sealed now is sealed with the next one, or by housekeeping, for a checkpoint covers all entries before it."""
    try:
        _seal(shop, repository)
    except Exception as err:  # what was done is done, and on record
        why = str(err) if isinstance(err, LockgateError) else f"{type(err).__name__}: {err}"
        log().warning("no checkpoint of the ledger was made, the next one covers this too: %s", why)


def seal_rest(shop: Workshop) -> list[str]:
    """Seal what nobody has sealed, such as when the store did not answer; what was done, as sentences."""
    if (left := unsealed(shop)) is None:
        return []
    _seal(shop, None)
    return [f"sealed the ledger: entry {left.number} ({left.kind}) had no checkpoint"]


def unsealed(shop: Workshop) -> Entry | None:
    """The newest entry that should be sealed and is not."""
    newest = max((entry for kind in KINDS if (entry := shop.ledger.last(kind))), key=lambda e: e.number, default=None)
    sealed = shop.ledger.last("checkpoint")
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
    ledger.record(OURS, "checkpoint", str(last), note)


class Compared(Value):
    """A ledger beside what was signed about it."""

    problems: tuple[str, ...]
    proof: str
    covered: int = 0
    """Up to this entry the ledger is what was signed."""


def compare(shop: Workshop, repositories: Iterable[str] = ()) -> Compared:
    """The ledger beside the newest checkpoints of the store, and of these repositories.

    Raises LedgerError where the ledger or the store does not answer. A repository that does not answer is said.
    """
    ledger, trusted = shop.ledger, checkpoints.trusted()
    found = [checkpoints.read(data, "in the store", name, trusted) for name, data in shop.store.sealed()]
    silent = []
    for repository in dict.fromkeys(repositories):
        try:
            lines = shop.forge.appended(repository)
        except LockgateError as err:
            silent.append(f"; {repository} could not be asked ({err})")
            continue
        found += [checkpoints.read(line.encode(), f"in {repository}", "a commit", trusted) for line in lines]
    named = _named(ledger.entries(run_id=OURS, kind="checkpoint"))
    last = ledger.last_number()
    hashes = ledger.hashes((1, *(one.checkpoint.number for one in found if one.checkpoint)))
    ends = Ends(first=hashes.get(1), place=ledger.place, last=last, hashes=hashes)
    names = {one.name for one in found}
    oldest = min(names, default="")
    listed = [one for one in named if one.name >= oldest] if names else named
    has_signed = bool(trusted) and (bool(named) or overdue(shop) is not None)
    problems = differences(ends, found, listed, has_signed)
    good = [one for one in found if one.checkpoint and not one.unknown_key]
    covered = max((one.checkpoint.number for one in good if one.checkpoint), default=0)
    where = " and ".join(dict.fromkeys(one.where for one in good))
    proof = f"signed up to entry {covered} of {last}, {where}" if covered else "none yet: the next outcome is sealed"
    return Compared(problems=problems, proof=proof + "".join(silent), covered=covered)


def repositories_of(shop: Workshop, limit: int = 5) -> tuple[str, ...]:
    """Repositories that have checkpoints of this ledger, the newest first."""
    notes = _named(shop.ledger.entries(run_id=OURS, kind="checkpoint"))
    return tuple(dict.fromkeys(one.repository for one in reversed(notes) if one.repository))[:limit]


def _named(entries: Iterable[Entry]) -> list[Sealed]:
    return [Sealed.model_validate(entry.body) for entry in entries]
