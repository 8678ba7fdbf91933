"""Timelines of two and three users, through the stock client: who holds a machine when, and who
pays for it.

The golden timelines of the model (T1-T18) are exact to the millisecond on the core; here the same
stories are told from outside, with machines whose runs end when the test says so. Compared is what
users see: states, order, and the bill, which must agree with the times told.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import (
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
)

from e2e.conftest import ENDPOINTS, Served, serving_gated
from e2e.gated import Machine, class_of, flip, seconds, until, used, windows

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TTL_S = 5
MACHINES = {"wide": 2, "narrow": 1}  # and their lanes
CONFIG = f"""
[[backends]]
name = "aer_simulator"
kind = "aer"

[plans.default]
session_interactive_ttl_seconds = {TTL_S}

[plans.short]
session_interactive_ttl_seconds = 2
active_ttl_seconds = 2

[plans.small]
usage_limit_seconds = 1
"""
PEOPLE = {"ada": "default", "bob": "default", "eve": "default", "sam": "short", "kim": "small"}
People = dict[str, QiskitRuntimeService]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of its own, which finds the gated device."""
    folder = tmp_path_factory.mktemp("timelines")
    with serving_gated(folder, MACHINES, CONFIG) as server:
        yield server


@pytest.fixture(scope="module")
def people(served: Served) -> Iterator[People]:
    """One class of users, each with an instance of their own."""
    settings = class_of(served.folder, served.folder, PEOPLE)
    with pytest.MonkeyPatch.context() as patch:
        for name in ENDPOINTS:
            patch.setenv(name, settings["ada"][name])
        yield {
            name: QiskitRuntimeService(
                token=each["QISKIT_IBM_TOKEN"],
                url=each["QISKIT_IBM_URL"],
                instance=each["QISKIT_IBM_INSTANCE"],
            )
            for name, each in settings.items()
        }


@pytest.fixture(scope="module")
def machines(served: Served) -> dict[str, Machine]:
    return {name: Machine(name, served.folder / name) for name in ("wide", "narrow")}


@pytest.fixture
def wide(machines: dict[str, Machine]) -> Iterator[Machine]:
    """The machine with two lanes; nothing is left on it."""
    yield machines["wide"]
    machines["wide"].let_all_go()


@pytest.fixture
def narrow(machines: dict[str, Machine]) -> Iterator[Machine]:
    """The machine with one lane; nothing is left on it."""
    yield machines["narrow"]
    machines["narrow"].let_all_go()


def refused(machine: Machine, session: Session) -> None:
    """Nothing more is accepted (S12); asked of the server, for the object may know it itself."""
    twin = type(session).from_id(str(session.session_id), service=session.service)
    with pytest.raises(IBMRuntimeError, match=r"1217|closed"):
        machine.submit(twin)


def test_job_mode_prepares_in_lanes_and_runs_one_at_a_time(people: People, wide: Machine) -> None:
    """T1, T2: three jobs and two lanes; usage is the time in the QPU."""
    before = used(people["ada"])
    first, second, third = (wide.submit(people["ada"]) for _ in range(3))
    first.wait("qpu_start")
    second.wait("ready")
    assert [it.status for it in (first, second, third)] == ["RUNNING", "RUNNING", "QUEUED"]
    assert third.metrics["position_in_queue"] == 1
    assert second.metrics["usage"]["quantum_seconds"] == 0
    for job in (first, second, third):
        job.finish()
    spans = [(it.at("qpu_start"), it.at("qpu_end")) for it in (first, second, third)]
    assert spans == sorted(spans)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))
    assert third.at("running") >= first.at("finished")  # J1's lane
    bill = [it.quantum_s for it in (first, second, third)]  # as the device measures it
    for (began, ended), quantum_s in zip(spans, bill, strict=True):
        assert 0 < quantum_s <= (ended - began).total_seconds()
    assert used(people["ada"]) - before == pytest.approx(sum(bill), abs=0.002)


def test_a_session_pauses_drains_the_machine_and_comes_back(people: People, wide: Machine) -> None:
    """T3: think time is held, a pause is not; a reservation lets nobody in before the session."""
    ada, bob = people["ada"], people["bob"]
    before, bobs_before = used(ada), used(bob)
    session = Session(backend=ada.backend("wide"))
    assert session.status() == "Pending"
    one = wide.submit(session).wait("qpu_start")
    assert session.status() == "In progress, accepting new jobs"
    foreign = wide.submit(bob)  # there is a free lane, but the machine is the session's (S18)
    one.finish()
    two = wide.submit(session).finish()  # the gap was shorter than the interactive TTL
    assert foreign.status == "QUEUED"
    until(lambda: session.status() == "Pending", "the pause")
    foreign.wait("qpu_start")
    three = wide.submit(session)  # the only one that waits: the machine is reserved for it (S19)
    late = wide.submit(bob)
    assert [three.status, late.status] == ["QUEUED", "QUEUED"]
    assert three.metrics["position_in_queue"] == 1
    assert late.metrics["position_in_queue"] == 2
    assert session.details()["state"] == "inactive"
    foreign.finish()
    three.wait("qpu_start")
    assert late.status == "QUEUED"
    session.close()
    assert session.status() == "In progress, not accepting new jobs"
    refused(wide, session)
    three.finish()
    until(lambda: session.status() == "Closed", "the end")
    late.finish()

    (start, pause), (again, end) = windows(session)
    assert start == one.at("running")
    assert 0 <= (pause - two.at("finished")).total_seconds() - TTL_S < 0.5
    assert pause <= foreign.at("running") <= foreign.at("finished") <= again == three.at("running")
    assert (end - three.at("finished")).total_seconds() == 0  # S28: no tail
    assert late.at("running") >= end
    held = seconds([(start, pause), (again, end)])
    assert session.details()["usage_time"] == session.usage() == pytest.approx(held)
    assert held > sum(it.quantum_s for it in (one, two, three))
    assert used(ada) - before == pytest.approx(held, abs=0.002)
    assert used(bob) - bobs_before == pytest.approx(foreign.quantum_s + late.quantum_s, abs=0.002)


def test_a_batch_overlaps_preparation_and_keeps_the_qpu(people: People, wide: Machine) -> None:
    """T4, T10, T12: the lock holds a READY job of another; usage is QPU time, cancelled or not."""
    before = used(people["ada"])
    with Batch(backend=people["ada"].backend("wide")) as batch:
        one, two, three = (wide.submit(batch) for _ in range(3))
        one.wait("qpu_start")
        two.wait("ready")  # prepared while the first is in the QPU
    other = wide.submit(people["bob"])
    assert batch.status() == "In progress, not accepting new jobs"
    one.finish()
    two.wait("qpu_start")
    two.job.cancel()
    with pytest.raises(RuntimeInvalidStateError):
        one.job.cancel()  # 409: it has ended
    three.wait("qpu_start")
    other.wait("ready")  # it had a lane, but the QPU is the batch's
    assert other.metrics["phases"]["qpu_start"] is None
    three.finish()
    other.finish()
    until(lambda: batch.status() == "Closed", "the end of the batch")
    assert two.status == "CANCELLED"
    assert two.at("qpu_end") <= three.at("qpu_start")
    assert three.at("qpu_end") <= other.at("qpu_start")
    assert two.quantum_s > 0
    total = sum(it.quantum_s for it in (one, two, three))
    assert batch.usage() == pytest.approx(total)
    assert used(people["ada"]) - before == pytest.approx(total, abs=0.002)


def test_at_its_maximum_a_session_fails_what_waits_and_ends_what_runs(
    people: People, wide: Machine
) -> None:
    """T5: jobs in the QPU finish, READY and Queued ones fail with 4001, late ones are refused."""
    session = Session(backend=people["ada"].backend("wide"), max_time=8)
    inside = wide.submit(session).wait("qpu_start")
    ready, queued = wide.submit(session), wide.submit(session)
    other = wide.submit(people["bob"])
    for lost in (ready, queued):
        with pytest.raises(RuntimeJobFailureError, match="4001"):
            lost.job.result(timeout=60)
        assert lost.status == "ERROR"
        assert lost.quantum_s == 0
    assert inside.status == "RUNNING"
    assert session.status() == "In progress, not accepting new jobs"
    assert other.status == "QUEUED"  # exclusive until the last job has ended
    refused(wide, session)
    inside.finish()
    until(lambda: session.status() == "Closed", "the end")
    other.finish()
    ((start, end),) = windows(session)
    assert end == inside.at("finished")
    assert other.at("running") >= end
    assert session.usage() == pytest.approx(seconds([(start, end)]))
    assert session.usage() > 8  # U5: more than its maximum


def test_a_session_that_pauses_ends_at_its_maximum_too(people: People, wide: Machine) -> None:
    """T6: the clock goes on; the waiting job fails, and the reservation with it."""
    session = Session(backend=people["ada"].backend("wide"), max_time=TTL_S + 5)
    wide.submit(session).finish()
    other = wide.submit(people["bob"]).wait("qpu_start")  # as soon as the session pauses
    waits = wide.submit(session)
    late = wide.submit(people["bob"])
    with pytest.raises(RuntimeJobFailureError, match="4001"):
        waits.job.result(timeout=60)
    assert session.status() == "Closed"
    late.wait("ready")  # the reservation is gone: it has the other lane
    other.finish()
    late.finish()
    ((start, pause),) = windows(session)
    assert session.usage() == pytest.approx(seconds([(start, pause)]))
    assert session.details()["closed_at"] is not None


@pytest.mark.parametrize("way", ["close", "cancel"])
def test_close_lets_run_what_cancel_cancels(way: str, people: People, narrow: Machine) -> None:
    """T7."""
    session = Session(backend=people["ada"].backend("narrow"))
    one = narrow.submit(session).wait("qpu_start")
    two = narrow.submit(session)
    other = narrow.submit(people["bob"])
    getattr(session, way)()
    refused(narrow, session)
    if way == "cancel":
        with pytest.raises(RuntimeInvalidStateError):
            two.job.result(timeout=60)
        assert two.status == "CANCELLED"
    assert one.status == "RUNNING"  # what is in the QPU runs to its end either way
    one.finish()
    if way == "close":
        two.finish()
    last = one if way == "cancel" else two
    until(lambda: session.status() == "Closed", "the end")
    other.finish()
    ((start, end),) = windows(session)
    assert end == last.at("finished")
    assert other.at("running") >= end
    assert session.usage() == pytest.approx(seconds([(start, end)]))


def test_a_job_that_runs_too_long_is_stopped_and_the_next_one_goes(
    people: People, wide: Machine
) -> None:
    """T8: the limit counts quantum time, and is the charge."""
    ada = people["ada"]
    before = used(ada)
    stuck = wide.submit(ada, max_execution_time=1)
    other = wide.submit(people["bob"])
    other.go()
    with pytest.raises(RuntimeJobMaxTimeoutError):
        stuck.job.result(timeout=60)
    assert stuck.status == "ERROR"
    assert stuck.quantum_s == pytest.approx(1.0, abs=0.3)
    other.finish()
    assert used(ada) - before == pytest.approx(stuck.quantum_s, abs=0.002)


def test_fair_share_between_two_users(people: People, narrow: Machine) -> None:
    """T13: whoever has used less goes first, whatever was submitted before; then the oldest job."""
    heavy, light = sorted((people["ada"], people["bob"]), key=used, reverse=True)
    first = narrow.submit(heavy).wait("qpu_start")
    more, theirs = ([narrow.submit(it) for _ in range(2)] for it in (heavy, light))
    until(lambda: used(heavy) > used(light) + 0.2, "more usage")
    assert theirs[0].metrics["position_in_queue"] == 1
    narrow.let_all_go()
    for job in (first, *more, *theirs):
        job.finish()
    starts = [it.at("running") for it in (first, *theirs, *more)]
    assert starts == sorted(starts)


def test_sessions_take_turns_by_what_their_users_have_used(people: People, wide: Machine) -> None:
    """T9: two sessions and a job on one machine; none is inside another's window."""
    ada, bob, eve = people["ada"], people["bob"], people["eve"]
    mine = Session(backend=ada.backend("wide"))
    yours = Session(backend=bob.backend("wide"))
    p1 = wide.submit(mine).wait("qpu_start")
    q1 = wide.submit(yours)
    x = wide.submit(eve)
    p1.finish()
    p2 = wide.submit(mine).finish()  # within the interactive TTL: the others go on waiting
    assert [q1.status, x.status] == ["QUEUED", "QUEUED"]
    wide.let_all_go()
    for job in (q1, x):
        job.finish()
    p3 = wide.submit(mine).finish()
    mine.close(), yours.close()
    until(lambda: {mine.status(), yours.status()} == {"Closed"}, "the end")
    (first, again), (only,) = windows(mine), windows(yours)
    spans = sorted([first, again, only, (x.at("running"), x.at("finished"))])
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))
    assert p2.at("finished") < first[1]
    assert again[0] == p3.at("running")
    assert mine.usage() == pytest.approx(seconds([first, again]))
    assert yours.usage() == pytest.approx(seconds([only]))


def test_a_window_ends_at_the_active_limit(people: People, narrow: Machine) -> None:
    """T16: the running job ends in it, the queued one comes back through the queue."""
    sam, eve = people["sam"], people["eve"]
    session = Session(backend=sam.backend("narrow"))
    one = narrow.submit(session).wait("qpu_start")
    two = narrow.submit(session)
    other = narrow.submit(eve)
    until(lambda: session.usage() > 2.2, "the active limit")
    assert session.status() == "In progress, accepting new jobs"
    assert used(eve) < used(sam)
    one.finish()
    other.wait("qpu_start")
    assert session.status() == "Pending"
    assert two.status == "QUEUED"
    other.finish()
    two.finish()
    session.close()
    until(lambda: session.status() == "Closed", "the end")
    first, again = windows(session)
    assert first[1] == one.at("finished")
    assert again[0] == two.at("running") >= other.at("finished")
    assert session.usage() == pytest.approx(seconds([first, again]))


def test_beyond_the_limit_jobs_wait_and_nothing_is_cancelled(people: People, wide: Machine) -> None:
    """T17, I8."""
    kim = people["kim"]
    long = wide.submit(kim).wait("qpu_start")
    until(lambda: used(kim) > 1, "the limit")
    waits = wide.submit(kim)
    assert long.status == "RUNNING"
    long.finish()
    assert kim.usage()["usage_limit_reached"]
    assert kim.usage()["usage_remaining_seconds"] == 0
    wide.submit(people["bob"]).finish()  # others are not held
    assert waits.status == "QUEUED"
    assert waits.metrics["queue_reason"].startswith("the instance has used up its time")
    waits.job.cancel()
    assert waits.quantum_s == 0


def test_a_simulator_has_no_queue_and_no_session(people: People) -> None:
    """T18."""
    ada = people["ada"]
    before = used(ada)
    backend = ada.backend("aer_simulator")
    with Session(backend=backend) as session:
        assert session.session_id is None
        jobs = [SamplerV2(mode=session).run([flip()], shots=10) for _ in range(7)]
        assert "QUEUED" not in {job.status() for job in jobs}
        for job in jobs:
            assert job.result()[0].data.meas.get_counts() == {"1": 10}
            assert job.session_id is None
    assert used(ada) == before
