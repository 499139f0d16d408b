"""Passwords of people, and how often each name was tried."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lockgate_passwords",
        sa.Column("token_id", sa.String(), nullable=False, primary_key=True),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
    )
    op.create_table(
        "lockgate_sign_ins",
        sa.Column("name", sa.String(), nullable=False, primary_key=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("the ledger only grows: to go back, restore a backup")
