"""`Sampler` and `Estimator`: the V2 primitives that take the V1 interface besides.

Which interface is meant is decided at each `run`, by its arguments:

* `Estimator.run(circuits, observables, ...)`: with observables as an argument of their own it is
  V1; with one argument, PUBs, it is V2.
* `Sampler.run(circuit)`, and any `run` with parameter values as an argument of their own, is V1; a
  list of PUBs is V2. A list of bare circuits is a list of PUBs too: it is V2, unless the primitive
  was made the V1 way, with `session=`, `backend=`, or an `Options`.

Seed document 000 also writes `run(circuit, parameters, observable)`: values and observables are
told apart by what they are, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import QuantumCircuit

from qdwell.client import v1
from qdwell.client.backend import Backend
from qdwell.client.decoding import decoders_of
from qdwell.client.errors import IBMInputValueError
from qdwell.client.options import Names, Options, Section, body_fields, options_v2
from qdwell.client.primitives import (
    EstimatorV2,
    Primitive,
    SamplerV2,
    estimator_pubs,
    place_of,
    sampler_pubs,
)
from qdwell.client.session import Session

if TYPE_CHECKING:
    from qdwell.client.driving import Operation
    from qdwell.client.job import RuntimeJob


class _Both(Primitive):
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
        self._session, self._backend = place_of(given[0] if given else None)
        # Which interface is meant is known at `run`; until then both must be able to take these.
        self._given = options.to_dict() if isinstance(options, Section) else dict(options or {})
        self.options = options if isinstance(options, Options) else _Either(self.names, self._given)

    def _v1(
        self, circuits: Any, observables: Any, parameter_values: Any, changes: Mapping[str, Any]
    ) -> Operation[RuntimeJob]:
        options = merged_v1(self.options, changes)
        if self.program_id == "estimator" and options.get("resilience_level") == v1.PEC_LEVEL:
            self._check_layers(options)
        params = v1.params(self.program_id, circuits, observables, parameter_values, options)
        callback = (options.get("environment") or {}).get("callback")
        extra = body_fields(options)
        return self._submit(params, extra, decoders_of(self.program_id), callback)

    def _check_layers(self, options: Mapping[str, Any]) -> None:
        """Refuse to cancel errors of gates where no two qubits are neighbours (O20)."""
        backend = self._session.backend() if self._session is not None else self.backend().name
        mapped = (options.get("simulator") or {}).get("coupling_map")
        if mapped is None and backend is not None and self._service.is_simulator(backend):
            raise IBMInputValueError(
                f"resilience_level {v1.PEC_LEVEL} needs a coupling map, and the simulator "
                f"{backend!r} has none: use a machine."
            )

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


def _v2_of(primitive: _Both, kind: type[Primitive]) -> Primitive:
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
