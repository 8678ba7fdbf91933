"""The primitives. `SamplerV2` and `EstimatorV2` are Qiskit's interface, on a qdwell server.

`Sampler` and `Estimator` are these classes too, and take the V1 interface besides. Which one is
meant is decided at each `run`, by its arguments:

* `Estimator.run(circuits, observables, ...)`: with observables as an argument of their own it is
  V1; with one argument, PUBs, it is V2.
* `Sampler.run(circuit)`, and any `run` with parameter values as an argument of their own, is V1; a
  list of PUBs is V2. A list of bare circuits is a list of PUBs too: it is V2, unless the primitive
  was made the V1 way, with `session=`, `backend=`, or an `Options`.

Seed document 000 also writes `run(circuit, parameters, observable)`: values and observables are
told apart by what they are, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qdwell.client import driving, v1
from qdwell.client.backend import Backend
from qdwell.client.errors import IBMInputValueError
from qdwell.client.options import (
    ESTIMATOR,
    SAMPLER,
    Names,
    Options,
    Section,
    body_fields,
    options_v2,
    program_options,
)
from qdwell.client.session import Session, current
from qdwell.client.submission import Submission, submit
from qdwell.client.values import array_value, from_wire

if TYPE_CHECKING:
    from qdwell.client.driving import Operation
    from qdwell.client.job import RuntimeJob
    from qdwell.client.service import QiskitRuntimeService


class _Primitive:
    """What both primitives share: where jobs go, and with which options."""

    program_id: ClassVar[str]
    names: ClassVar[Names]

    def __init__(
        self,
        mode: Backend | Session | str | None = None,
        options: Mapping[str, Any] | Section | None = None,
    ) -> None:
        self._session, self._backend = _place(mode)
        self.options = options_v2(self.names, options)

    @property
    def mode(self) -> Session | None:
        """The session or batch; None in job mode."""
        return self._session

    def backend(self) -> Backend:
        """The backend of its jobs."""
        if self._session is not None:
            return self._session.service.backend(self._session.backend())
        assert self._backend is not None
        return self._backend

    @property
    def _service(self) -> QiskitRuntimeService:
        if self._session is not None:
            return self._session.service
        assert self._backend is not None
        return self._backend.service

    def _submission(self, pubs: list[Any]) -> Operation[RuntimeJob]:
        """The steps of submitting PUBs."""
        chosen = self.options.to_dict()
        params: dict[str, Any] = {
            "pubs": pubs,
            "version": 2,
            "support_qiskit": True,
            "options": program_options(chosen),
        }
        if "resilience_level" in chosen:
            params["resilience_level"] = chosen["resilience_level"]
        return self._submit(params, body_fields(chosen), from_wire)

    def _submit(
        self,
        params: Mapping[str, Any],
        extra: Mapping[str, Any],
        decoder: Any,
        callback: Any = None,
    ) -> Operation[RuntimeJob]:
        if self._session is not None:
            return self._session.submission(
                self.program_id, params, extra=extra, callback=callback, decoder=decoder
            )
        assert self._backend is not None
        new = Submission(
            self.program_id, params, self._backend.name, None, decoder, callback, extra
        )
        return submit(self._service, new)

    def _start(self, operation: Operation[RuntimeJob]) -> RuntimeJob:
        job: RuntimeJob = driving.run(operation, self._service.link)
        return job

    async def _start_async(self, operation: Operation[RuntimeJob]) -> RuntimeJob:
        job: RuntimeJob = await driving.run_async(operation, self._service.link)
        return job

    def __repr__(self) -> str:
        place = self._session if self._session is not None else self._backend
        return f"<{type(self).__name__}(mode={place!r})>"


class SamplerV2(_Primitive, BaseSamplerV2):  # type: ignore[misc]
    """Samples circuits: for each PUB and classical register, the outcome of every shot.

    Args:
        mode: a backend for job mode, a session, or a batch; default: that of the `with` block.
        options: a mapping or the options of another sampler; see `options`.

    Raises:
        IBMInputValueError: there is no mode, or an option that is not known.
    """

    program_id = "sampler"
    names = SAMPLER

    def run(self, pubs: Iterable[Any], *, shots: int | None = None) -> RuntimeJob:
        """Submit PUBs, each a circuit or `(circuit, parameter values, shots)`.

        Args:
            pubs: what to run.
            shots: for PUBs that say none; default: the option `default_shots`, else 4096.
        """
        return self._start(self._submission(sampler_pubs(pubs, shots)))

    async def run_async(self, pubs: Iterable[Any], *, shots: int | None = None) -> RuntimeJob:
        """The same for coroutines."""
        return await self._start_async(self._submission(sampler_pubs(pubs, shots)))


class EstimatorV2(_Primitive, BaseEstimatorV2):  # type: ignore[misc]
    """Estimates expectation values of observables.

    Args:
        mode: a backend for job mode, a session, or a batch; default: that of the `with` block.
        options: a mapping or the options of another estimator; see `options`.

    Raises:
        IBMInputValueError: there is no mode, or an option that is not known.
    """

    program_id = "estimator"
    names = ESTIMATOR

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> RuntimeJob:
        """Submit PUBs, each `(circuit, observables, parameter values, precision)`.

        Args:
            pubs: what to run; values and precision may be left out.
            precision: for PUBs that say none; default: the options, else 0.015625.
        """
        return self._start(self._submission(estimator_pubs(pubs, precision)))

    async def run_async(self, pubs: Iterable[Any], *, precision: float | None = None) -> RuntimeJob:
        """The same for coroutines."""
        return await self._start_async(self._submission(estimator_pubs(pubs, precision)))


class _Both(_Primitive):
    """What `Sampler` and `Estimator` add: the V1 interface."""

    def __init__(
        self,
        mode: Backend | Session | str | None = None,
        options: Mapping[str, Any] | Section | None = None,
        *,
        session: Session | str | Backend | None = None,
        backend: Backend | str | None = None,
    ) -> None:
        given = [it for it in (mode, session, backend) if it is not None]
        if len(given) > 1 and not (session is not None and backend is not None and mode is None):
            raise IBMInputValueError("Give one of mode, session, and backend.")
        self._made_v1 = session is not None or backend is not None or isinstance(options, Options)
        if session is not None and backend is not None:
            given = [session]
        self._session, self._backend = _place(given[0] if given else None)
        # Which interface is meant is known at `run`; until then both must be able to take these.
        self._given = options.to_dict() if isinstance(options, Section) else dict(options or {})
        self.options = options if isinstance(options, Options) else _Either(self.names, self._given)

    def _v1(
        self, circuits: Any, observables: Any, parameter_values: Any, changes: Mapping[str, Any]
    ) -> Operation[RuntimeJob]:
        options = merged_v1(self.options, changes)
        params = v1.params(self.program_id, circuits, observables, parameter_values, options)
        callback = (options.get("environment") or {}).get("callback")
        extra = body_fields(options)
        return self._submit(params, extra, v1.decoder_of(self.program_id), callback)

    def set_options(self, **changes: Any) -> None:
        """Change options for all later runs."""
        self.options.update(**changes)


class Sampler(_Both, SamplerV2):
    """The sampler with both interfaces; see the head of this file.

    Args:
        mode: a backend, a session, or a batch; default: that of the `with` block.
        options: an `Options`, or a mapping.
        session, backend: the V1 names of `mode`.
    """

    def run(
        self, pubs: Any = None, parameter_values: Any = None, *, shots: int | None = None,
        circuits: Any = None, **changes: Any,
    ) -> RuntimeJob:  # fmt: skip
        """Submit PUBs (V2), or circuits with parameter values (V1).

        Args:
            pubs: PUBs, or a circuit, or circuits.
            parameter_values: one row of values for each circuit.
            shots: for this run.
            circuits: V1 name of the first argument.
            changes: V1 options for this run only.
        """
        return self._start(self._operation(pubs, parameter_values, shots, circuits, changes))

    async def run_async(
        self, pubs: Any = None, parameter_values: Any = None, *, shots: int | None = None,
        circuits: Any = None, **changes: Any,
    ) -> RuntimeJob:  # fmt: skip
        """The same for coroutines."""
        return await self._start_async(
            self._operation(pubs, parameter_values, shots, circuits, changes)
        )

    def _operation(
        self, pubs: Any, values: Any, shots: int | None, circuits: Any, changes: Mapping[str, Any]
    ) -> Operation[RuntimeJob]:
        first = circuits if circuits is not None else pubs
        bare = isinstance(first, QuantumCircuit)
        if not bare:
            first = list(first)
        plain = bare or all(isinstance(it, QuantumCircuit) for it in first)
        old = circuits is not None or values is not None or bool(changes) or bare
        if old or (plain and self._made_v1):
            if shots is not None:
                changes = {**changes, "shots": shots}
            return self._v1(first, None, values, changes)
        return self._submission(sampler_pubs(first, shots))

    def _submission(self, pubs: list[Any]) -> Operation[RuntimeJob]:
        return _v2_of(self, SamplerV2)._submission(pubs)


class Estimator(_Both, EstimatorV2):
    """The estimator with both interfaces; see the head of this file.

    Args:
        mode: a backend, a session, or a batch; default: that of the `with` block.
        options: an `Options`, or a mapping.
        session, backend: the V1 names of `mode`.
    """

    def run(
        self, pubs: Any = None, observables: Any = None, parameter_values: Any = None, *,
        precision: float | None = None, circuits: Any = None, **changes: Any,
    ) -> RuntimeJob:  # fmt: skip
        """Submit PUBs (V2), or circuits with observables and parameter values (V1).

        Args:
            pubs: PUBs, or a circuit, or circuits.
            observables: one for each circuit.
            parameter_values: one row of values for each circuit.
            precision: for this run, V2 only.
            circuits: V1 name of the first argument.
            changes: V1 options for this run only.
        """
        return self._start(
            self._operation(pubs, observables, parameter_values, precision, circuits, changes)
        )

    async def run_async(
        self, pubs: Any = None, observables: Any = None, parameter_values: Any = None, *,
        precision: float | None = None, circuits: Any = None, **changes: Any,
    ) -> RuntimeJob:  # fmt: skip
        """The same for coroutines."""
        return await self._start_async(
            self._operation(pubs, observables, parameter_values, precision, circuits, changes)
        )

    def _operation(
        self, pubs: Any, observables: Any, values: Any, precision: float | None, circuits: Any,
        changes: Mapping[str, Any],
    ) -> Operation[RuntimeJob]:  # fmt: skip
        first = circuits if circuits is not None else pubs
        if observables is None and values is None and circuits is None and not changes:
            return self._submission(estimator_pubs(first, precision))
        if precision is not None:
            raise IBMInputValueError("precision is for PUBs; circuits take shots.")
        if values is not None and _are_numbers(observables) and not _are_numbers(values):
            observables, values = values, observables
        if observables is None:
            raise IBMInputValueError("Circuits need observables: run(circuits, observables).")
        return self._v1(first, observables, values, changes)

    def _submission(self, pubs: list[Any]) -> Operation[RuntimeJob]:
        return _v2_of(self, EstimatorV2)._submission(pubs)


class _Either(Section):
    """Options of a primitive that was made with a mapping: the names of both interfaces."""

    __slots__ = ()

    def __init__(self, names: Names, given: Mapping[str, Any]) -> None:
        both = {**Options()._names, **names, "shots": None}
        # Groups that both have take the names of both.
        for group, inner in Options()._names.items():
            if inner is not None and isinstance(names.get(group), Mapping):
                both[group] = {**inner, **(names[group] or {})}
        super().__init__(both)
        self.update(**given)


def _v2_of(primitive: _Both, kind: type[_Primitive]) -> _Primitive:
    """The V2 primitive at the same place, with the options that were given, read as V2's.

    Raises:
        IBMInputValueError: an option is not one of the V2 interface.
    """
    given = primitive.options.to_dict()
    if "shots" in given:  # seed 002 says it so
        given.setdefault("default_shots", given.pop("shots"))
    twin = kind.__new__(kind)
    twin._session, twin._backend = primitive._session, primitive._backend
    twin.options = options_v2(kind.names, given)
    return twin


_V1_RUN = {  # what run() takes in V1, and where it stands among the options
    "shots": "execution", "init_qubits": "execution", "noise_model": "simulator",
    "seed_simulator": "simulator", "coupling_map": "simulator", "basis_gates": "simulator",
    "skip_transpilation": "transpilation", "initial_layout": "transpilation",
    "layout_method": "transpilation", "routing_method": "transpilation",
    "approximation_degree": "transpilation", "noise_factors": "resilience",
    "noise_amplifier": "resilience", "extrapolator": "resilience",
}  # fmt: skip


def merged_v1(options: Section, changes: Mapping[str, Any]) -> dict[str, Any]:
    """V1 options with those of one run, which win (O1).

    Raises:
        IBMInputValueError: there is no such option.
    """
    merged = Options()
    for given in (options.to_dict(), changes):
        for name, value in given.items():
            group = _V1_RUN.get(name) if name not in merged._names else None
            merged.update(**({group: {name: value}} if group else {name: value}))
    return merged.to_dict()


def _are_numbers(value: Any) -> bool:
    """Whether a value is numbers, or lists of them."""
    if value is None or isinstance(value, str):
        return False
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf"
    if isinstance(value, list | tuple):
        return all(_are_numbers(it) for it in value)
    return isinstance(value, int | float | np.number)


def _place(mode: Any) -> tuple[Session | None, Backend | None]:
    """The session or the backend that a mode means (R7).

    Raises:
        IBMInputValueError: there is none, or not the one of the `with` block.
    """
    block = current()
    if mode is None:
        if block is None:
            raise IBMInputValueError(
                "There is no mode: give mode=backend, mode=session, or mode=batch, "
                "or say it in a `with Session(...)` block."
            )
        return block, None
    if isinstance(mode, Session):
        return mode, None
    if isinstance(mode, str):
        from qdwell.client.service import default_service

        mode = (block.service if block is not None else default_service()).backend(mode)
    if not isinstance(mode, Backend):
        raise IBMInputValueError(
            f"mode must be a backend of this service, a session, or a batch, not {mode!r}."
        )
    if block is None or block.service.active_instance() != mode.service.active_instance():
        return None, mode  # another user's backend has nothing to do with this block
    if mode.name != block.backend():
        raise IBMInputValueError(
            f"The `with` block is on {block.backend()!r}, the primitive on {mode.name!r}."
        )
    return block, None


def sampler_pubs(pubs: Iterable[Any], shots: int | None) -> list[Any]:
    """PUBs as the sampler is sent them: circuit, values, shots."""
    if isinstance(pubs, QuantumCircuit):
        raise IBMInputValueError("run takes a list of PUBs: run([circuit]).")
    sent = []
    for pub in (SamplerPub.coerce(it, shots) for it in pubs):
        sent.append([pub.circuit, _values(pub), pub.shots])
    return sent


def estimator_pubs(pubs: Iterable[Any], precision: float | None) -> list[Any]:
    """PUBs as the estimator is sent them: circuit, observables, values, precision."""
    if isinstance(pubs, QuantumCircuit):
        raise IBMInputValueError("run takes a list of PUBs: run([(circuit, observables)]).")
    sent = []
    for pub in (EstimatorPub.coerce(it, precision) for it in pubs):
        sent.append([pub.circuit, pub.observables.tolist(), _values(pub), pub.precision])
    return sent


def _values(pub: SamplerPub | EstimatorPub) -> Any:
    """Parameter values as one array whose last axis is the circuit's parameters."""
    bindings = pub.parameter_values
    if bindings.num_parameters == 0 and bindings.shape == ():
        return None
    return array_value(bindings.as_array(pub.circuit.parameters))
