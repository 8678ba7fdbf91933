"""Submitting a job: what is sent, and how little of it.

A circuit that this instance has sent before travels as its content address, if the server has said
that it keeps circuits; should it have forgotten one, it says so, and the whole is sent.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qiskit import QuantumCircuit

from qdwell.client import values
from qdwell.client.decoding import TAGGED, Decoders
from qdwell.client.errors import IBMRuntimeError, RequestsApiError, RuntimeProgramNotFound
from qdwell.client.forks import watch
from qdwell.client.job import Callback, RuntimeJob
from qdwell.client.keys import new_key
from qdwell.client.transport import Request

if TYPE_CHECKING:
    from qdwell.client.driving import Operation
    from qdwell.client.service import QiskitRuntimeService

READ_S = 300.0  # large bodies on slow lines
TAIL_S = 20  # how long the outcome may follow on the answer; then it is asked for
SENT_MAX = 4_096  # circuits remembered as sent
UNKNOWN_CIRCUIT = "unknown_circuit"  # the code of the answer that asks for the whole


class Sent:
    """Content addresses of the circuits that the server has."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        watch(self)

    def after_fork(self) -> None:
        """See `forks`: the names are right in both processes."""
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        """The server has it."""
        with self._lock:
            self._names[name] = None
            self._names.move_to_end(name)
            if len(self._names) > SENT_MAX:
                self._names.popitem(last=False)

    def clear(self) -> None:
        """The server has forgotten some of them."""
        with self._lock:
            self._names.clear()


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to be. Circuits in `params` are left as they are; they are encoded here."""

    program_id: str
    params: Mapping[str, Any]
    backend: str | None
    session_id: str | None = None
    decoders: Decoders = TAGGED
    callback: Callback | None = None
    #: Further fields of the body: tags, cost, log_level, runtime, private.
    extra: Mapping[str, Any] = field(default_factory=dict)


def submit(service: QiskitRuntimeService, new: Submission) -> Operation[RuntimeJob]:
    """The steps of a submission; the job is durable when they are done.

    Raises:
        RuntimeProgramNotFound: the server has no such program.
        IBMRuntimeError: the server refuses the job; says why.
    """
    key = new_key()
    accepted: dict[str, Any]
    try:
        body, names = _encoded(new, service.sent)
        try:
            response = yield _request(body, key)
        except RequestsApiError as error:
            if error.code != UNKNOWN_CIRCUIT:
                raise
            service.sent.clear()
            body, names = _encoded(new, service.sent)
            response = yield _request(body, key)
        accepted = response.json()
    except RequestsApiError as error:
        if error.status_code == 404:
            raise RuntimeProgramNotFound(f"Failed to run program: {error.message}") from error
        if error.status_code == -1:
            raise
        raise IBMRuntimeError(f"Failed to run program: {error.message}") from error
    if accepted.get("circuits_kept"):
        for name in names:
            service.sent.add(name)
    return RuntimeJob(
        service,
        str(accepted["id"]),
        str(accepted["backend"]),
        decoders=new.decoders,
        session_id=new.session_id,
        program_id=new.program_id,
        tags=new.extra.get("tags") or (),
        callback=new.callback,
        tail=response.tail,
    )


def _request(body: bytes, key: str) -> Request:
    headers = (("Idempotency-Key", key),)
    return Request(
        "POST", "/jobs", body, headers=headers, read_s=READ_S, repeat=True, tail_s=TAIL_S
    )


def _encoded(new: Submission, sent: Sent) -> tuple[bytes, Sequence[str]]:
    """The body, and the content addresses of those circuits in it that are long enough."""
    names: list[str] = []
    texts: dict[int, str] = {}

    def encode(value: Any) -> Any:
        if not isinstance(value, QuantumCircuit):
            return values.plain(value)
        text = texts.get(id(value))  # the same circuit is often in several PUBs of one job
        if text is None:
            text = texts[id(value)] = values.circuit_text(value)
        if len(text) < values.NAMED_FROM_CHARS:
            return values.circuit_value(text)
        name = values.circuit_name(text)
        names.append(name)
        return values.named_circuit(name) if name in sent else values.circuit_value(text)

    message: dict[str, Any] = {"program_id": new.program_id, "params": new.params}
    if new.backend is not None:
        message["backend"] = new.backend
    if new.session_id is not None:
        message["session_id"] = new.session_id
    message.update(new.extra)
    return values.dumps(message, encode), names
