"""From a row of the config to an executor, and from an executor to what the API shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from qdwell.errors import ConfigError
from qdwell.executors.base import Executor, Spec


def make(spec: Spec) -> Executor:
    """The executor of a spec. Slow the first time: a second for imports, then little.

    Raises:
        ConfigError: the kind or an option is unknown, or the target cannot be loaded.
    """
    options = dict(spec.options)
    match spec.kind:
        case "aer":
            from qdwell.executors.aer import AerExecutor

            _none_left(spec, options)
            return AerExecutor(spec.name)
        case "ideal":
            from qdwell.executors.ideal import ideal_machine

            clock = options.pop("clock", None)
            _none_left(spec, options)
            return _clocked(ideal_machine(spec.name), clock)
        case "fake":
            from qdwell.executors.fake import device_model

            clock = options.pop("clock", None)
            _none_left(spec, options)
            return _clocked(device_model(spec.name, spec.target or spec.name), clock)
        case "qiskit":
            from qdwell.executors.qiskit import backend_executor

            return backend_executor(spec)
        case "mock":
            from qdwell.executors.mock import Mock

            return Mock(spec.name, make(Spec(**options["of"])))
        case "scripted":
            from qdwell.executors.scripted import scripted

            return scripted(spec.name, options)
    raise ConfigError(
        f"backends.{spec.name}.kind",
        f"{spec.kind!r} is not one of aer, ideal, fake, qiskit, scripted",
    )


def _clocked(device: Executor, clock: Mapping[str, Any] | None) -> Executor:
    if clock is None:
        return device
    from qdwell.executors.clocked import Clocked, timing_of

    return Clocked(device, timing_of(device.name, clock, device.timing))


def _none_left(spec: Spec, options: dict[str, Any]) -> None:
    if options:
        raise ConfigError(
            f"backends.{spec.name}.options",
            f"kind {spec.kind} does not take {', '.join(sorted(options))}",
        )


@dataclass(frozen=True, slots=True)
class Description:
    """What the API shows of a backend. The two bodies are JSON text, ready to be sent."""

    configuration: bytes
    properties: bytes
    qubits: int
    simulator: bool
    basis_gates: tuple[str, ...]
    processor_type: dict[str, Any]
    backend_version: str
    repeatable: bool


def describe(executor: Executor) -> Description:
    """The description of an executor's device; made once, to be kept by the caller."""
    configuration, properties = executor.describe()
    return Description(
        configuration=orjson.dumps(configuration),
        properties=orjson.dumps(properties),
        qubits=int(configuration["n_qubits"]),
        simulator=bool(configuration["simulator"]),
        basis_gates=tuple(configuration["basis_gates"]),
        processor_type=dict(configuration.get("processor_type") or {}),
        backend_version=str(configuration["backend_version"]),
        repeatable=executor.repeatable,
    )
