"""Submissions that are sent twice without a key: one job if nobody heard of the first, else two.

The rule is that of `api/repeats.py`; the server and its deaths are real.
"""

from __future__ import annotations

import contextlib
import sqlite3
from functools import cache

import pytest
import requests
from qiskit_ibm_runtime import RuntimeEncoder

from crash.cutting import Cutting
from crash.served import Served, bell, submit, until

pytestmark = pytest.mark.timeout(600)  # several starts, on a machine that may be busy


@cache
def body() -> str:
    """The same bytes each time."""
    params = {"pubs": [[bell(), None, 10]], "version": 2, "support_qiskit": True}
    return RuntimeEncoder().encode({"program_id": "sampler", "backend": "quick", "params": params})


def post(served: Served, headers: dict[str, str]) -> str | None:
    """Submit without a key; None if the connection dropped."""
    url = f"http://127.0.0.1:{served.port}/api/v1/jobs"
    try:
        answer = requests.post(url, data=body(), headers=headers, timeout=60)
    except requests.ConnectionError:
        return None
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def sign_in(served: Served) -> dict[str, str]:
    """The headers of the user; tokens outlive the server."""
    service = served.client()
    grant = {"apikey": served.settings["QISKIT_IBM_TOKEN"]}
    url = f"http://127.0.0.1:{served.port}/identity/token"
    token = requests.post(url, data=grant, timeout=60).json()["access_token"]
    return {
        "Authorization": f"Bearer {token}",
        "Service-CRN": str(service.active_instance()),
        "Content-Type": "application/json",
    }


def stored(served: Served, which: str = "") -> list[str]:
    """Ids of jobs, oldest first."""
    with contextlib.closing(sqlite3.connect(served.folder / "data/qdwell.db")) as found:
        return [row[0] for row in found.execute(f"SELECT id FROM jobs {which} ORDER BY seq")]


def test_a_death_before_the_answer_and_one_after_it(served: Served) -> None:
    """P6: what was stored and never answered is found by its bytes; what was answered is not."""
    assert served.start(), served.log()
    headers = sign_in(served)
    first = post(served, headers)
    assert post(served, headers) != first, "twice on purpose is two jobs"
    until(lambda: not stored(served, "WHERE finished_at IS NULL"), "the end of both")
    served.kill()
    before = stored(served)
    for turn in range(2, 6):  # the start has one or two of its own
        if served.start("before the answer", str(turn)):
            assert post(served, headers) is None, "it has not died"
        served.kill()
        if stored(served) != before:
            break
    *known, unheard = stored(served)
    assert known == before
    assert served.start(), served.log()
    # That one was never answered: its repetition is the same job. The next is a new one.
    assert post(served, headers) == unheard
    another = post(served, headers)
    assert another not in stored(served)[:-1]
    # Answered, and dead right after it: no repetition. The note follows the answer's last byte in
    # the same step; the next answer says that this step is over.
    assert requests.get(f"http://127.0.0.1:{served.port}/healthz", timeout=60).ok
    served.kill()
    assert served.start(), served.log()
    assert post(served, headers) == stored(served)[-1] != another
    assert len(stored(served)) == len(before) + 3
    assert served.stop() == 0, served.log()


def test_the_stock_client_behind_a_proxy_that_gives_up(served: Served) -> None:
    """It repeats a submission after a proxy's 502; the job that was stored meanwhile is its job."""
    assert served.start(), served.log()
    served.client()
    path = served.folder / "data/qdwell.db"
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def commit_at_last() -> None:
        database.execute("COMMIT")
        until(lambda: stored(served), "the job that nobody hears of")

    proxy = Cutting(served.port, lambda: database.execute("BEGIN IMMEDIATE"), commit_at_last)
    direct = f"http://127.0.0.1:{served.port}"
    served.settings["QISKIT_IBM_URL"] = served.settings["QISKIT_IBM_URL"].replace(direct, proxy.url)
    try:
        service = served.client()
        job_id = submit(service, "quick", "once")
        assert proxy.posts == 2, "the client has not repeated it"
        assert stored(served) == [job_id]
        # The same once more, on purpose: another job.
        assert submit(service, "quick", "once") != job_id
        assert len(stored(served)) == 2
    finally:
        proxy.shutdown()
        proxy.server_close()
        database.close()
    assert served.stop() == 0, served.log()
