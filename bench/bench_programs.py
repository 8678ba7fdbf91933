"""The other programs, as the stock client's users feel them, and work of a second or more.

B4 for every program: through the server with the stock client against the client's own local
testing mode, on the same model of a 127-qubit device; where local mode cannot hold so many measured
qubits, on one of 5, where it must not be slower. Local mode lacks some programs, so there it is
what comes next: for mitigation on the server the client-side estimator of the same level; for the
noise learner its experiment by the client's library, run by the local executor, and fitted; for V1,
which the stock client has no more, our own client against the sampler.

Ideal work: a job of a second or more on the ideal simulator takes at most 1.1 times what Qiskit's
backend primitive takes in process. A VQE iteration that repeats a circuit is quicker than in
process, since its measurement circuits are prepared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from bench._lib import interleaved, print_ratio
from bench._server import own_service, server, stock_service
from bench._work import bell, seeded, vqe
from qiskit import QuantumCircuit, QuantumRegister
from samplomatic import InjectNoise, Twirl

MODEL = "fake_sherbrooke"
#: Local mode cannot run the client-side estimator on a wide model: it measures every qubit.
SMALL = "fake_manila"
IDEAL = "aer_simulator"
_CONFIG = f"""
[[backends]]
name = "{MODEL}"
kind = "fake"

[[backends]]
name = "{SMALL}"
kind = "fake"

[[backends]]
name = "{IDEAL}"
kind = "aer"
"""
#: Enough for a second of simulation and more, on two slow cores and on quick ones.
LONG_QUBITS, LONG_SHOTS = 22, 100_000

Way = Callable[[], Any]
Backed = Callable[[Any], Way]


def run() -> bool:
    """Print the ratios; return if their targets are met."""
    warnings.filterwarnings("ignore")
    with server(_CONFIG) as settings:
        service = stock_service(settings)
        met = _programs(service, own_service(settings))
        return all([*met, *_long_work(service), *_iteration(service)])


def _programs(service: Any, own: Any) -> list[bool]:
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2, FakeSherbrooke

    v1 = own.backend(MODEL)
    #: What; its way on the server, and in local mode where that is another one.
    wide: list[tuple[str, Backed, Backed]] = [
        ("sampler, twirled", _twirled_sampler, _twirled_sampler),
        ("client-side sampler", _client_side_sampler, _client_side_sampler),
        ("executor", _executor, _executor),
        ("V1 sampler, own client", lambda _: _sampler_v1(v1), _sampler),
    ]
    narrow: list[tuple[str, Backed, Backed]] = [
        ("noise learner, one layer", _noise_learner, _local_learner),
    ]
    for level in (0, 1, 2):
        client = partial(_client_side, level)
        narrow.append((f"client-side estimator, level {level}", client, client))
        if level:
            narrow.append((f"estimator, level {level}", partial(_mitigated, level), client))
    met = []
    for rows, model, local, limit, kind in (
        (wide, MODEL, FakeSherbrooke(), 0.015, "127-qubit"),
        (narrow, SMALL, FakeManilaV2(), 1.0, "5-qubit"),
    ):
        for what, way, other in rows:
            ways: dict[str, Way] = {"server": way(service.backend(model)), "local": other(local)}
            times = interleaved(ways, samples=10, warm=1, block=2)
            title = f"B4 {what} on a {kind} model: server / local testing mode"
            met.append(print_ratio(title, times["server"], times["local"], limit))
    return met


def _twirled_sampler(mode: Any) -> Way:
    from qiskit_ibm_runtime import SamplerV2

    sampler = seeded(SamplerV2(mode=mode))
    sampler.options.twirling.enable_measure = True  # local mode leaves it out, and says so
    pub = bell(mode)
    return lambda: sampler.run([pub], shots=1024).result()


def _client_side(level: int, mode: Any) -> Way:
    from qiskit_ibm_runtime.executor_estimator import Estimator

    estimator = Estimator(mode=mode)
    estimator.options.resilience_level = level
    estimator.options.default_shots = 1024
    pub = vqe(4, mode)
    return lambda: estimator.run([pub]).result()


def _client_side_sampler(mode: Any) -> Way:
    from qiskit_ibm_runtime.executor_sampler import Sampler

    sampler, pub = Sampler(mode=mode), bell(mode)
    return lambda: sampler.run([pub], shots=1024).result()


def _executor(mode: Any) -> Way:
    from qiskit_ibm_runtime import Executor, QuantumProgram

    (circuit,) = bell(mode)
    program = QuantumProgram(shots=1024)
    program.append_circuit_item(circuit)
    executor = Executor(mode)
    return lambda: executor.run(program).result()


def _mitigated(level: int, mode: Any) -> Way:
    from qiskit_ibm_runtime import EstimatorV2

    estimator = EstimatorV2(mode=mode)
    estimator.options.resilience_level = level
    estimator.options.default_shots = 1024
    pub = vqe(4, mode)
    return lambda: estimator.run([pub]).result()


#: Of the noise learner: few, since local mode takes seconds for each circuit.
_LEARN = {"num_randomizations": 4, "shots_per_randomization": 64}
_DEPTHS = [0, 4]


def _pair(mode: Any) -> QuantumCircuit:
    circuit = QuantumCircuit(mode.num_qubits)
    circuit.cx(0, 1)
    return circuit


def _noise_learner(mode: Any) -> Way:
    from qiskit_ibm_runtime.noise_learner import NoiseLearner

    learner = NoiseLearner(mode=mode, options={**_LEARN, "layer_pair_depths": _DEPTHS})
    circuit = _pair(mode)
    return lambda: learner.run([circuit]).result()


def _local_learner(mode: Any) -> Way:
    from qiskit_ibm_runtime import Executor
    from qiskit_noise_learning.protocols import prepare_vanilla_program, process_vanilla_result

    layer = QuantumCircuit(QuantumRegister(mode.num_qubits, "q"))
    with layer.box([Twirl(), InjectNoise("layer")]):
        layer.cx(0, 1)
    executor = Executor(mode)

    def learned() -> Any:
        program = prepare_vanilla_program(mode, list(layer), **_LEARN, fragment_depths=_DEPTHS)
        return process_vanilla_result(executor.run(program).result())

    return learned


def _sampler(mode: Any) -> Way:
    from qiskit_ibm_runtime import SamplerV2

    sampler, pub = seeded(SamplerV2(mode=mode)), bell(mode)
    return lambda: sampler.run([pub], shots=1024).result()


def _sampler_v1(backend: Any) -> Way:
    from qdwell import Sampler

    sampler = Sampler(backend=backend)
    sampler.set_options(resilience_level=0, optimization_level=1, shots=1024)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return lambda: sampler.run(circuit).result()


def _long_work(service: Any) -> list[bool]:
    """A second and more on the ideal simulator: never slower than 1.1 times in process."""
    from qiskit.primitives import BackendSamplerV2
    from qiskit_aer import AerSimulator
    from qiskit_ibm_runtime import SamplerV2

    near = AerSimulator()
    circuit = vqe(LONG_QUBITS, near)[0]
    measured = circuit.assign_parameters(np.linspace(0.1, 1, circuit.num_parameters))
    measured.measure_all()
    far = SamplerV2(mode=service.backend(IDEAL))
    in_process = BackendSamplerV2(backend=near)
    ways: dict[str, Way] = {
        "server": lambda: far.run([(measured,)], shots=LONG_SHOTS).result(),
        "in process": lambda: in_process.run([(measured,)], shots=LONG_SHOTS).result(),
    }
    times = interleaved(ways, samples=6, warm=1, block=2)
    title = f"{LONG_QUBITS} qubits, {LONG_SHOTS} shots, ideal: server / BackendSamplerV2"
    return [print_ratio(title, times["server"], times["in process"], 1.1)]


def _iteration(service: Any) -> list[bool]:
    """Iterations of one circuit with new parameters, eight points in each."""
    from qiskit.primitives import BackendEstimatorV2
    from qiskit_aer import AerSimulator
    from qiskit_ibm_runtime import EstimatorV2

    near = AerSimulator()
    circuit, observable, values = vqe(12, near)
    rows = np.stack([values + place / 10 for place in range(8)])
    far = EstimatorV2(mode=service.backend(IDEAL))
    in_process = BackendEstimatorV2(backend=near)
    ways: dict[str, Way] = {
        "server": lambda: far.run([(circuit, observable, rows)]).result(),
        "in process": lambda: in_process.run([(circuit, observable, rows)]).result(),
    }
    times = interleaved(ways, samples=10, warm=2, block=5)
    title = "A repeated VQE-12 iteration of 8 points, ideal: server / BackendEstimatorV2"
    return [print_ratio(title, times["server"], times["in process"], 1.0)]
