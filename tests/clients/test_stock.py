"""Stock clients from 0.20 to 0.40, unmodified, each with the Qiskit of its time (wire-protocol 14).

The two drivers for 0.23, which knows both interfaces, run with all tests; the others with the long
ones and with `make test-clients`. What ran with what result is in docs/how-to/old-clients.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client.running import CONFIG, Running
from clients.conftest import checks, drive
from clients.tls import before

Key = tuple[str, str, str]
CLOUD, QUANTUM, TLS = "ibm_cloud", "ibm_quantum", "ibm_cloud over TLS"
RUNS: dict[Key, bool] = {  # and whether only in long runs
    ("stock-0.20.0", "stock_v1", CLOUD): True,
    ("stock-0.20.0", "stock_v1", QUANTUM): True,
    ("stock-0.20.0", "stock_v1", TLS): True,
    ("stock-0.23.0", "stock_v1", CLOUD): False,
    ("stock-0.23.0", "stock_v1", TLS): True,
    ("stock-0.23.0", "stock_v2", CLOUD): False,
    ("stock-0.23.0", "stock_v2", QUANTUM): True,
    ("stock-0.30.0", "stock_v2", CLOUD): True,
    ("stock-0.30.0", "stock_v2", QUANTUM): True,
    ("stock-0.38.0", "stock_v2", CLOUD): True,
    ("stock-0.40.1", "stock_v2", QUANTUM): True,
}
CASES = [
    pytest.param(
        key, check, id="-".join((*key, check)).replace(" ", "-"), marks=[pytest.mark.long] * long
    )
    for key, long in RUNS.items()
    for check in checks(key[1])
]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that serves old clients."""
    config = f"{CONFIG}\n[server]\nold_clients = true\n"
    server = Running(tmp_path_factory.mktemp("old"), config)
    server.start()
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()


@pytest.fixture(scope="module")
def found() -> dict[Key, dict[str, str]]:
    """What drivers have found so far."""
    return {}


@pytest.mark.timeout(700)
@pytest.mark.parametrize(("key", "check"), CASES)
def test_it_runs_as_it_did(
    key: Key, check: str, serving: Running, found: dict[Key, dict[str, str]]
) -> None:
    if key not in found:
        name, driver, channel = key
        more = {"QDWELL_TEST_CHANNEL": channel.split()[0]}
        if channel != TLS:
            found[key] = drive(name, driver, serving, more)
        else:
            with before(serving.port, serving.folder) as (url, certificate):
                for setting in ("REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE"):
                    more[setting] = str(certificate)
                found[key] = drive(name, driver, serving, {**more, "QDWELL_TEST_URL": url})
    assert found[key][check] == ""
