"""A device whose runs outlive the server: how long it did not work for a job that it had."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of a run that goes on through the upgrade nobody knows it."""
    op.add_column("device_runs", sa.Column("idle_ms", sa.BigInteger(), nullable=True))
