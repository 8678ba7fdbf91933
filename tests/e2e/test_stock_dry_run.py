"""`dry_run` of the stock client: the mock twin answers, the machine is left alone, nobody pays."""

from __future__ import annotations

import pytest
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import EstimatorV2, QiskitRuntimeService, SamplerV2, Session

from e2e.conftest import MACHINE, bell

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TWIN = "mock_machine"  # of ideal_machine


def test_a_dry_run_tells_the_usage_and_costs_nothing(service: QiskitRuntimeService) -> None:
    machine = service.backend(MACHINE)
    before = service.usage()["usage_consumed_seconds"]
    job = SamplerV2(mode=machine).run([bell(machine)], shots=4_000, dry_run=True)
    bits = job.result()[0].data.meas
    assert (bits.num_shots, bits.num_bits) == (4_000, 2)
    # Random bits, not a Bell state: each of the four outcomes has about a quarter of the shots
    # (a share of 15 % or less has a chance below 1e-40).
    assert min(bits.get_counts().values()) > 600
    assert len(bits.get_counts()) == 4
    assert job.backend().name == TWIN
    assert job.metrics()["usage"]["quantum_seconds"] == pytest.approx(2 + 0.00035 * 4_000)
    assert job.usage_estimation["quantum_seconds"] == pytest.approx(2 + 0.00035 * 4_000)
    assert service.usage()["usage_consumed_seconds"] == before


def test_an_estimator_s_dry_run_has_the_shape_of_its_result(service: QiskitRuntimeService) -> None:
    machine = service.backend(MACHINE)
    circuit = bell(machine).remove_final_measurements(inplace=False)
    observable = SparsePauliOp("ZZ").apply_layout(circuit.layout)
    job = EstimatorV2(mode=machine).run([(circuit, [observable] * 3)], dry_run=True)
    values = job.result()[0].data.evs
    assert values.shape == (3,)
    assert abs(values).max() < 0.2  # random: 1 on the machine; the deviation is 0.016


def test_twins_are_shown_only_to_who_asks(service: QiskitRuntimeService) -> None:
    machine = service.backend(MACHINE)
    job = SamplerV2(mode=machine).run([bell(machine)], dry_run=True)
    job.result()
    assert TWIN not in [it.name for it in service.backends()]
    assert TWIN in [it.name for it in service.backends(include_mocks=True)]
    assert job.job_id() not in [it.job_id() for it in service.jobs(limit=5)]
    assert job.job_id() in [it.job_id() for it in service.jobs(limit=5, include_mocks=True)]
    assert not service.least_busy().name.startswith("mock")


def test_a_dry_run_in_a_session_does_not_start_it(service: QiskitRuntimeService) -> None:
    machine = service.backend(MACHINE)
    with Session(backend=machine) as session:
        SamplerV2(mode=session).run([bell(machine)], dry_run=True).result()
        assert session.details()["state"] == "open"
        assert session.usage() is None
