"""Seed document 002, "Introduction to Qiskit Runtime sessions": its example and its promises.

| Part | Test |
|---|---|
| the VQE with `cost_func` and `minimize` | `test_the_vqe` |
| the three call styles of `Estimator` | `test_call_styles` |
| "sessions do not work on simulators" | `test_a_simulator_has_no_session` |
| how sessions work: exclusive, paused, reactivated | `test_a_session_pauses_and_comes_back` |
| a classical step longer than the interactive timeout | `test_keep_alive` |
| the session is closed when the context ends | `test_the_context_closes_it` |

The document leaves the ansatz, the Hamiltonian, and the number of parameters to its reader; here
they are those of H2 in two qubits.
"""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp
from scipy.optimize import minimize

from qdwell import Estimator, IBMRuntimeError, QiskitRuntimeService, Session

H2 = SparsePauliOp.from_list(
    [("II", -1.052373245772859), ("IZ", 0.39793742484318045), ("ZI", -0.39793742484318045),
     ("ZZ", -0.01128010425623538), ("XX", 0.18093119978423156)]
)  # fmt: skip
GROUND = -1.857275030202382
QUBITS = 2


def test_the_vqe() -> None:
    ansatz, hamiltonian = efficient_su2(QUBITS, reps=1), H2
    num_params = ansatz.num_parameters
    backend = QiskitRuntimeService().backend("ideal_machine")
    rng = np.random.default_rng(7)

    def cost_func(params, ansatz, hamiltonian, estimator):
        # Return estimate of energy from estimator
        energy = estimator.run(ansatz, hamiltonian, parameter_values=params).result().values[0]
        return energy

    x0 = 2 * np.pi * rng.random(num_params)
    session = Session(backend=backend)
    # If using qiskit-ibm-runtime earlier than 0.24.0, change `mode=` to `session=`
    estimator = Estimator(mode=session, options={"shots": int(1e4)})
    # Without shot noise of its own in each run, and readout errors that this machine has not.
    estimator.set_options(resilience_level=0, simulator={"seed_simulator": 7})
    res = minimize(cost_func, x0, args=(ansatz, hamiltonian, estimator), method="cobyla")
    cached = (session.details() or {})["cache"]
    # Close the session because we didn't use a context manager.
    session.close()

    assert res.fun == pytest.approx(GROUND, abs=0.02)
    assert session.status() == "Closed"
    assert cached["hits"] > cached["misses"]  # S37: compiled once


def test_call_styles() -> None:
    backend = QiskitRuntimeService().backend("ideal_machine")
    circuit = QuantumCircuit(1)
    circuit.x(0)
    z = SparsePauliOp("Z")
    with Session(backend=backend) as session:
        plain = Estimator(session=session).run(circuit, z).result()
        assert plain.values[0] == pytest.approx(-1)
        wide = QuantumCircuit(27)
        wide.x(0)
        pubs = Estimator(mode=session).run([(wide, z.apply_layout([0], 27))]).result()
        assert pubs[0].data.evs == pytest.approx(-1)
        shots = Estimator(mode=session, options={"shots": 160}).run([circuit], [z]).result()
        assert shots.values[0] == pytest.approx(-1)
        assert shots.metadata[0]["shots"] == 160
        again = Estimator(mode=session, options={"shots": 100})
        assert again.run([(wide, z.apply_layout([0], 27))]).result()[0].metadata["shots"] == 100


def test_a_simulator_has_no_session() -> None:
    with Session(backend="aer_simulator") as session:
        assert session.session_id is None
        assert Estimator(mode=session).run(QuantumCircuit(1), "Z").result().values[0] == 1


def test_a_session_pauses_and_comes_back() -> None:
    service = QiskitRuntimeService()
    circuit = QuantumCircuit(1)
    with Session(service=service, backend="ideal_machine") as session:
        estimator = Estimator(session=session)
        estimator.run(circuit, "Z").result()
        while session.status() != "Pending":  # the interactive timeout of this server is 2 s
            pass
        estimator.run(circuit, "Z").result()
        details = session.details()
    assert details is not None
    assert details["activated_at"] > details["started_at"]
    assert [it["status"] for it in details["timestamps"]] == [
        "open", "active", "inactive", "active",
    ]  # fmt: skip


def test_keep_alive() -> None:
    circuit = QuantumCircuit(1)
    with Session(backend="ideal_machine") as session:
        estimator = Estimator(session=session)
        estimator.run(circuit, "Z").result()
        told = session.keep_alive(4)
        assert told is not None
        assert told["keep_alive_until"] is not None
        while session.status() != "Pending":
            pass
        details = session.details()
    assert details is not None
    assert details["interactive_timeout"] == 2
    assert 4 <= details["usage_time"] < 5.5


def test_the_context_closes_it() -> None:
    with pytest.raises(ZeroDivisionError), Session(backend="ideal_machine") as session:
        raise ZeroDivisionError
    assert session.status() == "Closed"
    with pytest.raises(IBMRuntimeError, match="closed"):
        Estimator(session=session).run(QuantumCircuit(1), "Z")
