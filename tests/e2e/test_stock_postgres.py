"""The stock client's basics, with PostgreSQL behind the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2, Session

from e2e.conftest import MACHINE, Served, bell, run_qdwell, serving
from pgserver import Server

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


ONE_MACHINE = f'[[backends]]\nname = "{MACHINE}"\nkind = "ideal"\n'


@pytest.fixture(scope="module")
def database_url(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture(scope="module")
def served(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on an empty database; the other tests of this folder have SQLite."""
    config = f'[store]\ndatabase_url = "{database_url}"\n{ONE_MACHINE}'
    with serving(tmp_path_factory.mktemp("served"), config) as server:
        yield server


def test_a_job_and_a_session_run_and_are_in_the_database(
    service: QiskitRuntimeService, served: Served, database_url: str
) -> None:
    """J1, S1: from the first account to the results, and nothing of it in a file."""
    backend = service.backend(MACHINE)
    circuit = bell(backend)
    job = SamplerV2(mode=backend).run([circuit], shots=64)
    assert sum(job.result()[0].data.meas.get_counts().values()) == 64
    with Session(backend=backend) as session:
        sampler = SamplerV2(mode=session)
        in_session = [sampler.run([circuit], shots=16) for _ in range(3)]
        for each in in_session:
            assert sum(each.result()[0].data.meas.get_counts().values()) == 16
    assert session.status() == "Closed"
    assert {it.job_id() for it in service.jobs()} >= {job.job_id()}
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT count(*) FROM jobs WHERE state = 'completed'").fetchone()
    assert found == (4,)
    assert not list(Path(served.folder).glob("*.db"))


def test_commands_find_the_database_through_the_data_folder(
    served: Served, connect: Callable[..., QiskitRuntimeService]
) -> None:
    """`account create` and `token create` beside the running server; the account works at once."""
    settings = served.account("carol")
    again = run_qdwell(served.folder, "token", "create", "carol")
    assert again["QISKIT_IBM_INSTANCE"] == settings["QISKIT_IBM_INSTANCE"]
    assert connect(again).jobs() == []
