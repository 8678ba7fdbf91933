"""Identities: who an identity provider says that a user is."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; nobody has an identity yet."""
    op.create_table(
        "identities",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="identities_user_id_fk"),
        sa.PrimaryKeyConstraint("id", name=op.f("identities_pk")),
        sa.UniqueConstraint("issuer", "subject", name="identities_issuer_unique"),
    )
    op.create_index("identities_user_id", "identities", ["user_id"])
