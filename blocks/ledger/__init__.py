"""The ledger: what happened, in one append-only, hash-chained table on SQLite or PostgreSQL, and the leases."""

from blocks.ledger.ledger import Ledger
from blocks.ledger.rows import Entry

__all__ = ["Entry", "Ledger"]
