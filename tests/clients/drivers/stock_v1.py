"""A stock client of the V1 interface (0.20 to 0.23) with the programs of its time, as printed."""

import os
import threading
import warnings

import checking
import numpy as np
import qiskit_ibm_runtime
import signing_in
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ClassicalRegister, Parameter, QuantumRegister
from qiskit.circuit.library import EfficientSU2
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_ibm_runtime import Estimator, Options, QiskitRuntimeService, Sampler, Session

VERSION = tuple(int(part) for part in qiskit_ibm_runtime.__version__.split(".")[:2])
H2 = SparsePauliOp.from_list(
    [("II", -1.0524), ("IZ", 0.3979), ("ZI", -0.3979), ("ZZ", -0.0113), ("XX", 0.1809)]
)
warnings.simplefilter("ignore", DeprecationWarning)


def for_machine(circuit, backend):
    return transpile(circuit, backend, initial_layout=list(range(circuit.num_qubits)))


def check_seed_000_set_up():
    service = QiskitRuntimeService()
    names = [backend.name for backend in service.backends()]
    assert {"ibmq_qasm_simulator", "ideal_machine", "fake_manila"} <= set(names), names
    assert service.least_busy(simulator=False).name in names


def check_seed_000_session_options():
    service = QiskitRuntimeService()
    options = Options()
    with Session(service=service, backend="ibmq_qasm_simulator"):
        estimator = Estimator(options=options)
        assert estimator.session.session_id is None
        assert estimator.run(QuantumCircuit(1), SparsePauliOp("Z")).result().values[0] == 1


def check_seed_000_full_example():
    circuit = random_circuit(2, 2, seed=1).decompose(reps=1)
    observable = SparsePauliOp("IY")

    options = Options()
    options.optimization_level = 2
    options.resilience_level = 2

    service = QiskitRuntimeService()
    with Session(service=service, backend="ibmq_qasm_simulator") as session:
        estimator = Estimator(session=session, options=options)
        job = estimator.run(circuit, observable)
        result = job.result()

    exact = Statevector(circuit).expectation_value(observable).real
    assert abs(result.values[0] - exact) < 0.12, (result.values, exact)
    assert result.metadata[0]["zne"]["noise_amplification"]["noise_factors"] == [1, 3, 5]
    again = service.job(job.job_id())
    assert again.status().name == "DONE"
    assert again.result().values[0] == result.values[0]


def check_seed_001_example():
    qr = QuantumRegister(2, name="qr")
    cr = ClassicalRegister(2, name="cr")
    qc = QuantumCircuit(qr, cr, name="bell")
    qc.h(qr[0])
    qc.cx(qr[0], qr[1])
    qc.measure(qr, cr)

    options = Options(optimization_level=3)

    with Session(backend="ibmq_qasm_simulator") as session:
        sampler = Sampler(session=session, options=options)
        job = sampler.run(qc)
        shares = job.result().quasi_dists[0]
    assert set(shares) == {0, 3}, shares
    assert abs(shares[0] - 0.5) < 0.05, shares
    assert job.result().metadata[0]["shots"] == 4000


def check_seed_001_session():
    service = QiskitRuntimeService()
    backend = service.backend("ideal_machine")
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit = for_machine(circuit, backend)
    with Session(service=service, backend=backend, max_time="2m 3s") as session:
        assert session.status() == "Pending"
        sampler = Sampler(session=session, options={"resilience_level": 0})
        job = sampler.run(circuit, shots=100)
        assert job.result().quasi_dists[0] == {1: 1.0}
        details = session.details()
        assert details["max_time"] == 123, details
        assert details["state"] == "active", details
        assert session.status() == "In progress, accepting new jobs"
        named = {"backend": "ideal_machine"} if VERSION < (0, 23) else {}  # 0.23 reads it itself
        twin = Session.from_id(session.session_id, service=service, **named)
        assert twin.details()["id"] == session.session_id
        assert job.session_id == session.session_id
        assert job.backend().name == "ideal_machine"
    assert session.status() == "Closed"
    cancelled = Session(service=service, backend=backend)
    cancelled.cancel()
    assert cancelled.status() == "Closed"
    refused = ""
    try:
        Sampler(session=cancelled).run(circuit)
    except RuntimeError as error:
        refused = str(error)
    assert "closed" in refused, refused


def check_seed_002_vqe():
    from scipy.optimize import minimize

    service = QiskitRuntimeService()
    backend = service.backend("ideal_machine")
    ansatz = for_machine(EfficientSU2(2, reps=1).decompose(), backend)
    hamiltonian = H2.apply_layout(ansatz.layout)
    energies = []

    def cost_func(params, ansatz, hamiltonian, estimator):
        # Return estimate of energy from estimator
        energy = estimator.run(ansatz, hamiltonian, parameter_values=params).result().values[0]
        energies.append(energy)
        return energy

    x0 = np.full(ansatz.num_parameters, 0.1)

    session = Session(backend=backend)
    # If using qiskit-ibm-runtime earlier than 0.24.0, change `mode=` to `session=`
    options = {"shots": int(1e4), "resilience_level": 0, "seed_simulator": 7}
    estimator = Estimator(session=session, options=options)
    res = minimize(
        cost_func, x0, args=(ansatz, hamiltonian, estimator), method="cobyla",
        options={"maxiter": 60},
    )  # fmt: skip
    # Close the session because we didn't use a context manager.
    session.close()
    assert abs(res.fun + 1.857) < 0.05, res.fun
    assert session.status() == "Closed"


def check_a_session_without_a_backend():
    if signing_in.CHANNEL == "ibm_quantum":
        return  # that channel wants a name, before anything is asked
    service = QiskitRuntimeService()
    with Session(service) as session:
        result = Estimator(session=session).run(QuantumCircuit(1), SparsePauliOp("Z")).result()
    assert abs(result.values[0] - 1) < 0.1


def check_levels_and_metadata_on_a_machine():
    service = QiskitRuntimeService()
    backend = service.backend("fake_manila")
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit = for_machine(circuit, backend)
    observable = SparsePauliOp("ZZ").apply_layout(circuit.layout)
    measured = circuit.copy()
    measured.measure_active()
    keys = {
        0: {"variance", "shots"},
        1: {"readout_mitigation_num_twirled_circuits", "readout_mitigation_shots_calibration"},
        2: {"zne"},
        3: {"standard_error", "samples", "sampling_overhead", "total_mitigated_layers"},
    }
    errors = {}
    for level, expected in keys.items():
        options = Options(resilience_level=level)
        options.simulator.seed_simulator = 5
        estimator = Estimator(backend=backend, options=options)
        result = estimator.run(circuit, observable, shots=8000).result()
        assert expected <= set(result.metadata[0]), result.metadata
        errors[level] = abs(result.values[0] - 1)
    assert errors[1] < errors[0], errors
    sampler = Sampler(backend=backend, options=Options(resilience_level=1))
    result = sampler.run(measured).result()
    assert "readout_mitigation_overhead" in result.metadata[0], result.metadata


def check_interim_results_and_logs():
    service = QiskitRuntimeService()
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    estimator = Estimator(backend=service.backend("ibmq_qasm_simulator"))
    job = estimator.run([circuit] * 3, ["Z"] * 3, [[0.0], [np.pi], [0.0]])
    assert np.allclose(job.result().values, [1, -1, 1]), job.result().values
    assert isinstance(job.logs(), str)
    assert job.metrics()["usage"]["quantum_seconds"] >= 0
    assert job.job_id() in [it.job_id() for it in service.jobs(limit=5)]


def check_a_callback_over_tls():
    """A websocket tells of interim results; these clients know no other way (O8, R5)."""
    if not os.environ["QDWELL_TEST_URL"].startswith("https"):
        return  # over plain HTTP they try no websocket
    heard, done = [], threading.Event()

    def listen(job_id, result):
        heard.append((job_id, result))
        if len(heard) == 2:
            done.set()

    service = QiskitRuntimeService()
    options = Options()
    options.environment.callback = listen
    estimator = Estimator(backend=service.backend("ibmq_qasm_simulator"), options=options)
    job = estimator.run([QuantumCircuit(1)] * 2, ["Z"] * 2)
    assert done.wait(10), heard  # without a websocket they would retry for 15 s
    assert {job_id for job_id, _ in heard} == {job.job_id()}
    assert list(job.result().values) == [1, 1]


if __name__ == "__main__":
    signing_in.save()
    checking.main()
