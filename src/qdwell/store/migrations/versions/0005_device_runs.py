"""A device whose runs outlive the server: what it calls them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; no run of an older release can be adopted."""
    op.create_table(
        "device_runs",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("device_runs_job_fk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "attempt", "n", name=op.f("device_runs_pk")),
    )
