"""Limits of usage through the stock client (I4-I6, I8, I9): what is held, refused, and billed.

The plans are made, and the class is imported, by commands beside the running server. The machine's
runs end when a test says so, so no test depends on the speed of the computer.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import IBMRuntimeError, RuntimeJobFailureError

from e2e.conftest import ENDPOINTS, Served, run_qdwell, serving_gated
from e2e.gated import Machine, class_of, until, used

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PLANS = {"held": "usage_limit_seconds=1", "prepaid": "spend_limit_seconds=1"}
PEOPLE = {"ann": "default", "ben": "default", "kim": "held", "pia": "prepaid"}


class Person:
    """One of the class: their service, and their instance's ledger."""

    def __init__(self, name: str, settings: dict[str, str], url: str) -> None:
        self.name = name
        self.service = QiskitRuntimeService(
            token=settings["QISKIT_IBM_TOKEN"],
            url=settings["QISKIT_IBM_URL"],
            instance=settings["QISKIT_IBM_INSTANCE"],
        )
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        form = {"apikey": settings["QISKIT_IBM_TOKEN"]}
        access = self._http.post("/identity/token", data=form).json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {access}"
        self._http.headers["Service-CRN"] = settings["QISKIT_IBM_INSTANCE"]

    def ledger(self, **query: str) -> dict[str, Any]:
        """What the instance was charged for, in milliseconds."""
        answer = self._http.get("/api/v1/usage/ledger", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def charged(self, **query: str) -> int:
        """The sum of it."""
        return int(self.ledger(**query)["totals"]["charged_milliseconds"])

    def by(self, what: str) -> dict[str | None, int]:
        """The sums for each job or session."""
        entries = self.ledger(by=what)["entries"]
        return {it[f"{what}_id"]: it["charged_milliseconds"] for it in entries}

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of its own, which finds the gated device and knows none of the plans yet."""
    with serving_gated(tmp_path_factory.mktemp("limits"), {"wide": 2}) as server:
        yield server


@pytest.fixture(scope="module")
def people(served: Served) -> Iterator[dict[str, Person]]:
    """Who was imported while the server ran, each by the file of their own."""
    for name, setting in PLANS.items():
        run_qdwell(served.folder, "plan", "create", name, setting)
    settings = class_of(served.folder, served.folder, PEOPLE)
    with pytest.MonkeyPatch.context() as patch:
        for name in ENDPOINTS:
            patch.setenv(name, settings["ann"][name])
        made = {name: Person(name, each, served.url) for name, each in settings.items()}
        yield made
        for each in made.values():
            each.close()


@pytest.fixture
def wide(served: Served) -> Iterator[Machine]:
    """The machine with two lanes; nothing is left on it."""
    machine = Machine("wide", served.folder / "wide")
    machine._shots = len(list((served.folder / "wide").iterdir()))
    yield machine
    machine.let_all_go()


def milliseconds(seconds: float) -> int:
    """Seconds that are a whole number of milliseconds, as that number."""
    exact = Decimal(repr(seconds)) * 1000
    assert exact == int(exact), seconds
    return int(exact)


def test_a_class_imported_beside_the_server_signs_in_at_once(
    people: dict[str, Person], wide: Machine
) -> None:
    """Each by the file that was written for them; nobody sees another's work."""
    ann, ben = people["ann"], people["ben"]
    job = wide.submit(ann.service).finish()
    assert [it.job_id() for it in ann.service.jobs()] == [job.job.job_id()]
    assert ben.service.jobs() == []
    assert (used(ben.service), ben.charged()) == (0, 0)
    assert "usage_remaining_seconds" not in ann.service.usage()


def test_usage_is_the_ledger_to_the_millisecond(people: dict[str, Person], wide: Machine) -> None:
    """U7, I4: a job, a batch, and a session, while they run and after; sums of each agree, too."""
    ann = people["ann"]
    one = wide.submit(ann.service).wait("qpu_start")
    least, between, most = ann.charged(), milliseconds(used(ann.service)), ann.charged()
    assert least <= between <= most
    until(lambda: ann.charged() > most, "time on the QPU")
    one.finish()
    backend = ann.service.backend("wide")
    with Batch(backend=backend) as batch:
        in_batch = [wide.submit(batch) for _ in range(2)]
        wide.let_all_go()
        for job in in_batch:
            job.finish()
    with Session(backend=backend) as session:
        for _ in range(2):
            wide.submit(session).finish()
    until(lambda: session.status() == "Closed" and batch.status() == "Closed", "the end")
    total = milliseconds(ann.service.usage()["usage_consumed_seconds"])
    assert total > 0
    assert total == ann.charged() == sum(ann.by("job").values())
    by_session, by_job = ann.by("session"), ann.by("job")
    for group in (session, batch):
        assert milliseconds(group.usage()) == by_session[group.session_id]
    assert sum(by_session.values()) == total
    for job in (one, *in_batch):
        assert milliseconds(job.quantum_s) == by_job[job.job.job_id()]


def test_at_a_usage_limit_work_goes_on_and_what_is_new_waits(
    served: Served, people: dict[str, Person], wide: Machine
) -> None:
    """I8, I6: the session and its jobs go on; a new job waits; a raised limit lets it start."""
    kim = people["kim"]
    session = Session(backend=kim.service.backend("wide"))
    one = wide.submit(session).wait("qpu_start")
    until(lambda: used(kim.service) > 1, "the limit")
    with pytest.warns(UserWarning, match="met its usage limit"):
        waits = wide.submit(kim.service)
    two = wide.submit(session)
    one.finish()
    two.finish()
    assert session.status() == "In progress, accepting new jobs"
    session.close()
    until(lambda: session.status() == "Closed", "the end")
    usage = kim.service.usage()
    assert usage["usage_limit_reached"]
    assert (usage["usage_limit_seconds"], usage["usage_remaining_seconds"]) == (1, 0)
    assert milliseconds(usage["usage_consumed_seconds"]) == kim.charged()
    assert waits.status == "QUEUED"
    assert waits.metrics["queue_reason"].startswith("the instance has used up its time")
    wide.submit(people["ben"].service).finish()  # others are not held
    assert waits.status == "QUEUED"
    run_qdwell(served.folder, "instance", "change", "kim", "--limit", "1000")
    waits.finish()
    usage = kim.service.usage()
    assert not usage["usage_limit_reached"]
    left = 1_000_000 - kim.charged()
    assert round(usage["usage_remaining_seconds"] * 1000, 6) == left


def test_at_a_spend_limit_groups_end_and_nothing_more_is_taken(
    served: Served, people: dict[str, Person], wide: Machine
) -> None:
    """I9: the job on the QPU finishes, the waiting one fails, and why is said; 409 from then on."""
    pia = people["pia"]
    backend = pia.service.backend("wide")
    session = Session(backend=backend)
    before = wide.submit(people["ann"].service).wait("qpu_start")
    one, two = wide.submit(session), wide.submit(session)
    before.finish()  # the session's second begins now, and both of its jobs are there
    one.wait("qpu_start")
    until(lambda: two.status == "ERROR", "the limit")
    with pytest.raises(RuntimeJobFailureError, match="usage limit"):
        two.job.result()
    assert one.status == "RUNNING"
    for submit in (lambda: wide.submit(pia.service), lambda: Session(backend=backend)):
        with pytest.raises((IBMRuntimeError, RequestsApiError), match=r"409.*limit of 1 s"):
            submit()
    one.finish()
    until(lambda: session.status() == "Closed", "the end")
    usage = pia.service.usage()
    assert (usage["usage_limit_reached"], usage["usage_remaining_seconds"]) == (True, 0)
    assert milliseconds(usage["usage_consumed_seconds"]) == pia.charged()
    assert milliseconds(session.usage()) == pia.charged()
    run_qdwell(served.folder, "instance", "change", "pia", "--spend", "1000")
    wide.submit(pia.service).finish()
    assert milliseconds(used(pia.service)) == pia.charged()
