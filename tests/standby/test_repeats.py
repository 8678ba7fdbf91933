"""Submissions without a key, repeated after the leader has died: one job if nobody heard of it.

The rule is that of `api/repeats.py`; what the next leader knows is in the database.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from qiskit_ibm_runtime import RuntimeEncoder
from starlette.requests import Request

from conformance.stores.world import NOW, World
from crash.served import bell
from e2e.conftest import run_qdwell
from pgserver import Server
from qdwell.api.repeats import Repeats, mark_of, marked
from qdwell.clock import ManualClock
from qdwell.store import Place, Store, new_id, open_store
from qdwell.store.heard import SharedAnswers
from qdwell.store.postgres import PostgresDatabase
from standby.servers import Standby, pair, until

MARK = mark_of("alice", "crn", b"the same bytes")


@pytest.fixture
def place(postgres: Server, tmp_path: Path) -> Place:
    return Place(tmp_path / "store", database_url=postgres.database())


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """Of a server that leads in the first epoch."""
    with closing(open_store(place)) as opened:
        lead(opened, 1)
        yield opened


def lead(store: Store, epoch: int) -> PostgresDatabase:
    database = store.database
    assert isinstance(database, PostgresDatabase)
    with database.connect() as connection:
        connection.execute("UPDATE leader SET epoch = %s", (epoch,))
    store.lead(epoch)
    return database


def request() -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "method": "POST", "path": "/jobs", "headers": []}, receive)


async def test_the_next_leader_knows_what_was_answered(
    store: Store, place: Place, clock: ManualClock
) -> None:
    """P6: answered, never answered, and never answered to a follower, which has its own key."""
    first = Repeats(store, clock)
    clock.advance(1_000)
    world = World(store)
    ids = [marked(MARK, new_id(NOW), forwarded=it) for it in (False, False, True)]
    for job_id in ids:
        world.submit(world.new_job(id=job_id, created=NOW + 1_000))
    first._answers.note(ids[0])
    with closing(open_store(place)) as other:
        lead(other, 2)
        clock.advance(4_000)
        second = Repeats(other, clock)
        assert await second.earlier(request(), world.a, MARK) == (ids[1], None)
        assert await second.earlier(request(), world.a, MARK) is None
        # A leader after that one has nothing to add: these were accepted before it began.
        with closing(open_store(place)) as last:
            lead(last, 3)
            assert await Repeats(last, clock).earlier(request(), world.a, MARK) is None


def test_a_note_is_there_when_its_sender_is_gone(store: Store, place: Place) -> None:
    """Nobody waits for the database's answer; of many notes only the newest are kept."""
    database = store.database
    assert isinstance(database, PostgresDatabase)
    notes = SharedAnswers(database, lambda: NOW)
    assert notes._connection is not None
    wire = notes._connection.pgconn

    def taken() -> bool:
        wire.flush()
        notes._take_answers(wire)
        return not notes._unanswered

    for n in range(8_000):
        notes.note(f"job{n}")
    until(taken, "the end of the crowd", 30)
    notes.note("the last")
    notes.close()
    with closing(open_store(place)) as other:
        later = SharedAnswers(lead(other, 2), lambda: NOW)  # waits until all are taken
        assert later.since == NOW
        assert later.missing(["job7999", "job7000", "never", "the last"]) == {"never"}
        assert len(later._heard) < 4_500


def test_after_a_crash_of_the_database_nothing_is_claimed(store: Store, place: Place) -> None:
    """The table is empty then, as PostgreSQL leaves one that is not logged."""
    database = store.database
    assert isinstance(database, PostgresDatabase)
    SharedAnswers(database, lambda: NOW)
    with database.connect() as connection:
        connection.execute("TRUNCATE heard")
    with closing(open_store(place)) as other:
        later = SharedAnswers(lead(other, 2), lambda: NOW)
        assert (later.since, later.missing(["job"])) == (None, set())


def test_what_was_answered_while_the_connection_was_lost_is_not_claimed(store: Store) -> None:
    """Notes begin anew, and say since when."""
    database = store.database
    assert isinstance(database, PostgresDatabase)
    instants = iter((NOW, NOW + 7))
    notes = SharedAnswers(database, lambda: next(instants))
    first = notes._connection
    assert first is not None
    with psycopg.connect(database.url.set(drivername="postgresql").render_as_string()) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (first.info.backend_pid,))

    def replaced() -> bool:
        notes.note("lost")
        return notes._connection not in (None, first)

    until(replaced, "another connection", 30)
    notes.note("noted")
    with database.connect() as connection:
        rows = "SELECT since, job FROM heard ORDER BY n"
        wanted = {(NOW + 7, None), (None, "noted")}
        until(lambda: wanted <= set(connection.execute(rows).fetchall()), "the note", 30)


# ---- with real servers --------------------------------------------------------------------------


@cache
def body() -> str:
    """The same bytes each time; the circuit's name counts up."""
    params = {"pubs": [[bell(), None, 10]], "version": 2, "support_qiskit": True}
    content = {"program_id": "sampler", "backend": "machine", "params": params}
    return RuntimeEncoder().encode(content)


def post(server: Standby, headers: dict[str, str]) -> str | None:
    """Submit without a key; None if the connection dropped."""
    try:
        answer = requests.post(
            f"{server.url}/api/v1/jobs", data=body(), headers=headers, timeout=60
        )
    except requests.ConnectionError:
        return None
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def sign_in(server: Standby) -> dict[str, str]:
    settings = run_qdwell(server.folder, "env")
    grant = {"apikey": settings["QISKIT_IBM_TOKEN"]}
    token = requests.post(f"{server.url}/identity/token", data=grant, timeout=60).json()
    return {
        "Authorization": f"Bearer {token['access_token']}",
        "Service-CRN": settings["QISKIT_IBM_INSTANCE"],
        "Content-Type": "application/json",
    }


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_leader_that_dies_between_commit_and_answer(postgres: Server, tmp_path: Path) -> None:
    """Its own client sends the same again, to the next one: that is the same job."""
    url = postgres.database()
    with pair(tmp_path, url, ("before an id is handed over", "2")) as (leader, follower):
        headers = sign_in(leader)
        first = post(leader, headers)
        assert post(leader, headers) is None, "it has not died"
        until(lambda: follower.health().get("status") == "ok", "a new leader", 60)
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT id FROM jobs ORDER BY seq").fetchall()
        (_, unheard) = [it for (it,) in rows]
        assert rows[0] == (first,)
        assert post(follower, headers) == unheard
        assert post(follower, headers) not in (first, unheard)


def test_threads_of_notes_end(store: Store) -> None:
    """A store that is closed looks for no connection any more."""
    assert isinstance(store.database, PostgresDatabase)
    notes = SharedAnswers(store.database, lambda: NOW)
    store.close()
    notes.note("late")
    assert not [it for it in threading.enumerate() if it.name == "notes"]
