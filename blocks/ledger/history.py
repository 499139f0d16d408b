"""Reads a ledger into a history, a part at a time: what was read before is not read again."""

from blocks.ledger.reading import Reader
from domain.history import KINDS, History

AT_ONCE = 1000
"""So many entries are in memory."""


def read(url: str, known: History | None = None) -> History:
    """The history of the ledger at a URL: `known` with what came since, or a new one where that is of another ledger,
    say after an older copy was put back. Raises LedgerError if the database does not answer."""
    ledger = Reader(url)
    history = known if known is not None and _goes_on(ledger, known) else History()
    while part := ledger.entries(kinds=KINDS, after=history.last, most=AT_ONCE):
        history.take(part)
    return history


def _goes_on(ledger: Reader, known: History) -> bool:
    there = ledger.entries(kinds=KINDS, after=known.last - 1, most=1)
    return not known.last or (bool(there) and there[0].hash == known.hash)
