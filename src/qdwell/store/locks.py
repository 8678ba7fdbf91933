"""The advisory locks of a PostgreSQL database, and how one is taken from who keeps it in vain."""

from __future__ import annotations

from typing import Any

import psycopg

#: What they are for; the numbers mean nothing else.
LEADER_LOCK, MIGRATION_LOCK, NOTES_LOCK = 0x71647765, 0x71647766, 0x71647768

# Who brings the schema up to date has every lock that they need by right.
_END_KEEPER = """
SELECT pg_terminate_backend(held.pid, %s) FROM pg_locks AS held
WHERE held.locktype = 'advisory' AND held.granted AND held.objid = %s::oid
AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND held.pid <> pg_backend_pid() AND NOT EXISTS (
    SELECT 1 FROM pg_locks AS other WHERE other.pid = held.pid AND other.objid = %s::oid)
"""


def end_keeper(connection: psycopg.Connection[Any], lock: int, wait_ms: int = 0) -> None:
    """End the connection that keeps a lock, and wait at most `wait_ms` until it has gone.

    Raises:
        psycopg.Error: the database cannot be asked, or does not let us end another user's session.
    """
    connection.execute(_END_KEEPER, (wait_ms, lock, MIGRATION_LOCK))
