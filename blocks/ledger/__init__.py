"""The ledger: what happened, in one append-only, hash-chained table on SQLite or PostgreSQL, and the leases.

`ledger.py` is the block. `reading.py` reads it and `writing.py` writes it without importing Prefect: for commands that
answer at once, and for the front door.
"""
