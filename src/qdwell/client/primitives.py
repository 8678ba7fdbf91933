"""The V2 primitives: Qiskit's interface, on a qdwell server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qdwell.client import driving
from qdwell.client.backend import Backend
from qdwell.client.decoding import TAGGED, Decoders
from qdwell.client.errors import IBMInputValueError
from qdwell.client.options import (
    ESTIMATOR,
    SAMPLER,
    Names,
    Section,
    body_fields,
    options_v2,
    program_options,
)
from qdwell.client.session import Session, current
from qdwell.client.submission import Submission, submit
from qdwell.client.values import array_value

if TYPE_CHECKING:
    from qdwell.client.driving import Operation
    from qdwell.client.job import RuntimeJob
    from qdwell.client.service import QiskitRuntimeService


class Primitive:
    """What both primitives share: where jobs go, and with which options."""

    program_id: ClassVar[str]
    names: ClassVar[Names]

    def __init__(
        self,
        mode: Backend | Session | str | None = None,
        options: Mapping[str, Any] | Section | None = None,
    ) -> None:
        self._session, self._backend = place_of(mode)
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
        return self._submit(params, body_fields(chosen))

    def _submit(
        self,
        params: Mapping[str, Any],
        extra: Mapping[str, Any],
        decoders: Decoders = TAGGED,
        callback: Any = None,
    ) -> Operation[RuntimeJob]:
        if self._session is not None:
            return self._session.submission(
                self.program_id, params, extra=extra, callback=callback, decoders=decoders
            )
        assert self._backend is not None
        new = Submission(
            self.program_id, params, self._backend.name, None, decoders, callback, extra
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


class SamplerV2(Primitive, BaseSamplerV2):  # type: ignore[misc]
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


class EstimatorV2(Primitive, BaseEstimatorV2):  # type: ignore[misc]
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


def place_of(mode: Any) -> tuple[Session | None, Backend | None]:
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
