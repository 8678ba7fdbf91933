"""Two servers with certificates on one database: how a follower believes its leader.

Three servers are started: a leader, a follower that trusts the authority of its certificate, and
one that does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import httpx
import pytest
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

from e2e.conftest import ENDPOINTS, bell, only, run_qdwell
from pgserver import Server
from security.served import Certificates, certificates
from standby.servers import Standby, written_config

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.timeout(300),
]
SHOTS = 64
DISTRUST = "the leader's certificate is not trusted"


@dataclass
class Three:
    """The servers, and the authority of their certificates."""

    leader: Standby
    follower: Standby
    stranger: Standby
    trust: Certificates

    def ask(self, server: Standby) -> httpx.Client:
        """A client of one of them, which trusts the authority."""
        return httpx.Client(
            base_url=server.url, verify=self.trust.context(), trust_env=False, timeout=60
        )


@pytest.fixture(scope="module")
def three(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    folder = tmp_path_factory.mktemp("tls")
    trust = certificates(folder)
    config = written_config(folder, postgres.database())
    files = ("--tls-cert", str(trust.chain), "--tls-key", str(trust.key))
    with ExitStack() as stack:
        made = []
        for name, bundle in (("one", trust.bundle), ("two", trust.bundle), ("three", None)):
            env = {} if bundle is None else {"SSL_CERT_FILE": str(bundle)}
            server = Standby(folder / name, config, (), files, **env)
            stack.callback(server.end)
            made.append(server)
        assert all(it.url.startswith("https://") for it in made)
        yield Three(*made, trust)


def test_a_follower_passes_requests_on_to_a_leader_with_tls(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stock client at the follower: signs in, runs a job, and gets its result."""
    with closing(three.ask(three.follower)) as http:
        answer = http.get("/healthz")
    health = answer.json()
    assert (health["status"], health["leader"]) == ("standby", three.leader.url)
    assert (answer.status_code, health["reason"]) == (200, None)
    settings = {
        name: it.replace(three.leader.url, three.follower.url)
        for name, it in run_qdwell(three.leader.folder, "env").items()
    }
    assert settings["QISKIT_IBM_URL"].startswith(three.follower.url)
    for name, it in only(settings, *ENDPOINTS).items():
        monkeypatch.setenv(name, it)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(three.trust.bundle))
    service = QiskitRuntimeService(
        token=settings["QISKIT_IBM_TOKEN"],
        url=settings["QISKIT_IBM_URL"],
        instance=settings["QISKIT_IBM_INSTANCE"],
    )
    backend = service.backend("machine")
    job = SamplerV2(backend).run([bell(backend)], shots=SHOTS)
    assert sum(job.result()[0].data.meas.get_counts().values()) == SHOTS
    assert service.job(job.job_id()).status() == "DONE"
    assert DISTRUST not in three.follower.whole_log()


def test_a_leader_that_is_not_trusted_is_told_at_once(three: Three) -> None:
    """Nothing is sent to it; the log says why and what to do, once; the client gets a 503.

    And /healthz does, so that no load balancer sends clients there.
    """
    with closing(three.ask(three.stranger)) as http:
        health = http.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "unreachable")
        assert health.json()["leader"] == three.leader.url
        assert "does not trust the certificate" in health.json()["reason"]
        for _ in range(3):
            answer = http.post("/identity/token", data={"apikey": "secret-of-somebody"})
            assert answer.status_code == 503, answer.text
            assert "does not trust the certificate" in answer.json()["errors"][0]["message"]
            assert answer.elapsed.total_seconds() < 15  # a missing leader is waited for for 20 s
    said = three.stranger.whole_log()
    assert said.count(DISTRUST) == 1, said
    for part in ("SSL_CERT_FILE", "peer_url", three.leader.url, "issuer certificate"):
        assert part in said, said
    assert "secret-of-somebody" not in said + three.leader.whole_log()
