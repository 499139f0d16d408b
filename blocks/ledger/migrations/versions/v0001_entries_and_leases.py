"""The append-only chain of entries, and the leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REFUSE = "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
# A REPLACE in SQLite deletes without firing DELETE triggers (https://sqlite.org/lang_conflict.html), so an insert that
# meets a row is refused before it conflicts.
MEETS_A_ROW = """EXISTS (
    SELECT 1 FROM entries WHERE id = NEW.id OR (run_id = NEW.run_id AND kind = NEW.kind AND key = NEW.key)
)"""
SQLITE = (
    f"CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries {REFUSE}",
    f"CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries {REFUSE}",
    f"CREATE TRIGGER entries_no_replace BEFORE INSERT ON entries WHEN {MEETS_A_ROW} {REFUSE}",
)
POSTGRESQL = (
    """CREATE FUNCTION lockgate_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$""",
    """CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION lockgate_append_only()""",
)


def upgrade() -> None:
    op.create_table(
        "entries",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, primary_key=True),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.UniqueConstraint("run_id", "kind", "key", name="entries_once"),
    )
    op.create_index("ix_entries_kind", "entries", ["kind"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False, primary_key=True),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
    )
    for statement in {"sqlite": SQLITE, "postgresql": POSTGRESQL}[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the ledger only grows: to go back, restore a backup")
