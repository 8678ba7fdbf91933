"""The database goes away and comes back, under a server with work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

import pgserver
from e2e.conftest import ENDPOINTS, bell, only, run_qdwell
from qdwell.store import Place, accounts, open_store
from standby.servers import CONFIG, Standby, until

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.timeout(300),
]
SHOTS = 64


@pytest.fixture
def database(postgres: pgserver.Server) -> Iterator[pgserver.Server]:
    """One of its own, since it is stopped; the other one shows that there is one at all."""
    with pgserver.running() as server:
        yield server


def test_work_goes_on_when_the_database_is_back(
    database: pgserver.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clear errors meanwhile; nothing is lost, and the same server leads in the same epoch."""
    config = tmp_path / "qdwell.toml"
    config.write_text(CONFIG.format(url=database.database(), blobs=tmp_path / "blobs"))
    server = Standby(tmp_path / "one", config)
    try:
        settings = run_qdwell(server.folder, "env")
        for name, it in only(settings, *ENDPOINTS).items():
            monkeypatch.setenv(name, it)
        service = QiskitRuntimeService(
            token=settings["QISKIT_IBM_TOKEN"],
            url=settings["QISKIT_IBM_URL"],
            instance=settings["QISKIT_IBM_INSTANCE"],
        )
        backend = service.backend("slow_machine")
        sampler = SamplerV2(mode=backend)
        jobs = [sampler.run([bell(backend)], shots=SHOTS) for _ in range(2)]
        until(lambda: jobs[0].status() == "RUNNING", "a running job", 30)
        database.stop()
        refused = httpx.post(f"{server.url}/identity/token", data={"apikey": "x"}, timeout=60)
        assert refused.status_code == 503
        assert refused.json()["errors"][0]["solution"]
        database.start()
        assert [sum(it.result()[0].data.meas.get_counts().values()) for it in jobs] == [SHOTS] * 2
        assert server.health()["status"] == "ok"
        assert "this server leads" in server.log()
        assert "epoch=2" not in server.log()
    finally:
        server.end()


def test_a_server_that_cannot_lead_ends_and_says_why(
    postgres: pgserver.Server, tmp_path: Path
) -> None:
    """An account has a plan that the config lacks: it must not keep a better server out."""
    place = Place(tmp_path / "store", database_url=postgres.database())
    with closing(open_store(place)) as store:
        accounts.create_account(store, "alice", "gone", 0)
    config = tmp_path / "qdwell.toml"
    config.write_text(CONFIG.format(url=place.database_url, blobs=tmp_path / "store" / "blobs"))
    command = [sys.executable, "-m", "qdwell", "serve", "--port", "0", "--config", str(config)]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "one")],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert (done.returncode, "there is no plan 'gone'" in done.stderr) == (1, True), done.stderr
