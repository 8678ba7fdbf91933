"""From the wire to PUBs: circuits, parameter values, and what can be counted and checked about
them.

Everything here runs in a worker. A user's mistake becomes a `ProgramError`, the reason of a failed
job.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.bindings_array import BindingsArray

from qdwell.errors import BadInput, ProgramError
from qdwell.programs.burden import TOO_MUCH, Burden
from qdwell.programs.cache import Cache, content_key
from qdwell.programs.checks import check_instructions
from qdwell.programs.work import Facts, Work
from qdwell.wire import arrays, codec
from qdwell.wire.device import Device, Fitted

#: Code of a job whose input is well-formed JSON but means nothing (E4, told by the job).
BAD_INPUT = 1208


@dataclass(frozen=True, slots=True)
class Loaded:
    """A decoded circuit that the device can run."""

    key: bytes
    circuit: QuantumCircuit
    fitted: Fitted
    depth: int


@dataclass(frozen=True, slots=True)
class Values:
    """Parameter values of a PUB: `rows` of shape `(prod(shape), parameters)`."""

    shape: tuple[int, ...]
    rows: NDArray[np.float64]


class Reader:
    """Reads the parts of PUBs for one job, through the cache of its group."""

    def __init__(
        self, work: Work, device: Device, cache: Cache, rep_delay_us: float | None = None
    ) -> None:
        self._device = device
        self._rep_delay_us = rep_delay_us
        self._held_ms = device.timing.job_ms
        self._burden = None if device.simulator else Burden(device.name)
        self._check_rep_delay()
        self._cache = cache
        self._limits = work.limits
        bounds = codec.Bounds(
            inflated_bytes=work.limits.inflated_bytes_max,
            qpy_version_min=work.limits.qpy_version_min,
        )
        self._decoder = codec.Decoder(codec.TAGS[work.program_id], bounds)

    def circuit(self, part: Any, field: str, *, measured: bool) -> Loaded:
        """The circuit of a PUB, checked against the device; from the cache if its text is known.

        Raises:
            ProgramError: 1603 unreadable, 1517 not in the device's instruction set, 1208 if
                `measured` and no instruction measures.
        """
        text = part if isinstance(part, str) else part["__value__"]
        key = content_key(text)
        # The device's version is in the key: a new calibration may take away an instruction (S37).
        address = ("circuit", key, self._device.name, self._device.version)
        loaded = self._cache.get(
            address, lambda: self._load(part, key, field), lambda it: it.fitted.weight
        )
        if measured and "measure" not in loaded.fitted.names:
            raise ProgramError(
                BAD_INPUT,
                f"{field}: the circuit has no measurement, so the sampler has nothing to return",
                "Add measurements, for example with circuit.measure_all().",
            )
        if measured:
            _check_names(loaded.circuit, field)
        return loaded

    def parsed(self, part: Any, field: str) -> QuantumCircuit:
        """A circuit as it was sent, not checked against the device.

        Raises:
            ProgramError: 1603, it cannot be read.
        """
        try:
            if isinstance(part, str):
                return codec.load_qasm3(part, field)
            return self._decoder.circuit(part["__value__"], field)
        except codec.CircuitError as error:
            raise ProgramError(error.code or 0, error.message, error.solution) from error
        except BadInput as error:
            # A payload that is no base64 or zlib is an unreadable circuit to the user all the same.
            raise ProgramError(codec.CircuitError.code, error.message) from error

    def _load(self, part: Any, key: bytes, field: str) -> Loaded:
        circuit = self.parsed(part, field)
        if not self._device.simulator:
            check_instructions(circuit, self._device.target, self._device.name, field)
        return Loaded(key, circuit, self._device.fit(circuit), circuit.depth())

    def values(self, part: Any, circuit: QuantumCircuit, field: str) -> Values:
        """Parameter values of a PUB, one row per element of its shape.

        Raises:
            ProgramError: 1208, the last axis does not match the circuit's parameters, or a value is
                not a finite real number.
        """
        count = circuit.num_parameters
        try:
            array = self._array(part, circuit, field)
        except BadInput as error:
            raise ProgramError(BAD_INPUT, error.message) from error
        if array.shape == () and count == 1:
            array = array.reshape(1)
        if array.shape[-1:] != (count,):
            raise ProgramError(
                BAD_INPUT,
                f"{field}: the circuit has {count} parameters, but the values have shape "
                f"{list(array.shape)}",
                "Give parameter values whose last axis has one entry per circuit parameter.",
            )
        if not np.isfinite(array).all():
            raise ProgramError(BAD_INPUT, f"{field}: a parameter value is not a finite number")
        shape = array.shape[:-1]
        # A circuit without parameters has no values to bound the shape by, so count before use.
        self.check_executions(math.prod(shape), field)
        return Values(shape, array.reshape(math.prod(shape), count))

    def _array(self, part: Any, circuit: QuantumCircuit, field: str) -> NDArray[np.float64]:
        if part is None:
            return np.empty((0,))
        value = self._decoder.decode(part, field)
        if isinstance(value, codec.Bindings):
            return _from_bindings(value, circuit, field)
        array = arrays.plain_array(value, field) if isinstance(value, list | int | float) else value
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise BadInput(f"{field}: parameter values must be an array of reals", field=field)
        return array.astype(np.float64)

    def decoded(self, part: Any, field: str) -> Any:
        """Any other part, its tags replaced.

        Raises:
            ProgramError: 1208, a tag or payload that is not accepted.
        """
        try:
            return self._decoder.decode(part, field)
        except BadInput as error:
            raise ProgramError(BAD_INPUT, error.message) from error

    def held(self, fitted: Fitted, runs: int, shots: int) -> None:
        """Count `runs` times `shots` of a circuit into the job's estimate (J35) and its burden.

        Raises:
            ProgramError: 6000, more than a machine's electronics take (L15, L16).
        """
        if self._burden is not None:
            self._burden.add(fitted, runs)
        self._held_ms += self._device.timing.runs_ms(fitted, runs * shots, self._rep_delay_us)

    @property
    def estimate_ms(self) -> int:
        """Expected quantum time of all that was counted."""
        return round(self._held_ms)

    def _check_rep_delay(self) -> None:
        asked, span = self._rep_delay_us, self._device.timing.rep_delay_range_us
        if asked is None or (span is not None and span[0] <= asked <= span[1]):
            return
        may = (
            "does not let a job choose its rep_delay"
            if span is None
            else f"takes a rep_delay from {span[0] / 1e6:g} to {span[1] / 1e6:g} seconds"
        )
        raise ProgramError(
            BAD_INPUT,
            f"options.execution.rep_delay = {asked / 1e6:g}: {self._device.name} {may}",
            "Leave rep_delay out, or choose one in the backend's rep_delay_range.",
        )

    def check_executions(self, executions: float, field: str) -> None:
        """Refuse more executions than a job may have (L14).

        Raises:
            ProgramError: 6000, with both numbers.
        """
        most = self._limits.executions_max
        if executions > most:
            raise ProgramError(
                TOO_MUCH,
                f"{field}: {executions:.0f} executions (circuits times shots) are more than the "
                f"{most} that one job may have",
                "Lower the shots, ask for less precision, or split the job.",
            )


def padded(parts: list[Any], length: int) -> list[Any]:
    """The parts of a PUB, with None for those left out at the end."""
    return [*parts, *[None] * (length - len(parts))]


def facts(circuits: Iterable[Loaded], executions: int, estimate_ms: int) -> Facts:
    """The facts of a job with these circuits."""
    every = list(circuits)
    return Facts(
        executions=executions,
        num_circuits=len(every),
        num_qubits=[loaded.circuit.num_qubits for loaded in every],
        circuit_depths=[loaded.depth for loaded in every],
        estimate_ms=estimate_ms,
    )


def _from_bindings(
    bindings: codec.Bindings, circuit: QuantumCircuit, field: str
) -> NDArray[np.float64]:
    try:
        array = BindingsArray(dict(bindings.values), shape=bindings.shape)
        known = {parameter.name for parameter in circuit.parameters}
        if array.num_parameters != len(known) or not known.issuperset(
            name for names in array.data for name in names
        ):
            raise ValueError(f"they must name exactly the parameters {sorted(known)}")
        return np.asarray(array.as_array(circuit.parameters), dtype=np.float64)
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{field}: the parameter values do not fit: {error}", field=field) from error


def _check_names(circuit: QuantumCircuit, field: str) -> None:
    """Refuse registers that no client can read the result of, before it costs quantum time.

    Raises:
        ProgramError: 1208, a result has a field of each register's name, and this one is its own.
    """
    for register in circuit.cregs:
        if hasattr(DataBin, register.name) or register.name == "self":
            raise ProgramError(
                BAD_INPUT,
                f"{field}: a classical register cannot be called {register.name!r}, "
                "because a result has something else of that name",
                "Give the register another name.",
            )
