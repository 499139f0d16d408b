"""Who somebody is at an OpenID provider, and how a token was shown; nobody asks since when a password is one."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lockgate_identities",
        sa.Column("issuer", sa.String(), nullable=False, primary_key=True),
        sa.Column("subject", sa.String(), nullable=False, primary_key=True),
        sa.Column("token_id", sa.String(), nullable=False, index=True),
    )
    op.add_column("lockgate_signed_answers", sa.Column("way", sa.String(), nullable=False, server_default=""))
    op.drop_column("lockgate_passwords", "since")


def downgrade() -> None:
    raise NotImplementedError("the ledger only grows: to go back, restore a backup")
