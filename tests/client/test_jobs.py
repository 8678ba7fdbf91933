"""Jobs through a real server: results, states, errors, and all that can be asked of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.primitives import BasePrimitiveJob, BaseSamplerV2, PrimitiveResult
from qiskit.providers import JobStatus
from qiskit.providers.jobstatus import JOB_FINAL_STATES
from qiskit.quantum_info import SparsePauliOp

from client.running import Running
from qdwell import (
    Backend,
    EstimatorV2,
    IBMInputValueError,
    IBMRuntimeError,
    QiskitRuntimeService,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobNotFound,
    RuntimeJobTimeoutError,
    RuntimeProgramNotFound,
    SamplerV2,
)


def turned(backend: Backend) -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    compiled: QuantumCircuit = transpile(circuit, backend)
    return compiled


def test_a_sampler_samples(machine: Backend, bell: QuantumCircuit) -> None:
    sampler = SamplerV2(mode=machine)
    assert isinstance(sampler, BaseSamplerV2)
    job = sampler.run([bell, (bell, None, 50)], shots=100)
    assert isinstance(job, BasePrimitiveJob)
    result = job.result()
    assert isinstance(result, PrimitiveResult)
    assert [pub.data.meas.num_shots for pub in result] == [100, 50]
    assert set(result[0].data.meas.get_counts()) <= {"00", "11"}
    assert result.metadata["execution"]["execution_spans"].duration >= 0
    result[0].data.meas.array[:] = 0  # it is the user's own


def test_an_estimator_broadcasts(machine: Backend) -> None:
    circuit = turned(machine)
    observables = [SparsePauliOp(p).apply_layout(circuit.layout) for p in ("Z", "X")]
    values = np.array([0.0, np.pi / 2, np.pi]).reshape(3, 1)
    pub = (circuit, [[it] for it in observables], values)
    (result,) = EstimatorV2(mode=machine).run([pub], precision=0.01).result()
    assert result.data.evs.shape == (2, 3)
    assert result.data.evs == pytest.approx(np.array([[1, 0, -1], [0, 1, 0]]), abs=0.06)
    assert result.metadata["target_precision"] == 0.01


def test_the_states_of_a_job(quick: Backend, bell: QuantumCircuit) -> None:
    job = SamplerV2(mode=quick).run([bell])
    job.result()
    assert job.status() == "DONE"
    assert job.status() == JobStatus.DONE
    assert job.status() in JOB_FINAL_STATES
    assert job.status() != JobStatus.ERROR
    assert job.status().value == JobStatus.DONE.value
    assert job.done()
    assert job.in_final_state()
    assert [job.running(), job.cancelled(), job.errored()] == [False] * 3
    assert job.error_message() is None


def test_a_timeout_leaves_the_job_alone(
    service: QiskitRuntimeService, bell: QuantumCircuit
) -> None:
    job = SamplerV2(mode=service.backend("slow_machine")).run([bell])
    with pytest.raises(RuntimeJobTimeoutError, match="it goes on"):
        job.result(timeout=0.2)
    with pytest.raises(RuntimeJobTimeoutError):
        job.wait_for_final_state(timeout=0.1)
    with pytest.raises(RuntimeJobTimeoutError, match="1 of 1"):
        service.wait([job], timeout=0.1)
    assert not job.in_final_state()
    job.cancel()
    assert job.cancelled()
    with pytest.raises(RuntimeInvalidStateError, match="cancelled"):
        job.result()
    twin = service.job(job.job_id())
    assert twin.cancelled()
    assert "5202" in (twin.error_message() or "")
    with pytest.raises(RuntimeInvalidStateError):
        twin.cancel()


def test_a_failure_is_told(service: QiskitRuntimeService, bell: QuantumCircuit) -> None:
    job = SamplerV2(mode=service.backend("failing_machine")).run([bell])
    with pytest.raises(RuntimeJobFailureError, match="5203"):
        job.result()
    assert job.errored()
    assert job.status() == JobStatus.ERROR
    assert "5203" in (job.error_message() or "")


def test_a_circuit_for_another_machine_fails_with_the_instruction(machine: Backend) -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.measure_all()
    with pytest.raises(RuntimeJobFailureError, match="1517.*h"):
        SamplerV2(mode=machine).run([circuit]).result()


def test_refusals_are_errors_of_the_submission(
    service: QiskitRuntimeService, machine: Backend, bell: QuantumCircuit
) -> None:
    with pytest.raises(RuntimeProgramNotFound, match="knitting"):
        service.run("knitting", {}, {"backend": "ideal_machine"})
    with pytest.raises(IBMRuntimeError, match="meas_type"):
        SamplerV2(mode=machine, options={"execution": {"meas_type": "kerneled"}}).run([bell])
    with pytest.raises(IBMRuntimeError, match="1204"):
        tags = {"environment": {"job_tags": [str(n) for n in range(9)]}}
        SamplerV2(mode=machine, options=tags).run([bell])


def test_tags_and_filters(
    service: QiskitRuntimeService, quick: Backend, bell: QuantumCircuit
) -> None:
    options = {"environment": {"job_tags": ["filter-me", "and-me"]}}
    first = SamplerV2(mode=quick, options=options).run([bell])
    second = SamplerV2(mode=quick, options=options).run([bell])
    for job in (first, second):
        job.result()
    assert second.update_tags(["filter-me"]) == ["filter-me"]

    def ids(**filters: Any) -> list[str]:
        return [it.job_id() for it in service.jobs(**filters)]

    one, two = first.job_id(), second.job_id()
    assert ids(job_tags=["filter-me"]) == [two, one]
    assert ids(job_tags=["filter-me"], descending=False) == [one, two]
    assert ids(job_tags=["filter-me", "and-me"]) == [one]
    assert ids(job_tags=["filter-me"], limit=1, skip=1) == [one]
    assert ids(job_tags=["filter-me"], limit=None, backend_name="ideal_machine") == []
    assert ids(job_tags=["filter-me"], pending=True) == []
    assert ids(job_tags=["filter-me"], program_id="sampler") == [two, one]
    assert ids(job_tags=["filter-me"], created_after=second.creation_date) == [two]
    assert ids(job_tags=["filter-me"], created_before=first.creation_date) == [one]
    assert ids(job_tags=["filter-me"], created_before=first.creation_date.isoformat()) == [one]
    assert ids(session_id="01nothing") == []
    for filters in ({"created_after": "yesterday"}, {"created_before": 5}, {"job_tags": "word"}):
        with pytest.raises(IBMInputValueError, match=r"2026-11-21T07|list of texts"):
            ids(**filters)


def test_what_else_is_known(
    service: QiskitRuntimeService, quick: Backend, bell: QuantumCircuit
) -> None:
    options = {"environment": {"log_level": "INFO"}}
    job = SamplerV2(mode=quick, options=options).run([bell], shots=10)
    job.result()
    twin = service.job(job.job_id())
    assert twin.backend().name == "quick_machine"
    assert twin.inputs["pubs"][0][0] == bell
    assert twin.metrics()["timestamps"]["finished"] is not None
    assert twin.queue_info() is None
    assert twin.queue_position() is None
    assert "execute" in twin.logs()
    assert twin.usage_estimation["quantum_seconds"] > 0
    assert not twin.private
    assert job.job_id() in repr(twin)
    assert "quick_machine" in twin._repr_html_()
    assert twin.result()[0].data.meas.num_shots == 10


def test_deleted_and_unknown_jobs_are_not_found(
    service: QiskitRuntimeService, quick: Backend, bell: QuantumCircuit
) -> None:
    job = SamplerV2(mode=quick).run([bell])
    job.result()
    service.delete_job(job.job_id())
    for job_id in (job.job_id(), "01nothing"):
        with pytest.raises(RuntimeJobNotFound, match=job_id):
            service.job(job_id)
    with pytest.raises(RuntimeJobNotFound):
        service.delete_job("01nothing")


def test_a_private_result_is_there_once(
    service: QiskitRuntimeService, quick: Backend, bell: QuantumCircuit
) -> None:
    options = {"environment": {"private": True}}
    job = SamplerV2(mode=quick, options=options).run([bell], shots=3)
    assert job.result()[0].data.meas.num_shots == 3
    twin = service.job(job.job_id())
    assert twin.private
    assert twin.inputs == {}
    assert twin.result() is None
    assert job.result()[0].data.meas.num_shots == 3  # what was read stays with its reader


def test_anothers_job_is_unknown(running: Running, quick: Backend, bell: QuantumCircuit) -> None:
    job = SamplerV2(mode=quick).run([bell])
    with running.account("stranger") as stranger, pytest.raises(RuntimeJobNotFound):
        stranger.job(job.job_id())


def test_why_a_job_waits(service: QiskitRuntimeService, bell: QuantumCircuit) -> None:
    slow = service.backend("slow_machine")
    jobs = [SamplerV2(mode=slow).run([bell]) for _ in range(6)]
    info = jobs[5].queue_info()
    assert info is not None
    assert info.reason == "all 5 lanes of slow_machine are taken"
    assert info.position == 1
    assert info.estimated_start_time is not None
    for job in reversed(jobs):
        job.cancel()


def test_backends_are_found(service: QiskitRuntimeService) -> None:
    names = [it.name for it in service.backends()]
    assert names[:3] == ["aer_simulator", "ibmq_qasm_simulator", "ideal_machine"]
    assert [it.name for it in service.backends(simulator=True)] == names[:2]
    assert [it.name for it in service.backends(name="fake_manila")] == ["fake_manila"]
    assert service.backends(min_num_qubits=1000) == []
    assert service.backends(filters=lambda it: it.num_qubits == 5)[0].name == "fake_manila"
    assert [it.name for it in service.backends(dynamic_circuits=True)] == names
    assert service.backends(dynamic_circuits=False) == []
    assert service.least_busy(dynamic_circuits=True).name == "ideal_machine"
    assert service.least_busy().name == "ideal_machine"
    assert service.backend("ideal_machine").status().operational
    manila = service.backend("fake_manila")
    assert manila.target.num_qubits == 5
    assert 0 < manila.target["cx"][0, 1].error < 0.1
    assert manila.target["measure"][0,].duration > 0
    assert manila.coupling_map is not None
    assert "fake_manila" in manila._repr_html_()


def test_usage_and_instances(service: QiskitRuntimeService) -> None:
    (instance,) = service.instances()
    assert service.active_instance() == instance["crn"]
    assert service.usage()["usage_consumed_seconds"] >= 0
    assert service.active_account()["url"] is not None
