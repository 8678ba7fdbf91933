"""Sessions and batches: found again, listed, kept alive, closed all at once; blocks and modes."""

from __future__ import annotations

from typing import Any

import pytest
from qiskit import QuantumCircuit

from client.running import Running
from qdwell import (
    Backend,
    Batch,
    Estimator,
    IBMInputValueError,
    QiskitRuntimeService,
    RequestsApiError,
    SamplerV2,
    Session,
)
from qdwell.client.session import seconds_of
from qdwell.client.transport import Transport
from qdwell.client.words import session_status


def test_sessions_are_listed_and_closed_together(
    service: QiskitRuntimeService, machine: Backend
) -> None:
    opened = [Session(backend=machine), Batch(backend=machine)]
    found = {it.session_id: it for it in service.sessions(open=True)}
    for mine in opened:
        assert mine.session_id is not None
        assert type(found[mine.session_id]) is type(mine)
        assert service.session(mine.session_id).session_id == mine.session_id
    assert service.close_all_sessions() >= 2
    assert service.sessions(open=True) == []
    assert [it.status() for it in opened] == ["Closed", "Closed"]
    newest = [it.session_id for it in service.sessions(limit=2, open=False)]
    assert newest == [opened[1].session_id, opened[0].session_id]
    assert service.sessions(backend_name="fake_manila") == []


def test_what_was_found_prepared_is_told_of_jobs_and_sessions(
    machine: Backend, bell: QuantumCircuit
) -> None:
    """S37: the second job finds what the first one made, and both tell so, also afterwards."""
    with Session(backend=machine) as session:
        jobs = []
        for _ in range(6):
            jobs.append(SamplerV2(mode=session).run([bell]))
            jobs[-1].result()
        open_details = session.details()
    found = [job.metrics()["cache"] for job in jobs]
    assert found[0]["hits"] == 0
    assert found[0]["misses"] > 0
    # Each process that prepares makes it once: the device's, and a classical one if a step was
    # slow enough to be handed over.
    assert sum(it["misses"] == 0 for it in found) >= 3
    told = {name: sum(it[name] for it in found) for name in ("hits", "misses")}
    closed = session.details()
    assert open_details is not None
    assert closed is not None
    assert closed["state"] == "closed"
    assert open_details["cache"] == closed["cache"] == told
    again = machine.service.session(str(session.session_id)).details()
    assert again is not None
    assert again["cache"] == told


def test_anothers_sessions_are_unknown(running: Running, machine: Backend) -> None:
    with Session(backend=machine) as session, running.account("nosy") as nosy:
        assert session.session_id is not None
        assert nosy.sessions() == []
        with pytest.raises(IBMInputValueError, match="no session"):
            nosy.session(session.session_id)
        with pytest.raises(IBMInputValueError, match="no session"):
            Session.from_id(session.session_id, service=nosy)


def test_a_batch_is_not_a_session(service: QiskitRuntimeService, machine: Backend) -> None:
    with Batch(backend=machine) as batch:
        assert batch.session_id is not None
        with pytest.raises(IBMInputValueError, match="is a batch"):
            Session.from_id(batch.session_id, service=service)
        with pytest.raises(RequestsApiError, match="holds no machine"):
            batch.keep_alive(5)
        assert Batch.from_id(batch.session_id, service=service).backend() == "ideal_machine"


def test_a_session_is_found_by_id_through_the_service_of_a_backend(machine: Backend) -> None:
    """`from_id(session_id, backend=...)` needs no account in the environment, and opens nothing."""
    with Session(backend=machine) as session:
        assert session.session_id is not None
        before = len(machine.service.sessions(limit=None))
        twin = Session.from_id(session.session_id, backend=machine)
        assert twin.service is machine.service
        assert len(machine.service.sessions(limit=None)) == before
        assert twin.details() == session.details()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backend": 3}, "backend must be"),
        ({"service": "ibm_cloud", "backend": "ideal_machine"}, "service must be"),
    ],
)
def test_what_is_no_backend_or_service_is_named(
    service: QiskitRuntimeService, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(IBMInputValueError, match=said):
        Session(**{"service": service, **given})


def test_lists_have_no_negative_ends(service: QiskitRuntimeService) -> None:
    for call in (service.jobs, service.sessions):
        for wrong in ({"limit": -1}, {"skip": -1}):
            with pytest.raises(IBMInputValueError, match="0 or more"):
                call(**wrong)


def test_another_instance_is_refused_by_name(service: QiskitRuntimeService) -> None:
    (mine,) = service.instances()
    for word in (mine["crn"], mine["name"]):
        assert isinstance(service.jobs(instance=word), list)
    with pytest.raises(IBMInputValueError, match="instance"):
        service.jobs(instance="other")
    with pytest.raises(IBMInputValueError, match="instance"):
        service.run("sampler", {}, {"instance": "other"})


def test_what_is_shown_does_not_fail(service: QiskitRuntimeService, machine: Backend) -> None:
    with Session(backend=machine) as session:
        pass
    transport = service.link.transport
    assert isinstance(transport, Transport)
    transport.close()
    transport._port = 1  # nobody is there
    assert str(session.session_id) in session._repr_html_()
    assert "No answer" in session._repr_html_()


def test_only_what_is_held_is_kept(machine: Backend, bell: QuantumCircuit) -> None:
    with Session(backend=machine) as session:
        with pytest.raises(RequestsApiError, match="not active"):
            session.keep_alive(5)
        SamplerV2(mode=session).run([bell]).result()
        details = session.keep_alive(5)
        assert details is not None
        first = details["keep_alive_until"]
        shorter = session.keep_alive(1)
        assert shorter is not None
        assert shorter["keep_alive_until"] == first  # the longest one holds
        with pytest.raises(RequestsApiError, match="3600"):
            session.keep_alive(3_601)
        with pytest.raises(IBMInputValueError, match="seconds"):
            session.keep_alive(0)
    with pytest.raises(RequestsApiError, match="has been closed"):
        session.keep_alive(5)


def test_a_block_takes_primitives_without_a_mode(
    service: QiskitRuntimeService, machine: Backend, bell: QuantumCircuit
) -> None:
    with Session(backend=machine) as outer:
        assert SamplerV2().mode is outer
        assert SamplerV2(mode=machine).mode is outer
        with pytest.raises(IBMInputValueError, match="fake_manila"):
            SamplerV2(mode=service.backend("fake_manila"))
        with Batch(backend=machine) as inner:
            assert SamplerV2().mode is inner
        assert SamplerV2().mode is outer
    with pytest.raises(IBMInputValueError, match="There is no mode"):
        SamplerV2()
    with pytest.raises(IBMInputValueError, match="mode must be"):
        SamplerV2(mode=3)  # type: ignore[arg-type]
    with pytest.raises(IBMInputValueError, match="one of mode"):
        Estimator(mode=machine, backend=machine)
    assert SamplerV2(mode=machine).backend() is machine


def test_the_plan_decides_which_modes_there_are(running: Running) -> None:
    with running.account("small", "tight") as small:
        with pytest.raises(RequestsApiError, match="1352"):
            Session(service=small, backend="ideal_machine")
        Batch(service=small, backend="ideal_machine").close()


def test_what_is_shown(machine: Backend) -> None:
    with Session(backend=machine) as session:
        assert "ideal_machine" in repr(session)
        assert str(session.session_id) in session._repr_html_()
        assert session.usage() is None
    nothing = Session(backend="aer_simulator", service=machine.service)
    assert nothing.usage() is None
    assert nothing.keep_alive(3) is None
    assert "simulator" in nothing._repr_html_()
    nothing.cancel()
    nothing.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h 30m 40s", 9040), ("1d", 86_400), ("90s", 90), ("2h30m", 9000), (7, 7)],
)
def test_times_are_read(text: str | int, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("state", "accepting", "words"),
    [
        ("open", True, "Pending"),
        ("inactive", True, "Pending"),
        ("active", True, "In progress, accepting new jobs"),
        ("active", False, "In progress, not accepting new jobs"),
        ("pending_inactive", False, "In progress, accepting new jobs"),
        ("pending_closed", True, "In progress, accepting new jobs"),
        ("closed", False, "Closed"),
        ("strange", False, "Strange"),
    ],
)
def test_states_in_words(state: str, accepting: bool, words: str) -> None:
    assert session_status(state, accepting) == words
