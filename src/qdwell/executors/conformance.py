"""Does a backend do what qdwell asks of it? `qdwell conformance package.module:factory`.

Each check is a function of the executor that raises `Broken` with what it saw and what was
expected, or `Untold` where the backend has no such thing. They run on the real device: a few
circuits of a few gates, some hundred shots each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler import generate_preset_pass_manager

from qdwell.errors import ProgramError, QdwellError
from qdwell.executors.base import RunStatus, Spec
from qdwell.executors.qiskit import BackendExecutor, backend_executor
from qdwell.wire.device import Batch, Fitted

SHOTS = 200
#: Share of shots that must show a prepared basis state; a bad readout is no breach of the rules.
MOSTLY = 0.6
#: Longest wait for a run of a few hundred shots, and for a stop.
PATIENCE_S = 600.0
LONG_SHOTS = 10_000


class Verdict(StrEnum):
    """How a check ended."""

    KEPT = "ok"
    BROKEN = "BROKEN"
    UNTOLD = "-"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    rule: str
    verdict: Verdict
    said: str = ""


class Broken(Exception):
    """The backend does not keep the rule."""


class Untold(Exception):
    """The backend does not offer what the rule is about."""


def conformance(target: str, options: dict[str, Any]) -> Iterator[Finding]:
    """Make the backend and check it; findings come as they are made.

    Args:
        target: "package.module:factory".
        options: arguments of the factory, as `options` in the config.

    A backend that cannot be made gives one finding. Whatever a check meets, the next one runs.
    """
    try:
        device = backend_executor(Spec("device", "qiskit", target, options))
    except QdwellError as error:
        yield Finding("the factory gives a BackendV2", Verdict.BROKEN, str(error))
        return
    yield Finding("the factory gives a BackendV2", Verdict.KEPT)
    for check in CHECKS:
        yield _finding(check, device)


def _finding(check: Callable[[BackendExecutor], str | None], device: BackendExecutor) -> Finding:
    rule = " ".join((check.__doc__ or "").split()).rstrip(".")
    try:
        return Finding(rule, Verdict.KEPT, check(device) or "")
    except Untold as error:
        return Finding(rule, Verdict.UNTOLD, str(error))
    except (Broken, ProgramError) as error:
        return Finding(rule, Verdict.BROKEN, str(error))
    except Exception as error:  # The device is somebody's own code, and may raise anything.
        return Finding(rule, Verdict.BROKEN, f"it raised {type(error).__name__}: {error}")


# ---- what it says of itself ----------------------------------------------------------------------


def describes_itself(device: BackendExecutor) -> str:
    """The target has qubits, gates, and a measurement, and can be shown to the client."""
    target = device.target
    if not target.num_qubits:
        raise Broken("target.num_qubits is not set: say how many qubits there are")
    if "measure" not in target.operation_names:
        raise Broken("the target has no measure: add Measure() for the qubits that can be read")
    gates = [it for it in target.operation_names if it not in ("measure", "reset", "delay")]
    if not gates:
        raise Broken("the target has no gate")
    for part in device.describe():
        orjson.dumps(part)
    return f"{target.num_qubits} qubits; {', '.join(gates)}"


def says_durations(device: BackendExecutor) -> str | None:
    """The target has durations and errors of its gates."""
    target = device.target
    known = [
        properties
        for name in target.operation_names
        for properties in (target[name] or {}).values()
        if properties is not None
    ]
    if not any(it.duration for it in known):
        raise Untold("no durations: estimates take 100 us for each circuit")
    if not any(it.error for it in known):
        raise Untold("no errors: users see no calibration")
    return None


# ---- what it gives -------------------------------------------------------------------------------


def gives_every_shot(device: BackendExecutor) -> None:
    """A run gives as many ordered shots as it was asked for."""
    for shots in (1, SHOTS):
        _run(device, [_state(device, 0)], shots=shots)  # it counts them


def keeps_the_order_of_bits(device: BackendExecutor) -> None:
    """Classical bit 0 is the last character of an outcome."""
    for value in range(1 << _qubits(device)):
        _expect_state(_run(device, [_state(device, value)])[0], value)


def keeps_the_order_of_circuits(device: BackendExecutor) -> str:
    """Several circuits give their results in order, also more than fit into one job."""
    most = device.backend.max_circuits
    states = 1 << _qubits(device)
    count = min(2 * (most or states) + 1, 101)
    values = [place % states for place in range(count)]
    found = _run(device, [_state(device, value) for value in values])
    if len(found) != count:
        raise Broken(f"{len(found)} results came for {count} circuits")
    for bits, value in zip(found, values, strict=True):
        _expect_state(bits, value)
    return f"{count} circuits, max_circuits = {most}"


def reads_into_any_register(device: BackendExecutor) -> None:
    """A measurement may go to any classical bit, and bits not written are 0."""
    circuit = QuantumCircuit(1, 3)
    circuit.x(0)
    circuit.measure(0, 2)
    _expect_state(_run(device, [_compiled(device, circuit)])[0], 0b100)


def binds_parameters(device: BackendExecutor) -> None:
    """Bound parameters act."""
    angle = Parameter("angle")
    circuit = QuantumCircuit(1, 1)
    circuit.rx(angle, 0)
    circuit.measure(0, 0)
    compiled = _compiled(device, circuit)
    for value, outcome in ((0.0, 0), (np.pi, 1)):
        batch = Batch((compiled,), (np.array([value]),), SHOTS)
        _expect_state(device.run(batch).samples[0].bits, outcome)


def repeats_with_a_seed(device: BackendExecutor) -> None:
    """With an option seed_simulator, equal seeds give equal shots."""
    if not hasattr(device.backend.options, "seed_simulator"):
        raise Untold("no such option: users' seeds have no effect")
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    first, second = (_run(device, [_compiled(device, circuit)], seed=11)[0] for _ in range(2))
    if not np.array_equal(first, second):
        raise Broken("two runs with seed 11 gave different shots")


# ---- how its jobs behave -------------------------------------------------------------------------


def waits_in_another_thread(device: BackendExecutor) -> None:
    """A run that was started in one thread can be waited for in another."""
    run = device.start(_batch([_state(device, 1)], SHOTS))
    found: list[Any] = []

    def wait() -> None:
        try:
            found.append(device.result(run).samples[0].bits)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if not found:
        raise Broken(f"no result within {PATIENCE_S:.0f} s")
    if isinstance(found[0], Exception):
        raise Broken(f"result() raised {found[0]!r}")
    _expect_state(found[0], 1)


def tells_its_status(device: BackendExecutor) -> None:
    """A job's status() is a JobStatus, and DONE at the end."""
    run = device.start(_batch([_state(device, 0)], SHOTS))
    jobs = device.jobs_of(run)
    device.status(run)
    device.result(run)
    words = [job.status() for job in jobs]
    if any(getattr(word, "name", None) != "DONE" for word in words):
        raise Broken(f"after the result, status() says {words}")


def names_its_jobs(device: BackendExecutor) -> None:
    """Every job has an id of its own."""
    runs = [device.start(_batch([_state(device, 0)], 1)) for _ in range(2)]
    for run in runs:
        device.result(run)
    if runs[0] == runs[1]:
        raise Broken(f"two jobs have the id {runs[0]!r}")


def finds_its_jobs_again(device: BackendExecutor) -> None:
    """retrieve_job(id) gives a job that is known by its id, with its result."""
    backend: Any = device.backend
    if not hasattr(backend, "retrieve_job"):
        raise Untold("no retrieve_job: a run cannot be taken up after a restart, its job fails")
    run = device.start(_batch([_state(device, 1)], SHOTS))
    (job,) = device.jobs_of(run)
    again = backend.retrieve_job(job.job_id())
    if again.job_id() != job.job_id():
        raise Broken(f"asked for job {job.job_id()!r}, it gave {again.job_id()!r}")
    expected = device.result(run).samples[0].bits
    memory = again.result().get_memory()
    if len(memory) != len(expected):
        raise Broken(f"the job found again has {len(memory)} shots, not {len(expected)}")


def stops_when_told(device: BackendExecutor) -> str | None:
    """cancel() ends a run, and the device runs the next one."""
    run = device.start(_batch([_state(device, 0)], LONG_SHOTS))
    cancels = [job for job in device.jobs_of(run) if hasattr(job, "cancel")]
    ended: list[Any] = []

    def stop() -> None:
        device.stop(run)
        ended.append(True)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if not ended:
        raise Broken(f"the run had not ended {PATIENCE_S:.0f} s after cancel()")
    if device.status(run) is not RunStatus.UNKNOWN:
        raise Broken("the run is still there after its stop")
    _expect_state(_run(device, [_state(device, 1)])[0], 1)
    if not cancels:
        raise Untold("no cancel: a job that is cancelled holds the device until its end")
    return None


CHECKS: tuple[Callable[[BackendExecutor], str | None], ...] = (
    describes_itself,
    says_durations,
    gives_every_shot,
    keeps_the_order_of_bits,
    keeps_the_order_of_circuits,
    reads_into_any_register,
    binds_parameters,
    repeats_with_a_seed,
    waits_in_another_thread,
    tells_its_status,
    names_its_jobs,
    finds_its_jobs_again,
    stops_when_told,
)


# ---- common --------------------------------------------------------------------------------------


def _qubits(device: BackendExecutor) -> int:
    return min(2, int(device.target.num_qubits or 0))


def _state(device: BackendExecutor, value: int) -> Fitted:
    """A circuit that prepares a basis state and measures it."""
    width = _qubits(device)
    circuit = QuantumCircuit(width, width)
    for qubit in range(width):
        if value >> qubit & 1:
            circuit.x(qubit)
    circuit.measure(range(width), range(width))
    return _compiled(device, circuit)


def _compiled(device: BackendExecutor, circuit: QuantumCircuit) -> Fitted:
    passes = generate_preset_pass_manager(1, target=device.target, seed_transpiler=1)
    return device.fit(passes.run(circuit))


def _batch(circuits: list[Fitted], shots: int, seed: int | None = None) -> Batch:
    return Batch(tuple(circuits), (np.empty(0),) * len(circuits), shots, seed)


def _run(
    device: BackendExecutor, circuits: list[Fitted], shots: int = SHOTS, seed: int | None = None
) -> list[NDArray[np.uint8]]:
    return [it.bits for it in device.run(_batch(circuits, shots, seed)).samples]


def _expect_state(bits: NDArray[np.uint8], value: int) -> None:
    """Most shots show `value`."""
    found = [int.from_bytes(row.tobytes(), "big") for row in bits]
    share = found.count(value) / max(1, len(found))
    if share < MOSTLY:
        common = max(set(found), key=found.count) if found else 0
        raise Broken(
            f"prepared {value:b}, but only {share:.0%} of the shots show it; "
            f"most often came {common:b} (bits read from the right: bit 0 is the last one)"
        )
