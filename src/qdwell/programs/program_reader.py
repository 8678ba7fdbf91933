"""From the wire to the items of a quantum program, for every schema that the client has sent.

Two steps. First every payload is weighed: tensors and QPY files are inflated no further than a job
may hold, and no QPY file is older than what is safe to load, wherever one can hide (the parameter
table of a samplex is one, too). Then the client's published models read the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache as once
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from qdwell.errors import BadInput, ProgramError
from qdwell.programs import pubs, quantum
from qdwell.programs.cache import Cache, content_key
from qdwell.programs.checks import check_instructions
from qdwell.programs.work import Facts, Limits, Work
from qdwell.wire import arrays, codec, tensors
from qdwell.wire.device import Device

_QPY_HEAD = 19  # bytes of a QPY file's header


@once
def _models() -> dict[str, Any]:
    from qiskit_ibm_runtime.quantum_program.params_converters import (
        QUANTUM_PROGRAM_PARAMS_CONVERTERS,
    )

    return {version: it.model for version, it in QUANTUM_PROGRAM_PARAMS_CONVERTERS.items()}


def read_model(params: Mapping[str, Any], limits: Limits) -> Any:
    """The client's model of checked params.

    Raises:
        BadInput: a payload is too large, damaged, or of a version that is not read; or a field is
            not what the schema says.
    """
    from pydantic import ValidationError

    version = params["schema_version"]
    _weigh(params, limits, compressed=version == "v2.0")
    try:
        return _models()[version].model_validate(dict(params))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # Between the fields stand words of the models' own, of validators and constrained types.
        named = (str(it) for it in first["loc"] if str(it).isalnum() or str(it).isidentifier())
        field = ".".join(("params", *named))
        reason = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{field}: {reason}", field=field) from error
    except BadInput:
        raise
    except Exception as error:  # Some models decode while they validate: the loaders raise anything
        raise codec.CircuitError(f"params cannot be read: {error}", field="params") from error


def _weigh(params: Mapping[str, Any], limits: Limits, *, compressed: bool) -> None:
    most = limits.inflated_bytes_max
    total = 0
    for field, tensor in tensors.found(params, "params"):
        total += tensors.weigh(tensor, field, most - total, compressed=compressed)
    program = params["quantum_program"]
    circuits = program.get("circuits")
    if isinstance(circuits, Mapping) and "b64_data" in circuits:
        _check_qpy(circuits["b64_data"], "params.quantum_program.circuits", limits, compressed)
    for place, item in enumerate(program["items"]):
        field = f"params.quantum_program.items[{place}]"
        if isinstance(inner := item.get("circuit"), Mapping):
            _check_qpy(inner.get("circuit_b64"), f"{field}.circuit", limits, compressed=False)
        if isinstance(samplex := item.get("samplex"), Mapping):
            _check_samplex(samplex.get("samplex_json"), f"{field}.samplex", limits)


def _check_qpy(text: Any, field: str, limits: Limits, compressed: bool) -> None:
    if not isinstance(text, str):
        raise BadInput(f"{field} must hold a QPY file as base64", field=field)
    raw = arrays.unbase64(text, field)
    if compressed:
        raw = arrays.inflate(raw, field, limits.inflated_bytes_max)
    codec.check_qpy(raw, field, limits.qpy_version_min)


def _check_samplex(text: Any, field: str, limits: Limits) -> None:
    """The expressions of a samplex are in a QPY file, in JSON, in JSON."""
    try:
        table = orjson.loads(orjson.loads(text)["attrs"]["param_table"])
        inner = table["circuit_base64"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise BadInput(f"{field} is not an encoded samplex: {error}", field=field) from error
    _check_qpy(inner, field, limits, compressed=False)


class Reader:
    """Reads the items of one job's quantum program, through the cache of its group."""

    def __init__(
        self,
        work: Work,
        device: Device,
        cache: Cache,
        chance: np.random.Generator,
        rep_delay_us: float | None = None,
    ) -> None:
        self._pubs = pubs.Reader(work, device, cache, rep_delay_us)
        self._limits = work.limits
        self._device = device
        self._cache = cache
        self._chance = chance

    def items(
        self, model: Any, program: Mapping[str, Any]
    ) -> tuple[list[quantum.Item], list[pubs.Loaded]]:
        """The items of a model, checked against the device and counted.

        Raises:
            ProgramError: 1603, 1517, 1208, or 6000.
        """
        items: list[quantum.Item] = []
        loaded = self._circuits(model, program)
        shots = model.quantum_program.shots
        executions = 0
        for place, (entry, it) in enumerate(zip(loaded, model.quantum_program.items, strict=True)):
            field = f"items[{place}]"
            executions += shots * _claimed(it, field)
            self._pubs.check_executions(executions, field)
            made = self._item(entry, it, field)
            executions += shots * (len(made.rows) - _claimed(it, field))
            self._pubs.check_executions(executions, field)
            self._pubs.held(entry.fitted, len(made.rows), shots)
            items.append(made)
        return items, loaded

    def facts(self, loaded: Sequence[pubs.Loaded], executions: int) -> Facts:
        """The facts of the job (J34, J35)."""
        return pubs.facts(loaded, executions, self._pubs.estimate_ms)

    def _circuits(self, model: Any, program: Mapping[str, Any]) -> list[pubs.Loaded]:
        items = model.quantum_program.items
        if model.schema_version in ("v0.1", "v0.2"):
            texts = [it.circuit.circuit_b64 for it in items]
            return [
                self._load(text, lambda it=it: [it.circuit.to_quantum_circuit()], f"items[{n}]")[0]
                for n, (text, it) in enumerate(zip(texts, items, strict=True))
            ]
        held = program["circuits"]
        text = held["b64_data"] if "b64_data" in held else orjson.dumps(held["data"]).decode()
        return self._load(text, model.quantum_program.circuits.to_python, "circuits")

    def _load(self, text: str, decode: Any, field: str) -> list[pubs.Loaded]:
        key = content_key(text)
        address = ("program", key, self._device.name, self._device.version)

        def make() -> list[pubs.Loaded]:
            try:
                circuits = decode()
            except Exception as error:  # The loaders raise whatever the bytes lead them to.
                raise ProgramError(
                    codec.CircuitError.code,
                    f"{field} cannot be parsed: {error}",
                    codec.CircuitError.solution,
                ) from error
            return [
                self.loaded(key, codec.with_units(it), f"{field}[{n}]")
                for n, it in enumerate(circuits)
            ]

        return self._cache.get(address, make, lambda made: 1 + sum(it.fitted.weight for it in made))

    def loaded(self, key: bytes, circuit: QuantumCircuit, field: str) -> pubs.Loaded:
        """A circuit, checked against the device.

        Raises:
            ProgramError: 1517.
        """
        if not self._device.simulator:
            check_instructions(circuit, self._device.target, self._device.name, field)
        return pubs.Loaded(key, circuit, self._device.fit(circuit), circuit.depth())

    def _item(self, entry: pubs.Loaded, model: Any, field: str) -> quantum.Item:
        outputs: dict[str, NDArray[Any]] = {}
        if model.item_type == "circuit":
            shape, rows = _spread(model, entry.circuit.num_parameters, field)
        else:
            shape, outputs = self._drawn(model, field)
            rows = outputs.pop(quantum.ARGUMENTS, np.empty((*shape, 0)))
            if rows.shape[-1] != entry.circuit.num_parameters:
                raise ProgramError(
                    pubs.BAD_INPUT,
                    f"{field}: the samplex draws {rows.shape[-1]} parameters, the circuit has "
                    f"{entry.circuit.num_parameters}",
                )
        if not np.isfinite(rows).all():
            raise ProgramError(pubs.BAD_INPUT, f"{field}: an argument is not a finite number")
        return quantum.Item(
            fitted=entry.fitted,
            rows=rows.reshape(math.prod(shape), rows.shape[-1]).astype(np.float64),
            shape=shape,
            registers=quantum.registers(entry.circuit),
            outputs=outputs,
            chunk=None if model.chunk_size == "auto" else model.chunk_size,
        )

    def _drawn(self, model: Any, field: str) -> tuple[tuple[int, ...], dict[str, NDArray[Any]]]:
        key = ("samplex", content_key(model.samplex.samplex_json))
        try:
            samplex = self._cache.get(
                key, lambda: model.samplex.to_samplex().finalize(), lambda it: len(it.graph) + 1
            )
            arguments = samplex.inputs().make_broadcastable()
            for name, value in model.samplex_arguments.items():
                arguments[name] = _argument(value)
        except Exception as error:  # The parser of samplexes raises whatever the text leads it to.
            raise ProgramError(
                pubs.BAD_INPUT, f"{field}: the samplex cannot be read: {error}"
            ) from error
        if not arguments.fully_bound:
            missing = arguments.describe(include_bound=False)
            raise ProgramError(pubs.BAD_INPUT, f"{field}: the samplex lacks arguments: {missing}")
        return quantum.drawn(samplex, arguments, model_shape(model), self._chance, field)


def model_shape(model: Any) -> tuple[int, ...]:
    """The shape that an item asks for; circuit items of the first schemas have none."""
    return tuple(getattr(model, "shape", ()))


def _claimed(model: Any, field: str) -> int:
    """Elements that an item claims, known before anything is drawn or copied."""
    arguments = getattr(model, "circuit_arguments", None)
    shapes = [model_shape(model)]
    if arguments is not None:
        shapes.append(tuple(arguments.shape[:-1]))
    try:
        return math.prod(np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise ProgramError(pubs.BAD_INPUT, f"{field}: {error}") from error


def _spread(model: Any, parameters: int, field: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """The shape of a circuit item, and its arguments spread over it."""
    arguments = model.circuit_arguments.to_numpy()
    if arguments.ndim == 0 or arguments.shape[-1] != parameters:
        raise ProgramError(
            pubs.BAD_INPUT,
            f"{field}: the circuit has {parameters} parameters, but its arguments have shape "
            f"{list(arguments.shape)}",
            "Give arguments whose last axis has one entry per circuit parameter.",
        )
    shape = tuple(np.broadcast_shapes(arguments.shape[:-1], model_shape(model)))
    return shape, np.broadcast_to(arguments, (*shape, parameters))


def _argument(value: Any) -> Any:
    if hasattr(value, "to_numpy"):
        return value.to_numpy()
    return value.to_pauli_lindblad_map() if hasattr(value, "to_pauli_lindblad_map") else value
