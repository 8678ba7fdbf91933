"""The stock client's executor and the primitives that it builds on it, against a real server."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import (
    EstimatorV2,
    Executor,
    QiskitRuntimeService,
    QuantumProgram,
    SamplerV2,
    Session,
)
from qiskit_ibm_runtime.exceptions import IBMRuntimeError, RuntimeJobFailureError
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_sampler import Sampler

from e2e.conftest import MACHINE, Served

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def turn(backend: Any) -> tuple[QuantumCircuit, SparsePauliOp]:
    """A pair that is in 11 with probability sin^2(t/2), and an observable of it."""
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("t"), 0)
    circuit.cx(0, 1)
    passes = generate_preset_pass_manager(
        optimization_level=1, backend=backend, seed_transpiler=1, initial_layout=[0, 1]
    )
    made = passes.run(circuit)
    return made, SparsePauliOp(["ZZ", "ZI"]).apply_layout(made.layout)


def test_a_quantum_program(service: QiskitRuntimeService) -> None:
    backend = service.backend(MACHINE)
    circuit, _ = turn(backend)
    circuit.measure_all()
    program = QuantumProgram(shots=50, passthrough_data={"mine": np.arange(3)})
    program.append_circuit_item(circuit, circuit_arguments=np.array([[0.0], [np.pi]]))
    job = Executor(backend).run(program)
    result = job.result()
    assert result[0]["meas"].shape == (2, 50, 27)
    assert (result[0]["meas"][:, :, :2].mean(axis=(1, 2)) == [0.0, 1.0]).all()
    assert (result.passthrough_data["mine"] == np.arange(3)).all()
    assert len(result.metadata.chunk_timing) == 1
    metrics = job.metrics()
    assert metrics["executions"] == 100
    assert metrics["usage"]["quantum_seconds"] > 0


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_client_side_estimator(level: int, service: QiskitRuntimeService) -> None:
    """All levels are exact on a machine without noise; 0.1 is over six standard errors."""
    backend = service.backend(MACHINE)
    circuit, observable = turn(backend)
    with Session(backend=backend) as session:
        estimator = Estimator(mode=session, options={"resilience_level": level})
        result = estimator.run([(circuit, observable, [[0.4], [1.9]])]).result()
    assert result[0].data.evs == pytest.approx(1 + np.cos([0.4, 1.9]), abs=0.1)
    assert result.metadata["options"]["resilience_level"] == level


def test_the_client_side_sampler_with_twirling(service: QiskitRuntimeService) -> None:
    backend = service.backend(MACHINE)
    circuit, _ = turn(backend)
    circuit.measure_all()
    twirling = {"enable_gates": True, "enable_measure": True}
    sampler = Sampler(mode=backend, options={"twirling": twirling})
    data = sampler.run([(circuit, [[np.pi]])], shots=320).result()[0].data
    assert data.meas.num_bits == 27
    assert data.meas.slice_bits([0, 1]).get_counts(0) == {"11": data.meas.num_shots}


def test_refusals_reach_the_user(service: QiskitRuntimeService) -> None:
    backend = service.backend(MACHINE)
    circuit, _ = turn(backend)
    circuit.measure_all()
    program = QuantumProgram(shots=1, meas_level="kerneled")
    program.append_circuit_item(circuit, circuit_arguments=[0.0])
    with pytest.raises(IBMRuntimeError, match="classified bits only"):
        Executor(backend).run(program)
    foreign = QuantumCircuit(27, 1)
    foreign.h(3)
    foreign.measure(3, 0)
    program = QuantumProgram(shots=1)
    program.append_circuit_item(foreign)
    with pytest.raises(RuntimeJobFailureError, match="h on qubit 3"):
        Executor(backend).run(program).result()


def test_the_noise_learners(service: QiskitRuntimeService) -> None:
    """V2 and V3, and the newest one, which is an executor job analysed by the client."""
    from qiskit.circuit import QuantumRegister
    from qiskit_ibm_runtime.executor_noise_learner import NoiseLearnerV3 as NewestLearner
    from qiskit_ibm_runtime.noise_learner import NoiseLearner
    from qiskit_ibm_runtime.noise_learner_v3 import NoiseLearnerV3
    from samplomatic import Twirl

    backend = service.backend("fake_manila")
    small = {"num_randomizations": 4, "shots_per_randomization": 64, "layer_pair_depths": [0, 2]}
    circuit = QuantumCircuit(QuantumRegister(5, "q"))
    circuit.cx(0, 1)
    options = {**small, "twirling_strategy": "active"}
    with pytest.warns(DeprecationWarning, match="NoiseLearner"):
        learner = NoiseLearner(backend, options)
    (layer,) = learner.run([circuit]).result()
    assert layer.qubits == [0, 1]
    boxed = QuantumCircuit(QuantumRegister(5, "q"))
    with boxed.box([Twirl()]):
        boxed.cx(0, 1)
    for kind in (NoiseLearnerV3, NewestLearner):
        result = kind(backend, small).run(boxed.data).result()
        assert result.to_pauli_lindblad_maps()[0].num_qubits == 2


@pytest.mark.parametrize("level", [1, 2])
def test_the_server_side_estimator(level: int, service: QiskitRuntimeService) -> None:
    """`EstimatorV2` with mitigation, the values exact on a machine without noise."""
    backend = service.backend(MACHINE)
    circuit, observable = turn(backend)
    estimator = EstimatorV2(mode=backend, options={"resilience_level": level})
    estimator.options.simulator.seed_simulator = 2
    job = estimator.run([(circuit, observable, [[0.4], [1.9]])])
    result = job.result()
    assert result[0].data.evs == pytest.approx(1 + np.cos([0.4, 1.9]), abs=0.1)
    assert result.metadata["resilience_level"] == level
    assert ("evs_extrapolated" in result[0].data) == (level == 2)


def test_the_server_side_sampler_with_twirling(service: QiskitRuntimeService) -> None:
    backend = service.backend(MACHINE)
    circuit, _ = turn(backend)
    circuit.measure_all()
    sampler = SamplerV2(mode=backend)
    sampler.options.twirling.enable_measure = True
    sampler.options.dynamical_decoupling.enable = True
    data = sampler.run([(circuit, [[np.pi]])], shots=300).result()[0].data
    assert data.meas.slice_bits([0, 1]).get_counts(0) == {"11": 300}


def test_the_page_about_mitigation(
    served: Served, surroundings: Any, capsys: Any, tmp_path: Path
) -> None:
    """The programs of docs/how-to/error-mitigation.md, as printed; each level comes nearer to 2."""
    surroundings(served.settings)
    page = Path(__file__).parents[2] / "docs" / "how-to" / "error-mitigation.md"
    program = tmp_path / "program.py"
    program.write_text("".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)))
    runpy.run_path(str(program))
    printed = capsys.readouterr().out.splitlines()
    values = [float(line.split()[1]) for line in printed[:3]]
    assert abs(values[0] - 2) > abs(values[1] - 2)
    assert abs(values[2] - 2) < 0.1
    assert abs(float(printed[3]) - 2) < 0.2
