"""Several servers may share a database; the database knows which blobs are its own."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the rows of the leader, where nobody leads yet, and the column of the mark."""
    op.create_table(
        "leader",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("leader_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("leader_pk")),
    )
    op.execute("INSERT INTO leader (id, epoch) VALUES (1, 0)")
    op.create_table(
        "pulse",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("pulse_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pulse_pk")),
    )
    op.execute("INSERT INTO pulse (id, epoch, seen_at) VALUES (1, 0, 0)")
    op.add_column("server", sa.Column("mark", sa.Text(), nullable=True))
