"""Who somebody is at an OpenID provider, and how a token was shown; nobody asks since when a password is one.

That column stays: a door of an older version that still runs asks for it with each request, and SQLite before 3.35
drops none.
"""

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
    with op.batch_alter_table("lockgate_passwords") as passwords:
        passwords.alter_column("since", existing_type=sa.Float(), existing_nullable=False, server_default="0")


def downgrade() -> None:
    raise NotImplementedError("the ledger only grows: to go back, restore a backup")
