"""Two servers on one database: the leader is killed, stopped, and asked to end.

The client talks to the follower all the time, and through it to the leader. So each of its requests
meets the takeover somewhere: on its way, while it waits, or while the answer comes back.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2, Session

from e2e.conftest import ENDPOINTS, bell, only, run_qdwell
from pgserver import Server
from standby.servers import TAKEOVER_S, Standby, pair, pause_in_mid_statement, told_by, until

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.timeout(300),
]
SHOTS = 64


@pytest.fixture
def database_url(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
def servers(tmp_path: Path, database_url: str) -> Iterator[tuple[Standby, Standby]]:
    with pair(tmp_path, database_url) as both:
        yield both


@pytest.fixture
def service(
    servers: tuple[Standby, Standby], monkeypatch: pytest.MonkeyPatch
) -> QiskitRuntimeService:
    """The stock client, pointed at the follower."""
    leader, follower = servers
    settings = {
        name: it.replace(leader.url, follower.url)
        for name, it in run_qdwell(leader.folder, "env").items()
    }
    for name, it in only(settings, *ENDPOINTS).items():
        monkeypatch.setenv(name, it)
    return QiskitRuntimeService(
        token=settings["QISKIT_IBM_TOKEN"],
        url=settings["QISKIT_IBM_URL"],
        instance=settings["QISKIT_IBM_INSTANCE"],
    )


def read(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def counts(job: Any) -> int:
    return int(sum(job.result()[0].data.meas.get_counts().values()))


def take_over(leader: Standby, follower: Standby, how: int, url: str) -> float:
    leader.signal(how)
    return comes_to_lead(follower, url)


def comes_to_lead(follower: Standby, url: str) -> float:
    return until(
        lambda: follower.health().get("status") == "ok",
        "a new leader",
        60,
        why=lambda: f"{told_by(url)}\n{follower.log()}",
    )


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGSTOP, marks=pytest.mark.long),  # the next test has it too
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_a_session_survives_the_end_of_its_leader(
    servers: tuple[Standby, Standby], service: QiskitRuntimeService, database_url: str, how: int
) -> None:
    """A job runs and others wait when the leader ends; nothing is lost, and nothing runs twice.

    The session is the same one, its window goes on, and the client sees results and no error.
    """
    leader, follower = servers
    backend = service.backend("machine")
    circuit = bell(backend)
    session = Session(backend=backend)
    sampler = SamplerV2(mode=session)
    assert counts(sampler.run([circuit], shots=SHOTS)) == SHOTS
    slow = SamplerV2(mode=service.backend("slow_machine"))
    waiting = [slow.run([circuit], shots=SHOTS) for _ in range(2)]
    window = f"SELECT started_at, state FROM groups WHERE id = '{session.session_id}'"
    before = read(database_url, window)
    seconds = take_over(leader, follower, how, database_url)
    assert seconds < TAKEOVER_S, follower.log()
    assert counts(sampler.run([circuit], shots=SHOTS)) == SHOTS
    assert read(database_url, window) == before
    assert [counts(job) for job in waiting] == [SHOTS, SHOTS]
    session.close()
    assert read(database_url, "SELECT state, count(*) FROM jobs GROUP BY state") == [
        ("completed", 4)
    ]
    charged = read(
        database_url,
        "SELECT count(*) FROM charges WHERE job IS NOT NULL AND charged GROUP BY job",
    )
    assert all(it == (1,) for it in charged)


def test_a_leader_that_wakes_up_deposed_writes_nothing_and_follows(
    servers: tuple[Standby, Standby], service: QiskitRuntimeService, database_url: str
) -> None:
    """Paused with a job in its device and a queue in its memory; then both answer alike."""
    leader, follower = servers
    backend = service.backend("slow_machine")
    sampler = SamplerV2(mode=backend)
    circuit = bell(backend)
    jobs = [sampler.run([circuit], shots=SHOTS) for _ in range(2)]
    until(lambda: jobs[0].status() == "RUNNING", "a running job", 30)
    take_over(leader, follower, signal.SIGSTOP, database_url)
    epoch = read(database_url, "SELECT epoch FROM leader")
    leader.signal(signal.SIGCONT)
    until(lambda: leader.health().get("status") == "standby", "the old leader follows", 30)
    assert leader.health()["leader"] == follower.url
    assert [counts(job) for job in jobs] == [SHOTS, SHOTS]
    assert read(database_url, "SELECT epoch FROM leader") == epoch
    # And back again: it can lead once more, with what the other one has stored.
    jobs.append(sampler.run([circuit], shots=SHOTS))
    follower.signal(signal.SIGKILL)
    until(lambda: leader.health().get("status") == "ok", "the first one leads again", TAKEOVER_S)
    until(
        lambda: read(database_url, "SELECT count(*) FROM jobs WHERE state = 'completed'") == [(3,)],
        "the last job",
        60,
    )


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.long)])
def test_requests_under_way_are_answered_once(
    servers: tuple[Standby, Standby],
    service: QiskitRuntimeService,
    database_url: str,
    seconds: int,
) -> None:
    """Eight clients submit without a pause while the leader is paused and then killed.

    In the long form it is paused in the middle of a statement, with the row that the next one
    needs (`tests/store/test_leadership.py` has the deterministic form of that). Each submission
    that was answered is there, once; and each that is there was answered.
    """
    leader, follower = servers
    backend = service.backend("machine")
    circuit = bell(backend)
    answered: list[str] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def submit() -> None:
        sampler = SamplerV2(mode=backend)
        while not stop.is_set():
            try:
                answered.append(sampler.run([circuit], shots=1).job_id())
            except Exception as error:  # whatever a user would see
                errors.append(error)
                return

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for each in threads:
        each.start()
    until(lambda: len(answered) > 20, "submissions", 60)
    met = pause_in_mid_statement(leader, database_url, seconds)
    taken = comes_to_lead(follower, database_url)
    leader.signal(signal.SIGKILL)
    assert not seconds or (met and taken < TAKEOVER_S), (met, taken, follower.log())
    before = len(answered)
    until(lambda: len(answered) > before + 20, "more submissions", 60)
    stop.set()
    for each in threads:
        each.join(60)
    assert errors == []
    assert sorted(answered) == sorted(it for (it,) in read(database_url, "SELECT id FROM jobs"))
