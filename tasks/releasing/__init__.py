"""Releasing to an environment: `engine.py` takes a release to all of the traffic and back, `lease.py` lets one run at a
time do so, `breaker.py` holds an environment after rollbacks in a row, `build.py` says what a release is made of,
`schema.py` and `migration.py` care for its database, `bundle.py` collects why one failed, and `checkpoint.py` signs the
ledger's head."""
