"""One server for all tests of a worker process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qiskit import QuantumCircuit, transpile

from client.running import Running
from qdwell import Backend, QiskitRuntimeService


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that runs; it must end with status 0."""
    server = Running(tmp_path_factory.mktemp("served"))
    server.start()
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()


@pytest.fixture
def service(running: Running) -> Iterator[QiskitRuntimeService]:
    """A service of the first account, with no connection yet."""
    with running.service() as made:
        yield made


@pytest.fixture
def machine(service: QiskitRuntimeService) -> Backend:
    """The machine without noise."""
    return service.backend("ideal_machine")


@pytest.fixture
def quick(service: QiskitRuntimeService) -> Backend:
    """The machine that answers at once with anything."""
    return service.backend("quick_machine")


@pytest.fixture
def bell(machine: Backend) -> QuantumCircuit:
    """A Bell pair, measured, in the instructions of the machine."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    compiled: QuantumCircuit = transpile(circuit, machine)
    return compiled
