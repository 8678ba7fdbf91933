"""A session may be kept alive beyond its interactive TTL."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say for each group until when it is kept alive; none was before."""
    op.add_column("groups", sa.Column("keep_alive_until", sa.BigInteger(), nullable=True))
