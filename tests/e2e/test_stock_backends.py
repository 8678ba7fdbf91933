"""What the stock client makes of the machines, and what must not keep its user waiting."""

from __future__ import annotations

import logging
import time
import uuid

import pytest
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2
from qiskit_ibm_runtime.exceptions import IBMRuntimeError, RuntimeJobTimeoutError

from e2e.conftest import MACHINE, bell, options

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_every_backend_says_how_many_qubits_it_has(service: QiskitRuntimeService) -> None:
    """The client takes the number of physical qubits from the list alone (wire-protocol 5.1)."""
    backends = service.backends()
    assert len(backends) > 1
    for backend in backends:
        assert backend.physical_qubits == backend.num_qubits


def test_backends_are_found_by_what_they_can_do(service: QiskitRuntimeService) -> None:
    """Those that run `if_else` are dynamic; the client knows it from one word (5.2)."""
    found = [backend.name for backend in service.backends(dynamic_circuits=True)]
    assert found == [backend.name for backend in service.backends()]
    assert service.least_busy(dynamic_circuits=True, simulator=False)


def test_a_backend_is_not_found_under_a_calibration_that_it_does_not_have(
    service: QiskitRuntimeService, caplog: pytest.LogCaptureFixture
) -> None:
    """Or its user would take today's numbers for those that were asked for."""
    with (
        caplog.at_level(logging.WARNING, logger="qiskit_ibm_runtime"),
        pytest.raises(QiskitBackendNotFoundError),
    ):
        service.backend(MACHINE, calibration_id="of-last-week")
    assert "of-last-week" in caplog.text
    backend = service.backend(MACHINE)
    sent = {"pubs": [(bell(backend), None, 10)], "options": {}, "version": 2}
    with pytest.raises(IBMRuntimeError, match="calibration_id"):
        service._run("sampler", sent, options(backend), calibration_id="of-last-week")


def test_a_user_who_waits_no_longer_is_let_go(service: QiskitRuntimeService) -> None:
    """The client looks at its timeout between two answers, so none is held for long."""
    backend = service.backend("slow_machine")
    job = SamplerV2(mode=backend).run([bell(backend)])
    began = time.monotonic()
    try:
        with pytest.raises(RuntimeJobTimeoutError):
            job.result(timeout=0.1)
        assert time.monotonic() - began < 5
    finally:
        job.cancel()


def test_skipping_more_jobs_than_there_are_ends(service: QiskitRuntimeService) -> None:
    """The client counts down to `count - skip`; below none it would ask for ever."""
    tag = f"skip-{uuid.uuid4().hex[:8]}"
    assert service.jobs(job_tags=[tag], skip=3) == []
    assert service.jobs(job_tags=[tag], skip=3, limit=None) == []
