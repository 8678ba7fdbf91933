"""A noise model that a job brings along: `simulator.noise_model` (O18, O42).

What clients send is Aer's `NoiseModel.to_dict`, tagged, or such an object by itself. At submission
only its outside is looked at (`simulator_options`). It is read in a worker, part by part: each
count and size has a limit, matrices must be channels, probabilities must add up to 1; only then an
executor makes a model of it. Equal models are read once in a session.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.transpiler import Target

from qdwell.errors import BadInput, ProgramError
from qdwell.programs import rules
from qdwell.programs.cache import Cache, content_key
from qdwell.programs.simulator_options import NOISE_TAG, noise_sent
from qdwell.programs.work import Work
from qdwell.wire import codec
from qdwell.wire.device import Batch, Device, Fitted, Outcome, Timing
from qdwell.wire.noise import GateError, JobNoise, ReadoutError, Step

QUBITS_MAX = 4  # of one error
WAYS_MAX = 4_096  # of one error; a relaxation of three qubits has 1728
STEPS_MAX = 64  # of one way
NAMES_MAX = 200  # instructions that share an error
PLACES_MAX = 10_000  # device qubits, and sets of them
NAME_CHARS_MAX = 64
#: How far probabilities and matrices may be from exact: Aer's own tolerance.
_NEAR = 1e-8
_CHANNEL_NEAR = 1e-6
_LETTERS = frozenset("IXYZ")
#: Gates that an error may consist of, beside the steps with parameters: those without any.
_GATES = {
    name: gate.num_qubits
    for name, gate in get_standard_gate_name_mapping().items()
    if not gate.params and gate.num_qubits and name not in ("measure", "delay")
}


def given(work: Work, params: Mapping[str, Any], cache: Cache) -> JobNoise | None:
    """The noise model of checked params, read; None if there is none.

    Raises:
        ProgramError: 1208, names the error that is not well formed.
    """
    value, field = noise_sent(params)
    if value is None:
        return None
    mark = content_key(_text(value)).hex()
    return cache.get(
        ("noise model", mark),
        lambda: _read(work, value, field, mark),
        lambda it: sum(len(error.ways) for error in it.gates) + len(it.readout),
    )


def _text(value: Mapping[str, Any]) -> str:
    """A model as text; without the ids of its errors, which are new each time it is encoded."""
    errors = (value.get("__value__") or value)["errors"]
    plain = [
        {key: part for key, part in it.items() if key != "id"} if isinstance(it, dict) else it
        for it in errors
    ]
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()


class Noisy:
    """A device as a program sees it, for a job that brought a noise model."""

    noiseless = False

    def __init__(self, device: Device, noise: JobNoise) -> None:
        self._device = device
        self._noise = noise
        self._like = device.under(noise)
        self.name = device.name
        self.version = self._like.version
        self.simulator = device.simulator

    @property
    def target(self) -> Target:
        """As under the model."""
        return self._like.target

    @property
    def timing(self) -> Timing:
        """The device's own."""
        return self._device.timing

    def under(self, noise: JobNoise) -> Device:
        """The device with another model."""
        return self._device.under(noise)

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """As under the model."""
        return self._like.fit(circuit)

    def run(self, batch: Batch) -> Outcome:
        """As the device runs it, told of the model."""
        return self._device.run(replace(batch, noise=self._noise))


# ---- reading -------------------------------------------------------------------------------------


def _read(work: Work, value: Any, field: str, mark: str) -> JobNoise:
    bounds = codec.Bounds(inflated_bytes=work.limits.inflated_bytes_max)
    decoder = codec.Decoder(frozenset({NOISE_TAG, "ndarray", "complex"}), bounds)
    try:
        model = decoder.decode(value, field)
        gates: list[GateError] = []
        readout: list[ReadoutError] = []
        for place, error in enumerate(model["errors"]):
            where = f"{field}.errors[{place}]"
            kind = error.get("type") if isinstance(error, Mapping) else None
            if kind == "qerror":
                gates.append(_gate_error(error, where))
            elif kind == "roerror":
                readout.append(_readout_error(error, where))
            else:
                raise rules.bad(where, "must be an object of type qerror or roerror")
        return JobNoise(tuple(gates), tuple(readout), mark)
    except BadInput as error:
        raise ProgramError(1208, error.message, error.solution) from error


def _gate_error(error: Mapping[str, Any], where: str) -> GateError:
    _only(error, where, "type", "id", "operations", "gate_qubits", "instructions", "probabilities")
    names: Any = error.get("operations")
    if not _listed(names, 1, NAMES_MAX) or not all(_is_name(it) for it in names):
        raise rules.bad(f"{where}.operations", f"must be 1 to {NAMES_MAX} names of instructions")
    ways: Any = error.get("instructions")
    if not _listed(ways, 1, WAYS_MAX):
        raise rules.bad(f"{where}.instructions", f"must be a list of 1 to {WAYS_MAX} lists")
    shares = _probabilities(error.get("probabilities"), (len(ways),), f"{where}.probabilities")
    made = GateError(
        operations=tuple(names),
        qubits=_places(error.get("gate_qubits"), f"{where}.gate_qubits"),
        ways=tuple(_way(way, f"{where}.instructions[{at}]") for at, way in enumerate(ways)),
        probabilities=tuple(shares.tolist()),
    )
    for qubits in made.qubits or ():
        if not made.width <= len(qubits) <= QUBITS_MAX:
            raise rules.bad(
                f"{where}.gate_qubits",
                f"must be sets of {made.width} to {QUBITS_MAX} qubits, as the error acts on",
            )
    return made


def _way(way: Any, where: str) -> tuple[Step, ...]:
    if not _listed(way, 1, STEPS_MAX):
        raise rules.bad(where, f"must be a list of 1 to {STEPS_MAX} instructions")
    return tuple(_step(it, f"{where}[{at}]") for at, it in enumerate(way))


def _step(step: Any, where: str) -> Step:
    if not isinstance(step, Mapping):
        raise rules.bad(where, "must be an object")
    _only(step, where, "name", "qubits", "params", "label")
    name = step.get("name")
    qubits: Any = step.get("qubits")
    made: tuple[Any, ...]
    # Aer writes the label that an instruction had in the user's program, and does not read it.
    if "label" in step and not _is_name(step["label"]):
        raise rules.bad(f"{where}.label", f"must be 1 to {NAME_CHARS_MAX} characters")
    if not _are_qubits(qubits, QUBITS_MAX):
        raise rules.bad(f"{where}.qubits", f"must be 1 to {QUBITS_MAX} different ones below that")
    count, params = len(qubits), step.get("params") or []
    if not isinstance(params, list):
        raise rules.bad(f"{where}.params", "must be a list")
    match name:
        case "reset":
            good, made = count == 1 and not params, ()
        case "pauli":
            good = len(params) == 1 and isinstance(params[0], str)
            good = good and len(params[0]) == count and set(params[0]) <= _LETTERS
            made = tuple(params)
        case "unitary":
            good, made = len(params) == 1, _matrices(params, count, where)
        case "kraus":
            good, made = 1 <= len(params) <= 4**count, _matrices(params, count, where)
        case _:
            known = isinstance(name, str) and _GATES.get(name) == count
            good, made = known and not params, ()
    if not good:
        raise rules.bad(where, f"is no instruction that an error may have: {str(name)[:40]!r}")
    return Step(str(name), tuple(qubits), made)


def _matrices(params: list[Any], count: int, where: str) -> tuple[NDArray[np.complex128], ...]:
    """The Kraus operators of a channel, or the one of a unitary."""
    size = 2**count
    if len(params) > 4**count:
        raise rules.bad(f"{where}.params", f"must be at most {4**count} matrices")
    made = tuple(_matrix(it, size, f"{where}.params[{at}]") for at, it in enumerate(params))
    total = sum((it.conj().T @ it for it in made), np.zeros((size, size), np.complex128))
    if not np.allclose(total, np.eye(size), atol=_CHANNEL_NEAR):
        raise rules.bad(f"{where}.params", "must keep the probability: K†K must add up to 1")
    return made


def _matrix(value: Any, size: int, where: str) -> NDArray[np.complex128]:
    try:
        array = np.asarray(value)
        if array.shape == (size, size, 2) and array.dtype.kind in "iuf":  # as JSON alone has it
            array = array[..., 0] + 1j * array[..., 1]
        made = array.astype(np.complex128)
    except (ValueError, TypeError):
        made = np.empty(0, np.complex128)
    if made.shape != (size, size) or not np.isfinite(made).all():
        raise rules.bad(where, f"must be a complex matrix of shape {[size, size]}")
    return made


def _readout_error(error: Mapping[str, Any], where: str) -> ReadoutError:
    _only(error, where, "type", "operations", "gate_qubits", "probabilities")
    if error.get("operations", ["measure"]) != ["measure"]:
        raise rules.bad(f"{where}.operations", "must be measure: it is an error of the readout")
    places = _places(error.get("gate_qubits"), f"{where}.gate_qubits")
    if places is not None and any(len(it) != 1 for it in places):
        raise rules.bad(
            f"{where}.gate_qubits", "must be single qubits: circuits measure one at a time"
        )
    if places is not None and len(places) != 1:
        raise rules.bad(f"{where}.gate_qubits", "must be one place")
    shares = _probabilities(error.get("probabilities"), (2, 2), f"{where}.probabilities")
    return ReadoutError(None if places is None else places[0], shares)


def _places(value: Any, where: str) -> tuple[tuple[int, ...], ...] | None:
    if value is None:
        return None
    if not _listed(value, 1, PLACES_MAX) or not all(_are_qubits(it, PLACES_MAX) for it in value):
        raise rules.bad(where, f"must be sets of qubits below {PLACES_MAX}")
    return tuple(map(tuple, value))


def _probabilities(value: Any, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """Numbers from 0 on whose last axis adds up to 1."""
    try:
        made = np.asarray(value, np.float64)
    except (ValueError, TypeError):
        made = np.empty(0)
    good = made.shape == shape and bool(np.isfinite(made).all() and (made >= -_NEAR).all())
    if not good or not np.allclose(made.sum(axis=-1), 1.0, rtol=0.0, atol=_NEAR):
        size = " by ".join(map(str, shape))
        raise rules.bad(where, f"must be {size} numbers from 0 on that add up to 1")
    return made


def _only(value: Mapping[str, Any], where: str, *keys: str) -> None:
    for key in value:
        if key not in keys:
            raise rules.bad(f"{where}.{key}", f"is not known; there are {', '.join(keys)}")


def _listed(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, list) and least <= len(value) <= most


def _are_qubits(value: Any, below: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and 1 <= len(value) <= QUBITS_MAX
        and len(set(map(str, value))) == len(value)
        and all(type(it) is int and 0 <= it < below for it in value)
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX
