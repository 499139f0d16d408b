"""Tokens of the front door, and the answers that came in with one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lockgate_tokens",
        sa.Column("id", sa.String(), nullable=False, primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False, unique=True),
        sa.Column("roles", sa.String(), nullable=False),
        sa.Column("added_at", sa.String(), nullable=False),
        sa.Column("expires_at", sa.String(), nullable=True),
        sa.Column("revoked_at", sa.String(), nullable=True),
    )
    op.create_table(
        "lockgate_signed_answers",
        sa.Column("run_id", sa.String(), nullable=False, primary_key=True),
        sa.Column("question", sa.String(), nullable=False, primary_key=True),
        sa.Column("digest", sa.String(), nullable=False, primary_key=True),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("token_id", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("the ledger only grows: to go back, restore a backup")
