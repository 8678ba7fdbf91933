"""What can be asked about a job, besides its result: times, usage, logs, its place in the queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from qdwell.client import driving
from qdwell.client.errors import IBMRuntimeError, RequestsApiError, RuntimeJobNotFound
from qdwell.client.transport import Request, path_of
from qdwell.client.values import from_wire
from qdwell.client.words import QueueInfo

if TYPE_CHECKING:
    from qdwell.client.driving import Operation
    from qdwell.client.link import Link

T = TypeVar("T")


class KnownJob:
    """The part of a job that asks about it."""

    _link: Link
    _document: dict[str, Any]

    if TYPE_CHECKING:  # Qiskit's base class has it

        def job_id(self) -> str:
            """Its id."""
            ...

    def _learn(self, document: Mapping[str, Any]) -> None:
        raise NotImplementedError

    @property
    def creation_date(self) -> datetime:
        """When it was accepted, in local time."""
        if "created" not in self._document:
            self._run(self._read())
        return datetime.fromisoformat(self._document["created"]).astimezone()

    @property
    def inputs(self) -> dict[str, Any]:
        """What it was given; empty for a private job."""
        document = self._run(self._read(params=True))
        inputs: dict[str, Any] = from_wire(document.get("params") or {})
        return inputs

    @property
    def usage_estimation(self) -> dict[str, Any]:
        """Estimated quantum time in seconds (J35)."""
        self._run(self._read())
        return {"quantum_seconds": self._document.get("estimated_running_time_seconds")}

    @property
    def private(self) -> bool:
        """Whether its inputs are erased and its result can be read once (J29)."""
        if not self._document:
            self._run(self._read())
        return bool(self._document.get("private"))

    def metrics(self) -> dict[str, Any]:
        """Times, usage, counts, and place in the queue (J34)."""
        return self._run(self._metrics())

    def _metrics(self) -> Operation[dict[str, Any]]:
        try:
            response = yield Request("GET", path_of("jobs", self.job_id(), "metrics"))
        except RequestsApiError as error:
            raise of_job(error, self.job_id()) from error
        metrics: dict[str, Any] = response.json()
        return metrics

    def usage(self) -> float:
        """Quantum time in seconds; 0 until it is known."""
        return float(self.metrics()["usage"]["quantum_seconds"])

    def logs(self) -> str:
        """Its log; empty before it has ended, and if it has none."""
        return self._run(self._logs())

    def _logs(self) -> Operation[str]:
        try:
            response = yield Request("GET", path_of("jobs", self.job_id(), "logs"))
        except RequestsApiError as error:
            if error.status_code == 404:
                return ""
            raise
        return str(response.body, "utf-8")

    def queue_info(self) -> QueueInfo | None:
        """Its place in the queue, the estimates, and why it waits; None if it does not wait."""
        return QueueInfo.of(self.metrics())

    def queue_position(self, refresh: bool = True) -> int | None:
        """Its place in the queue, 1 is next; None if it does not wait."""
        info = self.queue_info() if refresh else None
        return info.position if info is not None else None

    def _run(self, operation: Operation[T]) -> T:
        return driving.run(operation, self._link)

    def _read(self, *, params: bool = False) -> Operation[dict[str, Any]]:
        """Read the job, at once; with its inputs on request."""
        # The plain address is the stock client's: the server holds its answer. Not this one.
        path, query = path_of("jobs", self.job_id(), "outcome"), (("result", "false"),)
        if params:
            path, query = path_of("jobs", self.job_id()), (("exclude_params", "false"),)
        try:
            response = yield Request("GET", path, query=query)
        except RequestsApiError as error:
            raise of_job(error, self.job_id()) from error
        document: dict[str, Any] = response.json()
        self._learn(document if params else document["job"])
        return document


def of_job(error: RequestsApiError, job_id: str) -> IBMRuntimeError | RequestsApiError:
    """What a refused request about a job means to its user."""
    if error.status_code == 404:
        return RuntimeJobNotFound(f"Job {job_id!r} not found in this instance.")
    if error.status_code == -1:
        return error
    return IBMRuntimeError(error.message)
