"""A circuit that its instance has sent before travels as its hash."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.random import random_circuit

from client.running import Running
from qdwell import Backend, IBMRuntimeError, QiskitRuntimeService, SamplerV2
from qdwell.client.transport import Request, Response, Sends
from qdwell.client.values import circuit_name, circuit_text, named_circuit


class Weighed:
    """A transport that notes the sizes of submissions."""

    def __init__(self, inner: Sends) -> None:
        self.inner = inner
        self.sizes: list[int] = []

    def send(self, request: Request) -> Response:
        if (request.method, request.path) == ("POST", "/jobs"):
            self.sizes.append(len(request.body or b""))
        return self.inner.send(request)


@pytest.fixture
def large() -> QuantumCircuit:
    circuit = random_circuit(20, 1200, seed=1)
    circuit.measure_all()
    return circuit


def weigh(service: QiskitRuntimeService) -> list[int]:
    weighed = Weighed(service.link.transport)
    service.link.transport = weighed
    return weighed.sizes


def test_the_second_time_only_the_hash_is_sent(quick: Backend, large: QuantumCircuit) -> None:
    sizes = weigh(quick.service)
    jobs = [SamplerV2(mode=quick).run([large]) for _ in range(2)]
    assert sizes[0] > 90_000
    assert sizes[1] < 2_000
    assert jobs[1].inputs["pubs"][0][0] == large  # what was meant is kept with the job
    for job in jobs:
        job.cancel() if not job.in_final_state() else None


def test_a_changed_circuit_is_sent_whole(quick: Backend, large: QuantumCircuit) -> None:
    sizes = weigh(quick.service)
    SamplerV2(mode=quick).run([large])
    large.metadata = {"changed": True}
    SamplerV2(mode=quick).run([large])
    assert min(sizes) > 90_000


def test_a_server_that_forgot_is_sent_the_whole(quick: Backend, large: QuantumCircuit) -> None:
    sizes = weigh(quick.service)
    large.metadata = {"forgotten": True}
    quick.service.sent.add(circuit_name(circuit_text(large)))
    SamplerV2(mode=quick).run([large])
    assert sizes[0] < 2_000
    assert sizes[1] > 90_000


def test_anothers_circuit_is_unknown(
    running: Running, quick: Backend, large: QuantumCircuit
) -> None:
    large.metadata = {"secret": True}
    SamplerV2(mode=quick).run([large])
    name = circuit_name(circuit_text(large))
    guess = {"pubs": [[named_circuit(name), None, 10]], "version": 2}
    with running.account("guesser") as guesser:
        with pytest.raises(IBMRuntimeError, match="no circuit"):
            guesser.run("sampler", guess, {"backend": "quick_machine"})
        never = {"pubs": [[named_circuit("0" * 64), None, 10]], "version": 2}
        with pytest.raises(IBMRuntimeError, match="no circuit"):
            guesser.run("sampler", never, {"backend": "quick_machine"})
    quick.service.run("sampler", guess, {"backend": "quick_machine"})  # its own may name it
