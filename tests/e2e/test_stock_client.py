"""The stock, unmodified client against a real server: settings, jobs, sessions, batches, lists."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable

import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import Batch, EstimatorV2, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import (
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobNotFound,
)

from e2e.conftest import MACHINE, Served, bell, options, until

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

Surroundings = Callable[[dict[str, str]], None]


# ---- settings: rows A, E, F, G of the protocol's first section ----------------------------------


def test_row_a_token_and_crn_as_arguments(connect: Callable[..., QiskitRuntimeService]) -> None:
    """The usual way: three settings in the environment, the rest as arguments."""
    names = [backend.name for backend in connect().backends()]
    assert MACHINE in names
    assert "ibmq_qasm_simulator" in names


def test_row_e_everything_in_the_environment(served: Served, surroundings: Surroundings) -> None:
    """A bare constructor works with the lines of `qdwell env`."""
    surroundings(served.settings)
    assert QiskitRuntimeService().backend(MACHINE).num_qubits == 27


def test_row_f_the_instance_is_found_by_search(served: Served, surroundings: Surroundings) -> None:
    """Without an instance, search and catalog tell the client which there are."""
    surroundings({k: v for k, v in served.settings.items() if k != "QISKIT_IBM_INSTANCE"})
    service = QiskitRuntimeService()
    assert service.backend(MACHINE).name == MACHINE
    assert [it["crn"] for it in service.instances()] == [served.settings["QISKIT_IBM_INSTANCE"]]


def test_row_g_the_instance_by_its_name(served: Served, surroundings: Surroundings) -> None:
    """The name of an instance stands for its CRN."""
    surroundings({k: v for k, v in served.settings.items() if k != "QISKIT_IBM_INSTANCE"})
    name = QiskitRuntimeService().instances()[0]["name"]
    assert QiskitRuntimeService(instance=name).backend(MACHINE).name == MACHINE


def test_a_wrong_token_is_refused(served: Served, surroundings: Surroundings) -> None:
    """A token that we did not make opens nothing."""
    surroundings({**served.settings, "QISKIT_IBM_TOKEN": "x" * 43})
    with pytest.raises(Exception, match="[Uu]nable to retrieve instances|token"):
        QiskitRuntimeService()


# ---- running -------------------------------------------------------------------------------------


def test_a_sampler_job(service: QiskitRuntimeService) -> None:
    """Counts of a Bell state on a machine without noise, and the job's own account of itself."""
    backend = service.backend(MACHINE)
    sampler = SamplerV2(mode=backend)
    sampler.options.default_shots = 500
    job = sampler.run([bell(backend)])
    counts = job.result()[0].data.meas.get_counts()
    assert sum(counts.values()) == 500
    assert set(counts) <= {"00", "11"}
    assert job.status() == "DONE"
    assert job.backend().name == MACHINE
    assert job.creation_date is not None
    assert job.session_id is None
    assert job.usage() >= 0
    assert job.inputs["options"]["default_shots"] == 500
    metrics = job.metrics()
    assert metrics["usage"]["quantum_seconds"] > 0
    assert metrics["usage"]["status"] == "complete"
    assert metrics["timestamps"]["created"] <= metrics["timestamps"]["running"]
    assert metrics["timestamps"]["running"] <= metrics["timestamps"]["finished"]
    assert metrics["position_in_queue"] is None
    assert metrics["num_circuits"] == 1
    assert metrics["executions"] == 500
    assert "qiskit_ibm_runtime" in metrics["caller"]
    assert isinstance(job.logs(), str)


def test_an_estimator_job(service: QiskitRuntimeService) -> None:
    """Expectation values come back in the shape of the observables."""
    backend = service.backend(MACHINE)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit = generate_preset_pass_manager(optimization_level=1, backend=backend).run(circuit)
    observables = [SparsePauliOp(p).apply_layout(circuit.layout) for p in ("ZZ", "XX", "ZI")]
    estimator = EstimatorV2(mode=backend)
    result = estimator.run([(circuit, observables)], precision=0.02).result()[0]
    assert result.data.evs.shape == (3,)
    for value, exact in zip(result.data.evs, (1, 1, 0), strict=True):
        assert math.isclose(value, exact, abs_tol=0.15)


def test_a_simulator_takes_any_name_of_it_and_needs_no_session(
    service: QiskitRuntimeService,
) -> None:
    """The alias of the simulator works, and a session on it is none (S34)."""
    backend = service.backend("ibmq_qasm_simulator")
    assert backend.name == "ibmq_qasm_simulator"
    with Session(backend=backend) as session:
        assert session.session_id is None
        job = SamplerV2(mode=session).run([bell(backend)], shots=100)
        assert sum(job.result()[0].data.meas.get_counts().values()) == 100


def status_while_active(session: Session) -> str | None:
    """The status, if the session was active before and after it was told.

    On a slow computer our own reading of results can outlast the interactive TTL.
    """
    before, word = session.details()["state"], session.status()
    return word if before == session.details()["state"] == "active" else None


def test_a_session_from_open_to_closed(service: QiskitRuntimeService) -> None:
    """Several jobs, the details on the way, `from_id`, and the bill at the end."""
    backend = service.backend(MACHINE)
    circuit = bell(backend)
    with Session(backend=backend, max_time="10m") as session:
        assert session.status() == "Pending"
        details = session.details()
        assert details["state"] == "open"
        assert details["max_time"] == 600
        assert details["interactive_timeout"] == 2
        assert details["usage_time"] is None
        sampler = SamplerV2(mode=session)
        jobs = [sampler.run([circuit], shots=50) for _ in range(3)]
        for job in jobs:
            assert sum(job.result()[0].data.meas.get_counts().values()) == 50
            assert job.session_id == session.session_id
        while (word := status_while_active(session)) is None:
            jobs.append(sampler.run([circuit], shots=50))
            jobs[-1].result()
        assert word == "In progress, accepting new jobs"
        again = Session.from_id(session.session_id, service=service)
        assert again.details()["backend_name"] == MACHINE
    until(lambda: session.status() == "Closed", "the session closes")
    details = session.details()
    assert details["usage_time"] > 0
    assert details["accepting_jobs"] is False
    assert details["started_at"] <= details["closed_at"]
    passed = [it["status"] for it in details["timestamps"]]
    assert [it for it in passed if it != "inactive"][:2] == ["open", "active"]
    assert passed[-1] == "closed"
    found = service.jobs(session_id=session.session_id)
    assert {job.job_id() for job in found} == {job.job_id() for job in jobs}
    with pytest.raises(IBMRuntimeError, match="closed"):
        service._run(
            program_id="sampler",
            inputs={"pubs": [], "version": 2},
            options=options(backend),
            session_id=session.session_id,
        )


def test_an_idle_session_goes_inactive_and_comes_back(service: QiskitRuntimeService) -> None:
    """After the interactive TTL the machine is free; the next job opens a second window (S24)."""
    backend = service.backend(MACHINE)
    circuit = bell(backend)
    with Session(backend=backend) as session:
        sampler = SamplerV2(mode=session)
        sampler.run([circuit], shots=10).result()
        until(lambda: session.details()["state"] == "inactive", "the session goes inactive")
        between = session.usage()
        assert between == pytest.approx(2, abs=1.5)
        sampler.run([circuit], shots=10).result()
        assert session.details()["state"] == "active"
        assert session.usage() >= between
    until(lambda: session.status() == "Closed", "the session closes")


def test_a_batch(service: QiskitRuntimeService) -> None:
    """Eight jobs as one unit; its usage is their quantum time (U3)."""
    backend = service.backend(MACHINE)
    circuit = bell(backend)
    with Batch(backend=backend) as batch:
        sampler = SamplerV2(mode=batch)
        jobs = [sampler.run([circuit], shots=20) for _ in range(8)]
    assert all(sum(job.result()[0].data.meas.get_counts().values()) == 20 for job in jobs)
    until(lambda: batch.status() == "Closed", "the batch closes")
    quantum = sum(job.metrics()["usage"]["quantum_seconds"] for job in jobs)
    assert batch.usage() == pytest.approx(quantum)


# ---- cancel, tags, lists, usage -----------------------------------------------------------------


def test_a_running_job_is_cancelled(service: QiskitRuntimeService) -> None:
    """It is final at once; a second cancel is refused; there is no result."""
    backend = service.backend("slow_machine")
    job = SamplerV2(mode=backend).run([bell(backend)])
    until(lambda: job.status() == "RUNNING", "the job runs")
    job.cancel()
    assert job.status() == "CANCELLED"
    with pytest.raises(RuntimeInvalidStateError):
        service.job(job.job_id()).cancel()
    with pytest.raises(RuntimeInvalidStateError):
        service.job(job.job_id()).result()
    assert job.metrics()["usage"]["status"] == "complete"


def test_a_session_is_cancelled_with_its_waiting_jobs(service: QiskitRuntimeService) -> None:
    """Jobs that have not reached the QPU are cancelled, the one in the QPU is not (S29)."""
    backend = service.backend("slow_machine")
    circuit = bell(backend)
    session = Session(backend=backend)
    sampler = SamplerV2(mode=session)
    first, second = sampler.run([circuit]), sampler.run([circuit])
    until(lambda: "executions" in first.metrics(), "the first job is prepared, and so in the QPU")
    session.cancel()
    until(lambda: second.status() == "CANCELLED", "the waiting job is cancelled")
    assert first.status() == "RUNNING"
    assert session.status() == "In progress, not accepting new jobs"
    first.cancel()
    until(lambda: session.status() == "Closed", "the session closes")


def test_tags_and_filters(service: QiskitRuntimeService) -> None:
    """Jobs are found by their tags, program, backend, and state, with an exact count."""
    backend = service.backend(MACHINE)
    circuit = bell(backend)
    mark = f"t-{uuid.uuid4().hex[:8]}"
    sampler = SamplerV2(mode=backend)
    sampler.options.environment.job_tags = [mark, "one"]
    jobs = [sampler.run([circuit], shots=1) for _ in range(3)]
    for job in jobs:
        job.result()
    assert service.jobs(job_tags=["nothing-has-this"]) == []
    found = service.jobs(job_tags=[mark], limit=None)
    assert [job.job_id() for job in found] == [job.job_id() for job in reversed(jobs)]
    ascending = service.jobs(job_tags=[mark], descending=False, limit=2)
    assert [job.job_id() for job in ascending] == [job.job_id() for job in jobs[:2]]
    assert len(service.jobs(job_tags=[mark], skip=1, limit=10)) == 2
    assert len(service.jobs(job_tags=[mark], pending=False)) == 3
    assert service.jobs(job_tags=[mark], pending=True) == []
    assert service.jobs(job_tags=[mark], program_id="estimator") == []
    assert len(service.jobs(job_tags=[mark], backend_name=MACHINE)) == 3
    created = jobs[0].creation_date
    assert len(service.jobs(job_tags=[mark], created_after=created)) == 3
    jobs[0].update_tags(["another"])
    assert service.job(jobs[0].job_id()).tags == ["another"]
    assert len(service.jobs(job_tags=[mark])) == 2


def test_usage_grows_with_work(service: QiskitRuntimeService) -> None:
    """What a job costs is added to its instance."""
    backend = service.backend(MACHINE)
    before = service.usage()["usage_consumed_seconds"]
    job = SamplerV2(mode=backend).run([bell(backend)], shots=10)
    job.result()
    spent = job.metrics()["usage"]["quantum_seconds"]
    usage = service.usage()
    assert usage["usage_consumed_seconds"] - before >= spent * 0.99
    assert "usage_remaining_seconds" not in usage


def test_a_private_job_gives_its_result_once(service: QiskitRuntimeService) -> None:
    """Inputs are never shown, the result is shown once (J29)."""
    backend = service.backend(MACHINE)
    sampler = SamplerV2(mode=backend)
    sampler.options.environment.private = True
    job = sampler.run([bell(backend)], shots=10)
    assert sum(job.result()[0].data.meas.get_counts().values()) == 10
    again = service.job(job.job_id())
    assert again.private
    assert again.inputs == {}
    assert service._active_api_client.job_results(job.job_id()) == ""


def test_a_deleted_job_is_gone(service: QiskitRuntimeService) -> None:
    """Only a job that has ended can be deleted."""
    backend = service.backend(MACHINE)
    job = SamplerV2(mode=backend).run([bell(backend)], shots=10)
    job.result()
    service.delete_job(job.job_id())
    with pytest.raises(RuntimeJobNotFound):
        service.job(job.job_id())


def test_the_status_of_a_long_job_is_answered_at_once(service: QiskitRuntimeService) -> None:
    """Only a job whose end may be near holds the answer."""
    backend = service.backend("slow_machine")
    job = SamplerV2(mode=backend).run([bell(backend)])
    submitted = time.monotonic()
    until(lambda: time.monotonic() - submitted > 1.1, "it is no longer young")
    began = time.monotonic()
    assert job.status() == "RUNNING"
    assert time.monotonic() - began < 0.5
    job.cancel()
