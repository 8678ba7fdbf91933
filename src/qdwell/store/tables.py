"""The tables, with the checks by which the database itself refuses impossible rows.

Column keys are the field names of the core's records, so that rows and records map one to one.
Times and durations are integer milliseconds. Whatever is checked here holds for every row,
whoever wrote it:

- a state is one of the machine's; `finished_at` is set exactly in a final state, `closed_at`
  exactly when closed;
- a closed group takes no jobs; a charge never ends before it starts; a record has one charge of
  each id;
- a blob that a job refers to is there (small ones in the row, large ones in a file, see
  `blobs.py`).

A change here needs a migration (`migrations/`); a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from qdwell.core.decisions import Held
from qdwell.core.events import BackendMode
from qdwell.core.group import Ending, GroupState, Mode
from qdwell.core.job import FINAL, JobState
from qdwell.store.tables_who import accounts as accounts
from qdwell.store.tables_who import check as _check
from qdwell.store.tables_who import flag as _flag
from qdwell.store.tables_who import instances as instances
from qdwell.store.tables_who import instant as _instant
from qdwell.store.tables_who import maybe as _maybe
from qdwell.store.tables_who import metadata as metadata
from qdwell.store.tables_who import number as _number
from qdwell.store.tables_who import tokens as tokens
from qdwell.store.tables_who import users as users
from qdwell.store.tables_who import word as _word
from qdwell.store.tables_who import words as _words

# One row: what the server knows of itself.
server = Table(
    "server",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("signing_key", LargeBinary, nullable=True),
    _instant("alive_at"),
    _number("last_seq"),
    # The same word is in the place of the blobs: so the two are known to belong together.
    _maybe("mark"),
    _check("one_row", "id = 1"),
)

# One row: how often the leader among the servers of this database has changed. It is the fence of
# every commit (see postgres.py).
leader = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _number("epoch"),
    _check("one_row", "id = 1"),
)

# One row: what the leader says of itself, each second; apart from `leader`, so that a commit that
# takes long does not make it look dead.
pulse = Table(
    "pulse",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _number("epoch"),
    _maybe("url"),
    _number("seen_at"),
    _check("one_row", "id = 1"),
)

# Of several servers: the ids that the leader has handed over, newest only; see heard.py. The row
# with `since` is the first of a leader. Not in backups: it is about the server that runs.
heard = Table(
    "heard",
    metadata,
    _number("epoch"),
    _number("n"),
    Column("since", BigInteger, nullable=True),
    _maybe("job"),
)

# ---- what runs -----------------------------------------------------------------------------------

groups = Table(
    "groups",
    metadata,
    _word("id", primary_key=True),
    _number("seq", unique=True),
    _word("mode"),
    Column("instance", Text, ForeignKey(instances.c.crn), nullable=False),
    _word("backend"),
    _word("user_id"),
    _number("created"),
    _number("interactive_ttl_ms"),
    _instant("max_ttl_ms"),
    _number("max_ttl_cap_ms"),
    _instant("active_ttl_ms"),
    _word("state"),
    _flag("accepting"),
    _maybe("ending"),
    _instant("idle_since"),
    _instant("started_at"),
    _instant("activated_at"),
    _instant("charging_since"),
    _instant("closed_at"),
    _instant("last_job_started"),
    _instant("last_job_completed"),
    _number("usage_ms"),
    _instant("keep_alive_until"),
    _check("mode_word", f"mode IN ({_words(Mode)})"),
    _check("state_word", f"state IN ({_words(GroupState)})"),
    _check("ending_word", f"ending IN ({_words(Ending)})"),
    _check("closed_at_iff_closed", "(state = 'closed') = (closed_at IS NOT NULL)"),
    _check(
        "accepting_only_if_not_ended",
        "NOT (accepting AND (ending IS NOT NULL OR state IN ('closed', 'pending_closed')))",
    ),
    _check("open_never_started", "state <> 'open' OR started_at IS NULL"),
    _check("started_and_activated", "(started_at IS NULL) = (activated_at IS NULL)"),
    _check("started_before_activated", "started_at <= activated_at"),
    _check("activated_before_closed", "activated_at <= closed_at"),
    _check("created_before_started", "created <= started_at"),
    _check("usage_range", "usage_ms >= 0"),
    Index("groups_instance_seq", "instance", "seq"),
    Index(
        "groups_live",
        "seq",
        sqlite_where=text("state <> 'closed'"),
        postgresql_where=text("state <> 'closed'"),
    ),
)

_FINAL = f"state IN ({_words(FINAL)})"

jobs = Table(
    "jobs",
    metadata,
    _word("id", primary_key=True),
    _number("seq", unique=True),
    Column("instance", Text, ForeignKey(instances.c.crn), nullable=False),
    _word("backend"),
    _number("created"),
    Column("group_id", Text, ForeignKey(groups.c.id), key="group", nullable=True),
    _number("limit_ms"),
    _flag("limit_asked"),
    _number("estimate_ms"),
    _word("state"),
    _number("attempt"),
    _number("prepare_tries"),
    _number("execute_tries"),
    _number("postprocess_tries"),
    _instant("running_at"),
    _instant("ready_at"),
    _instant("executing_at"),
    _instant("executed_at"),
    _instant("finished_at"),
    _number("quantum_ms"),
    _number("downtime_ms"),
    Column("code", BigInteger, nullable=True),
    _maybe("reason"),
    _maybe("solution"),
    # JobDetails, but for its params (in job_blobs) and tags (in job_tags).
    _word("program_id"),
    _number("params_bytes"),
    _word("user_id"),
    _flag("private"),
    _maybe("runtime"),
    _maybe("log_level"),
    Column("cost_s", BigInteger, nullable=True),
    _maybe("calibration_id"),
    _maybe("caller"),
    _maybe("api_version"),
    # JobFacts, as JSON.
    _maybe("facts"),
    _check("state_word", f"state IN ({_words(JobState)})"),
    _check("finished_at_iff_final", f"({_FINAL}) = (finished_at IS NOT NULL)"),
    _check("queued_never_ran", "state <> 'queued' OR running_at IS NULL"),
    _check("running_has_run", f"state = 'queued' OR {_FINAL} OR running_at IS NOT NULL"),
    _check("created_before_running", "created <= running_at"),
    _check("running_before_finished", "running_at <= finished_at"),
    _check("attempt_range", "attempt >= 0"),
    _check("tries_range", "prepare_tries >= 0 AND execute_tries >= 0 AND postprocess_tries >= 0"),
    _check("limit_range", "limit_ms >= 1"),
    _check("quantum_range", "quantum_ms >= 0 AND downtime_ms >= 0"),
    _check("code_only_of_unsuccessful", "code IS NULL OR state IN ('failed', 'cancelled')"),
    Index("jobs_instance_seq", "instance", "seq"),
    Index(
        "jobs_group_seq",
        "group",
        "seq",
        sqlite_where=text("group_id IS NOT NULL"),
        postgresql_where=text("group_id IS NOT NULL"),
    ),
    # What is queued or running: read at start, and counted for the pending limit (L11).
    Index(
        "jobs_pending",
        "instance",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)

job_tags = Table(
    "job_tags",
    metadata,
    Column("job", Text, ForeignKey(jobs.c.id, ondelete="CASCADE"), nullable=False),
    _number("n"),
    _word("tag"),
    PrimaryKeyConstraint("job", "tag"),
    UniqueConstraint("job", "n"),
    # The plan's own bounds (L17) are the API's to check; these only stop the absurd.
    _check("length", "length(tag) <= 1000"),
    _check("count", "n >= 0 AND n < 100"),
    Index("job_tags_tag", "tag"),
)

job_logs = Table(
    "job_logs",
    metadata,
    Column("job", Text, ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    _word("text"),
)

blobs = Table(
    "blobs",
    metadata,
    _word("hash", primary_key=True),
    _number("size"),
    # NULL: the content is in a file of this name, synced before this row was written.
    Column("content", LargeBinary, nullable=True),
    # The key of the file; NULL: the hash.
    _maybe("file"),
    _check("hash_form", "length(hash) = 64"),
    _check("size_is_length", "content IS NULL OR length(content) = size"),
)

ROLES = ("params", "raw", "result", "interim")

job_blobs = Table(
    "job_blobs",
    metadata,
    Column("job", Text, ForeignKey(jobs.c.id, ondelete="CASCADE"), nullable=False),
    _word("role"),
    _number("n"),
    Column("hash", Text, ForeignKey(blobs.c.hash), nullable=False, index=True),
    PrimaryKeyConstraint("job", "role", "n"),
    _check("role_word", f"role IN ({_words(ROLES)})"),
    _check("n_range", "n >= 0 AND (n = 0 OR role = 'interim')"),
)

backends = Table(
    "backends",
    metadata,
    _word("backend", primary_key=True),
    _word("mode"),
    _word("mode_reason"),
    _maybe("lease_job"),
    Column("lease_attempt", BigInteger, nullable=True),
    _instant("lease_at"),
    _flag("lease_stopping"),
    _maybe("reservation"),
    _maybe("lock"),
    _number("at"),
    _check("mode_word", f"mode IN ({_words(BackendMode)})"),
    _check(
        "lease_whole",
        "(lease_job IS NULL) = (lease_at IS NULL) "
        "AND (lease_job IS NULL) = (lease_attempt IS NULL)",
    ),
    _check("stopping_has_lease", "NOT lease_stopping OR lease_job IS NOT NULL"),
)

# No foreign key to the job: usage survives its deletion (J30).
charges = Table(
    "charges",
    metadata,
    _word("id", primary_key=True),
    Column("instance", Text, ForeignKey(instances.c.crn), nullable=False),
    _word("backend"),
    _word("kind"),
    _maybe("job"),
    Column("group_id", Text, key="group", nullable=True),
    Column("started_at", BigInteger, key="start", nullable=False),
    Column("ended_at", BigInteger, key="end", nullable=True),
    _flag("charged"),
    _check("kind_word", f"kind IN ({_words(Held)})"),
    _check("end_after_start", "ended_at >= started_at"),
    _check("owner", "job IS NOT NULL OR group_id IS NOT NULL"),
    Index("charges_instance_ended", "instance", "end"),
    Index("charges_ended", "end"),
)

# The device's own name of each run, for devices whose runs go on when we die (J5). No name: the run
# was about to begin. Kept with the job: an operator can find it in the device's own records.
# `idle_ms`: of the attempt's time in the QPU so far, what the device did not work for it (U1).
device_runs = Table(
    "device_runs",
    metadata,
    Column("job", Text, ForeignKey(jobs.c.id, ondelete="CASCADE"), nullable=False),
    _number("attempt"),
    _number("n"),
    _maybe("handle"),
    Column("idle_ms", BigInteger, nullable=True),
    PrimaryKeyConstraint("job", "attempt", "n"),
)

# The story of each job and group: one row for each change of state, and notes.
events = Table(
    "events",
    metadata,
    # SQLite counts up by itself only in a column of exactly this type.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _word("subject"),
    _number("at"),
    _word("what"),
    Column("state_before", Text, key="before", nullable=True),
    Column("state_after", Text, key="after", nullable=True),
    _word("cause"),
    Column("attempt", BigInteger, nullable=True),
    _check("what_word", "what IN ('group', 'job', 'note')"),
    Index("events_subject", "subject", "id"),
)
