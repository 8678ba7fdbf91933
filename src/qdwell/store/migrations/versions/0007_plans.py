"""Plans made by command; accounts and instances that are closed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new."""
    op.create_table(
        "plans",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("plans_pk")),
    )
    for table in ("accounts", "instances"):
        op.add_column(table, sa.Column("closed_at", sa.BigInteger(), nullable=True))
