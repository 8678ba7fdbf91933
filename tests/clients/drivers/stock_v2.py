"""A stock client of the V2 interface (0.23 to 0.40) with the programs of its time.

From 0.24 on a primitive takes `mode=`; in 0.23 it has `session=` and `backend=`.
"""

import warnings

import checking
import numpy as np
import qiskit_ibm_runtime
import signing_in
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.library import EfficientSU2
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Batch, EstimatorV2, QiskitRuntimeService, SamplerV2, Session
from scipy.optimize import minimize

VERSION = tuple(int(part) for part in qiskit_ibm_runtime.__version__.split(".")[:2])
H2 = SparsePauliOp.from_list(
    [("II", -1.0524), ("IZ", 0.3979), ("ZI", -0.3979), ("ZZ", -0.0113), ("XX", 0.1809)]
)
warnings.simplefilter("ignore", DeprecationWarning)


def made(primitive, mode, **options):
    """A primitive at a backend, a session, or a batch, in the words of the release."""
    if VERSION >= (0, 24):
        return primitive(mode=mode, options=options or None)
    word = "session" if isinstance(mode, Session) else "backend"
    return primitive(**{word: mode}, options=options or None)


def bell(backend):
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return transpile(circuit, backend)


def machine():
    return QiskitRuntimeService().backend("ideal_machine")


def check_backends():
    service = QiskitRuntimeService()
    names = [backend.name for backend in service.backends()]
    assert {"ideal_machine", "fake_manila"} <= set(names), names
    manila = service.backend("fake_manila")
    assert manila.num_qubits == 5
    assert 0 < manila.target["cx"][0, 1].error < 0.1
    assert manila.properties().t1(0) > 0
    assert manila.status().operational
    assert service.least_busy().name in names


def check_seed_003_modes():
    backend = machine()
    circuit = bell(backend)
    for kind in (None, Session, Batch):
        mode = backend if kind is None else kind(backend=backend)
        sampler = made(SamplerV2, mode)
        jobs = [sampler.run([circuit], shots=200) for _ in range(2)]
        for job in jobs:
            counts = job.result()[0].data.meas.get_counts()
            assert set(counts) <= {"00", "11"}, counts
            assert sum(counts.values()) == 200
            assert job.session_id == (None if kind is None else mode.session_id)
            assert job.metrics()["usage"]["quantum_seconds"] > 0
        if kind is not None:
            mode.close()
            assert mode.status() == "Closed"
            assert mode.details()["usage_time"] > 0


def check_seed_003_context_managers():
    backend = machine()
    circuit = bell(backend)
    for kind in (Session, Batch):
        with kind(backend=backend) as group:
            job = SamplerV2().run([circuit])
        assert job.session_id == group.session_id
        assert job.result()[0].data.meas.num_shots == 4096


def check_seed_002_vqe():
    backend = machine()
    ansatz = transpile(EfficientSU2(2, reps=1).decompose(), backend)
    hamiltonian = H2.apply_layout(ansatz.layout)

    def cost_func(params, ansatz, hamiltonian, estimator):
        # Return estimate of energy from estimator
        return float(estimator.run([(ansatz, hamiltonian, params)]).result()[0].data.evs)

    session = Session(backend=backend)
    estimator = made(EstimatorV2, session, simulator={"seed_simulator": 7})
    res = minimize(
        cost_func, np.full(ansatz.num_parameters, 0.1), method="cobyla", options={"maxiter": 80},
        args=(ansatz, hamiltonian, estimator),
    )  # fmt: skip
    # Close the session because we didn't use a context manager.
    session.close()
    assert abs(res.fun + 1.857) < 0.08, res.fun


def check_broadcasting_and_precision():
    backend = machine()
    circuit = QuantumCircuit(1)
    circuit.ry(2 * Parameter("a") + 0.5, 0)  # a formula, not only a name
    circuit = transpile(circuit, backend)
    values = (np.array([0.0, np.pi / 2, np.pi]) - 0.5) / 2
    observables = [[SparsePauliOp(it).apply_layout(circuit.layout)] for it in ("Z", "X")]
    estimator = made(EstimatorV2, backend)
    (result,) = estimator.run(
        [(circuit, observables, values.reshape(3, 1))], precision=0.02
    ).result()
    assert result.data.evs.shape == (2, 3)
    assert np.allclose(result.data.evs, [[1, 0, -1], [0, 1, 0]], atol=0.1), result.data.evs


def check_errors_and_cancel():
    from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError, RuntimeJobFailureError

    service = QiskitRuntimeService()
    said = ""
    try:
        made(SamplerV2, service.backend("failing_machine")).run([bell(machine())]).result()
    except RuntimeJobFailureError as error:
        said = str(error)
    assert "execution failed" in said, said
    job = made(SamplerV2, service.backend("slow_machine")).run([bell(machine())])
    job.cancel()
    said = ""
    try:
        job.result()
    except RuntimeInvalidStateError as error:
        said = str(error)
    assert "cancel" in said.lower(), said


def check_jobs_are_found_again():
    service = QiskitRuntimeService()
    job = made(SamplerV2, machine()).run([bell(machine())], shots=50)
    job.result()
    again = service.job(job.job_id())
    assert again.result()[0].data.meas.num_shots == 50
    assert again.backend().name == "ideal_machine"
    assert job.job_id() in [it.job_id() for it in service.jobs(limit=3)]
    assert isinstance(again.logs(), str)
    again.update_tags(["old"])
    assert job.job_id() in [it.job_id() for it in service.jobs(job_tags=["old"])]


if __name__ == "__main__":
    signing_in.save()
    checking.main()
