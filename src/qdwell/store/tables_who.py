"""The tables of people: who may use the server, by what, and what operators have done.

`metadata`, which all tables share, is here as well. New columns are at the end of their tables,
where a migration can put them.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)

ROLES = ("admin", "member", "viewer")
SCOPES = ("full", "read")

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "uq": "%(table_name)s_%(column_0_name)s_unique",
        "ix": "%(table_name)s_%(column_0_name)s",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)


def check(name: str, rule: str) -> CheckConstraint:
    """A CHECK of this name, which the naming convention completes."""
    return CheckConstraint(text(rule), name=name)


def words(values: Iterable[str]) -> str:
    """Words as SQL lists them."""
    return ", ".join(f"'{value}'" for value in sorted(values))


def number(key: str, **more: object) -> Column[int]:
    """A whole number that is always there."""
    return Column(key, BigInteger, **{"nullable": False, **more})  # type: ignore[arg-type]


def instant(key: str) -> Column[int]:
    """A time in ms, or another number, that may be missing."""
    return Column(key, BigInteger, nullable=True)


def word(key: str, **more: object) -> Column[str]:
    """A text that is always there."""
    return Column(key, Text, **{"nullable": False, **more})  # type: ignore[arg-type]


def maybe(key: str, *more: object) -> Column[str]:
    """A text that may be missing."""
    return Column(key, Text, *more, nullable=True)  # type: ignore[arg-type]


def flag(key: str) -> Column[bool]:
    """A truth value."""
    return Column(key, Boolean(create_constraint=True, name=key), nullable=False)


# ---- who -----------------------------------------------------------------------------------------

accounts = Table(
    "accounts",
    metadata,
    word("id", primary_key=True),
    word("name", unique=True),
    flag("admin"),
    number("created"),
    # Nobody of a closed one signs in, or acts in what is its.
    instant("closed_at"),
)

users = Table(
    "users",
    metadata,
    word("id", primary_key=True),
    Column("account", Text, ForeignKey(accounts.c.id), nullable=False, index=True),
    number("created"),
    maybe("name"),
    instant("disabled_at"),
)

instances = Table(
    "instances",
    metadata,
    word("crn", primary_key=True),
    Column("account", Text, ForeignKey(accounts.c.id), nullable=False, index=True),
    word("name"),
    word("plan"),
    Column("pending_max", BigInteger, nullable=True),
    number("created"),
    # A JSON list of names; NULL: all backends.
    maybe("backends"),
    # What is its own instead of its plan's (I7-I9).
    instant("allocation_seconds"),
    instant("limit_seconds"),
    instant("spend_seconds"),
    # Nobody acts in a closed one, and what waits in it waits.
    instant("closed_at"),
    check("crn_form", "crn LIKE 'crn:%:%:%:%:%:%'"),
    check("pending_max_range", "pending_max >= 1"),
)

members = Table(
    "members",
    metadata,
    Column("instance", Text, ForeignKey(instances.c.crn), nullable=False),
    Column("user_id", Text, ForeignKey(users.c.id), nullable=False, index=True),
    word("role"),
    number("created"),
    PrimaryKeyConstraint("instance", "user_id"),
    check("role_word", f"role IN ({words(ROLES)})"),
)

tokens = Table(
    "tokens",
    metadata,
    # The token itself is nowhere: only its SHA-256.
    word("hash", primary_key=True),
    Column("user_id", Text, ForeignKey(users.c.id), nullable=False, index=True),
    number("created"),
    # What operators call it by: part of its hash, which tells nothing of it.
    maybe("id"),
    maybe("name"),
    # NULL: full.
    maybe("scope"),
    # The only instance that it is for; NULL: all of its user's.
    maybe("instance"),
    instant("expires_at"),
    instant("revoked_at"),
    instant("used_at"),
    Index("tokens_id", "id", unique=True),
)

# Who an identity provider says that a user is. The subject is the identity; an e-mail address is
# there to be read by people, as it was at the last sign-in.
identities = Table(
    "identities",
    metadata,
    word("id", primary_key=True),
    word("issuer"),
    word("subject"),
    Column("user_id", Text, ForeignKey(users.c.id), nullable=False, index=True),
    number("created"),
    maybe("email"),
    instant("used_at"),
    UniqueConstraint("issuer", "subject"),
)

# Plans made by command, beside the config file's.
plans = Table(
    "plans",
    metadata,
    word("name", primary_key=True),
    # JSON: the settings that differ from a new plan's.
    word("settings"),
    number("created"),
)

# What operators did. Rows are only ever added: the database refuses anything else.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    number("at"),
    word("actor"),
    word("action"),
    word("subject"),
    word("detail"),
)

#: How each kind of database is told so.
APPEND_ONLY = {
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
for _dialect, _steps in APPEND_ONLY.items():
    for _step in _steps:
        _made = DDL(_step).execute_if(dialect=_dialect)  # type: ignore[no-untyped-call]
        event.listen(audit, "after_create", _made)
