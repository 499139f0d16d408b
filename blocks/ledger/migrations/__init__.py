"""The ledger's schema, one alembic version a step. Applied by `blocks.ledger.database`; there is no ini file."""
