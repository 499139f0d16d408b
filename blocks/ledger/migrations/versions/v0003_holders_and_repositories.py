"""Which process has a lease, and which repositories a token may name."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leases", sa.Column("process", sa.String(), nullable=True))
    op.add_column("lockgate_tokens", sa.Column("repositories", sa.String(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("the ledger only grows: to go back, restore a backup")
