"""The file of a blob may have another name than its hash."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the files there are have their hashes for names."""
    op.add_column("blobs", sa.Column("file", sa.Text(), nullable=True))
