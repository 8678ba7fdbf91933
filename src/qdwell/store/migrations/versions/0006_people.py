"""Members with roles, tokens with names and ends, terms of single instances, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER audit_no_{what.lower()} BEFORE {what} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for what in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        """
        CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$
        """,
        """
        CREATE OR REPLACE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit
        FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
        """,
    ],
}


def upgrade() -> None:
    """Add what is new; whoever was there is an administrator of their own instance."""
    _columns()
    _members()
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pk")),
    )
    for step in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(step)


def _columns() -> None:
    for table, names, kind in (
        ("users", ("name",), sa.Text),
        ("users", ("disabled_at",), sa.BigInteger),
        ("instances", ("backends",), sa.Text),
        ("instances", ("allocation_seconds", "limit_seconds", "spend_seconds"), sa.BigInteger),
        ("tokens", ("id", "name", "scope", "instance"), sa.Text),
        ("tokens", ("expires_at", "revoked_at", "used_at"), sa.BigInteger),
    ):
        for name in names:
            op.add_column(table, sa.Column(name, kind(), nullable=True))
    op.execute("UPDATE users SET name = (SELECT name FROM accounts WHERE id = users.account)")
    op.execute("UPDATE tokens SET id = substr(hash, 1, 12), name = 'first'")
    op.create_index("tokens_id", "tokens", ["id"], unique=True)


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["instance"], ["instances.crn"], name="members_instance_fk"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="members_user_id_fk"),
        sa.PrimaryKeyConstraint("instance", "user_id", name=op.f("members_pk")),
        sa.CheckConstraint("role IN ('admin', 'member', 'viewer')", name=op.f("members_role_word")),
    )
    op.create_index("members_user_id", "members", ["user_id"])
    op.execute(
        "INSERT INTO members (instance, user_id, role, created) "
        "SELECT instances.crn, users.id, 'admin', users.created "
        "FROM users JOIN instances ON instances.account = users.account"
    )
