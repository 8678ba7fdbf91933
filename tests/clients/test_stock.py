"""Stock clients from 0.20 to 0.40, unmodified, each with the Qiskit of its time (wire-protocol 14).

The two drivers for 0.23, which knows both interfaces, run with all tests; the others with the long
ones and with `make test-clients`. What ran with what result is in docs/how-to/old-clients.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.running import CONFIG, Running
from clients.conftest import checks, credentials, drive, run
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


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "old-clients.md"
PRINTED = {  # the clients that the page says this of, and whether only in long runs
    CLOUD: {"stock-0.20.0": True, "stock-0.23.0": False, "stock-0.38.0": True},
    QUANTUM: {"stock-0.20.0": True, "stock-0.23.0": False, "stock-0.40.1": True},
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("channel", "name"),
    [
        pytest.param(channel, name, marks=[pytest.mark.long] * long)
        for channel, names in PRINTED.items()
        for name, long in names.items()
    ],
)
def test_a_client_is_pointed_here_as_the_page_prints_it(
    channel: str, name: str, serving: Running, tmp_path: Path
) -> None:
    """The page's own lines, but for the address and the credentials, which a reader puts in."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (block,) = (it for it in blocks if f'channel="{channel}"' in it)
    mine = credentials(serving)
    for blank, value in (
        ("http://HOST:8000", serving.url),
        ('token="..."', f'token="{mine["QISKIT_IBM_TOKEN"]}"'),
        ("crn:...", mine["QISKIT_IBM_INSTANCE"]),
    ):
        assert (blank in block) or (blank, channel) == ("crn:...", QUANTUM)
        block = block.replace(blank, value)
    program = tmp_path / "program.py"
    program.write_text(block + "print(sorted(it.name for it in service.backends()))\n")
    done = run(name, program, serving, {})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "'fake_manila', 'ibmq_qasm_simulator'" in done.stdout
