"""The first schema.

A migration is frozen: it says what was, whatever `tables` says today.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table, and the one row of `server`."""
    _accounts()
    _users()
    _instances()
    _tokens()
    _server()
    _groups()
    _jobs()
    _job_tags()
    _job_logs()
    _blobs()
    _job_blobs()
    _backends()
    _charges()
    _events()
    op.execute("INSERT INTO server (id, last_seq) VALUES (1, 0)")


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(create_constraint=True, name=name), nullable=False)


def _rule(name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(name))


def _key(
    column: str, target: str, name: str, ondelete: str | None = None
) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(name), ondelete=ondelete)


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _flag("admin"),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("accounts_pk")),
        sa.UniqueConstraint("name", name=op.f("accounts_name_unique")),
    )


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        _key("account", "accounts.id", "users_account_fk"),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pk")),
    )
    op.create_index(op.f("users_account"), "users", ["account"], unique=False)


def _instances() -> None:
    op.create_table(
        "instances",
        sa.Column("crn", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("pending_max", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        _rule("instances_crn_form", "crn LIKE 'crn:%:%:%:%:%:%'"),
        _rule("instances_pending_max_range", "pending_max >= 1"),
        _key("account", "accounts.id", "instances_account_fk"),
        sa.PrimaryKeyConstraint("crn", name=op.f("instances_pk")),
    )
    op.create_index(op.f("instances_account"), "instances", ["account"], unique=False)


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        _key("user_id", "users.id", "tokens_user_id_fk"),
        sa.PrimaryKeyConstraint("hash", name=op.f("tokens_pk")),
    )
    op.create_index(op.f("tokens_user_id"), "tokens", ["user_id"], unique=False)


def _server() -> None:
    op.create_table(
        "server",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("signing_key", sa.LargeBinary(), nullable=True),
        sa.Column("alive_at", sa.BigInteger(), nullable=True),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        _rule("server_one_row", "id = 1"),
        sa.PrimaryKeyConstraint("id", name=op.f("server_pk")),
    )


def _groups_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("interactive_ttl_ms", sa.BigInteger(), nullable=False),
        sa.Column("max_ttl_ms", sa.BigInteger(), nullable=True),
        sa.Column("max_ttl_cap_ms", sa.BigInteger(), nullable=False),
        sa.Column("active_ttl_ms", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        _flag("accepting"),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.Column("idle_since", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("activated_at", sa.BigInteger(), nullable=True),
        sa.Column("charging_since", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_job_started", sa.BigInteger(), nullable=True),
        sa.Column("last_job_completed", sa.BigInteger(), nullable=True),
        sa.Column("usage_ms", sa.BigInteger(), nullable=False),
    ]


def _groups_rules() -> list[sa.Constraint]:
    return [
        _rule("groups_closed_at_iff_closed", "(state = 'closed') = (closed_at IS NOT NULL)"),
        _rule(
            "groups_accepting_only_if_not_ended",
            "NOT (accepting AND (ending IS NOT NULL OR state IN ('closed', 'pending_closed')))",
        ),
        _rule(
            "groups_ending_word",
            "ending IN ('cancel', 'close', 'max_ttl', 'unused', 'usage_limit')",
        ),
        _rule("groups_mode_word", "mode IN ('batch', 'dedicated')"),
        _rule("groups_open_never_started", "state <> 'open' OR started_at IS NULL"),
        _rule(
            "groups_state_word",
            "state IN ('active', 'closed', 'inactive', 'open', "
            "'pending_closed', 'pending_inactive')",
        ),
        _rule("groups_started_and_activated", "(started_at IS NULL) = (activated_at IS NULL)"),
        _rule("groups_activated_before_closed", "activated_at <= closed_at"),
        _rule("groups_created_before_started", "created <= started_at"),
        _rule("groups_started_before_activated", "started_at <= activated_at"),
        _rule("groups_usage_range", "usage_ms >= 0"),
        _key("instance", "instances.crn", "groups_instance_fk"),
        sa.PrimaryKeyConstraint("id", name=op.f("groups_pk")),
        sa.UniqueConstraint("seq", name=op.f("groups_seq_unique")),
    ]


def _groups() -> None:
    op.create_table("groups", *_groups_columns(), *_groups_rules())
    op.create_index("groups_instance_seq", "groups", ["instance", "seq"], unique=False)
    op.create_index(
        "groups_live",
        "groups",
        ["seq"],
        unique=False,
        sqlite_where=sa.text("state <> 'closed'"),
        postgresql_where=sa.text("state <> 'closed'"),
    )


def _jobs_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("limit_ms", sa.BigInteger(), nullable=False),
        _flag("limit_asked"),
        sa.Column("estimate_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("prepare_tries", sa.BigInteger(), nullable=False),
        sa.Column("execute_tries", sa.BigInteger(), nullable=False),
        sa.Column("postprocess_tries", sa.BigInteger(), nullable=False),
        sa.Column("running_at", sa.BigInteger(), nullable=True),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("executing_at", sa.BigInteger(), nullable=True),
        sa.Column("executed_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("quantum_ms", sa.BigInteger(), nullable=False),
        sa.Column("downtime_ms", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("solution", sa.Text(), nullable=True),
        sa.Column("program_id", sa.Text(), nullable=False),
        sa.Column("params_bytes", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        _flag("private"),
        sa.Column("runtime", sa.Text(), nullable=True),
        sa.Column("log_level", sa.Text(), nullable=True),
        sa.Column("cost_s", sa.BigInteger(), nullable=True),
        sa.Column("calibration_id", sa.Text(), nullable=True),
        sa.Column("caller", sa.Text(), nullable=True),
        sa.Column("api_version", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=True),
    ]


def _jobs_rules() -> list[sa.Constraint]:
    return [
        _rule(
            "jobs_finished_at_iff_final",
            "(state IN ('cancelled', 'completed', 'failed')) = (finished_at IS NOT NULL)",
        ),
        _rule("jobs_code_only_of_unsuccessful", "code IS NULL OR state IN ('failed', 'cancelled')"),
        _rule("jobs_queued_never_ran", "state <> 'queued' OR running_at IS NULL"),
        _rule(
            "jobs_running_has_run",
            "state = 'queued' OR state IN ('cancelled', 'completed', 'failed') "
            "OR running_at IS NOT NULL",
        ),
        _rule(
            "jobs_state_word",
            "state IN ('cancelled', 'completed', 'executed', 'executing', 'failed', "
            "'postprocessing', 'preparing', 'queued', 'ready')",
        ),
        _rule("jobs_attempt_range", "attempt >= 0"),
        _rule("jobs_created_before_running", "created <= running_at"),
        _rule("jobs_limit_range", "limit_ms >= 1"),
        _rule(
            "jobs_tries_range",
            "prepare_tries >= 0 AND execute_tries >= 0 AND postprocess_tries >= 0",
        ),
        _rule("jobs_quantum_range", "quantum_ms >= 0 AND downtime_ms >= 0"),
        _rule("jobs_running_before_finished", "running_at <= finished_at"),
        _key("group_id", "groups.id", "jobs_group_id_fk"),
        _key("instance", "instances.crn", "jobs_instance_fk"),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pk")),
        sa.UniqueConstraint("seq", name=op.f("jobs_seq_unique")),
    ]


def _jobs() -> None:
    op.create_table("jobs", *_jobs_columns(), *_jobs_rules())
    op.create_index(
        "jobs_group_seq",
        "jobs",
        ["group_id", "seq"],
        unique=False,
        sqlite_where=sa.text("group_id IS NOT NULL"),
        postgresql_where=sa.text("group_id IS NOT NULL"),
    )
    op.create_index("jobs_instance_seq", "jobs", ["instance", "seq"], unique=False)
    op.create_index(
        "jobs_pending",
        "jobs",
        ["instance"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def _job_tags() -> None:
    op.create_table(
        "job_tags",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        _rule("job_tags_length", "length(tag) <= 1000"),
        _rule("job_tags_count", "n >= 0 AND n < 100"),
        _key("job", "jobs.id", "job_tags_job_fk", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "tag", name=op.f("job_tags_pk")),
        sa.UniqueConstraint("job", "n", name=op.f("job_tags_job_unique")),
    )
    op.create_index("job_tags_tag", "job_tags", ["tag"], unique=False)


def _job_logs() -> None:
    op.create_table(
        "job_logs",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        _key("job", "jobs.id", "job_logs_job_fk", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", name=op.f("job_logs_pk")),
    )


def _blobs() -> None:
    op.create_table(
        "blobs",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        _rule("blobs_size_is_length", "content IS NULL OR length(content) = size"),
        _rule("blobs_hash_form", "length(hash) = 64"),
        sa.PrimaryKeyConstraint("hash", name=op.f("blobs_pk")),
    )


def _job_blobs() -> None:
    op.create_table(
        "job_blobs",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        _rule("job_blobs_n_range", "n >= 0 AND (n = 0 OR role = 'interim')"),
        _rule("job_blobs_role_word", "role IN ('interim', 'params', 'raw', 'result')"),
        _key("hash", "blobs.hash", "job_blobs_hash_fk"),
        _key("job", "jobs.id", "job_blobs_job_fk", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "role", "n", name=op.f("job_blobs_pk")),
    )
    op.create_index(op.f("job_blobs_hash"), "job_blobs", ["hash"], unique=False)


def _backends() -> None:
    op.create_table(
        "backends",
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("mode_reason", sa.Text(), nullable=False),
        sa.Column("lease_job", sa.Text(), nullable=True),
        sa.Column("lease_attempt", sa.BigInteger(), nullable=True),
        sa.Column("lease_at", sa.BigInteger(), nullable=True),
        _flag("lease_stopping"),
        sa.Column("reservation", sa.Text(), nullable=True),
        sa.Column("lock", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        _rule("backends_mode_word", "mode IN ('offline', 'online', 'paused')"),
        _rule(
            "backends_lease_whole",
            "(lease_job IS NULL) = (lease_at IS NULL) "
            "AND (lease_job IS NULL) = (lease_attempt IS NULL)",
        ),
        _rule("backends_stopping_has_lease", "NOT lease_stopping OR lease_job IS NOT NULL"),
        sa.PrimaryKeyConstraint("backend", name=op.f("backends_pk")),
    )


def _charges() -> None:
    op.create_table(
        "charges",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        _flag("charged"),
        _rule("charges_kind_word", "kind IN ('batch', 'job', 'session')"),
        _rule("charges_end_after_start", "ended_at >= started_at"),
        _rule("charges_owner", "job IS NOT NULL OR group_id IS NOT NULL"),
        _key("instance", "instances.crn", "charges_instance_fk"),
        sa.PrimaryKeyConstraint("id", name=op.f("charges_pk")),
    )
    op.create_index("charges_ended", "charges", ["ended_at"], unique=False)
    op.create_index("charges_instance_ended", "charges", ["instance", "ended_at"], unique=False)


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("state_before", sa.Text(), nullable=True),
        sa.Column("state_after", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=True),
        _rule("events_what_word", "what IN ('group', 'job', 'note')"),
        sa.PrimaryKeyConstraint("id", name=op.f("events_pk")),
    )
    op.create_index("events_subject", "events", ["subject", "id"], unique=False)
