"""A job: its state, its result, and what is known of its way.

A state that is final is kept, so no request follows it. `result()` asks for the outcome, which the
server holds back until the job has ended: state and result come in one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qiskit.primitives import BasePrimitiveJob

from qdwell.client import display, driving
from qdwell.client.decoding import TAGGED, Decoders
from qdwell.client.errors import (
    IBMInputValueError,
    RequestsApiError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobTimeoutError,
)
from qdwell.client.job_facts import KnownJob, of_job
from qdwell.client.limit import Limit
from qdwell.client.link import outcome_of, outcome_request
from qdwell.client.streaming import Stream
from qdwell.client.transport import Request, path_of
from qdwell.client.values import dumps
from qdwell.client.words import CODE_RAN_TOO_LONG, FINAL, Status, status_of
from qdwell.errors.inside import advised

if TYPE_CHECKING:
    from qdwell.client.backend import Backend
    from qdwell.client.driving import Operation
    from qdwell.client.service import QiskitRuntimeService
    from qdwell.client.tail import Tail

Callback = Callable[[str, Any], None]


class RuntimeJob(KnownJob, BasePrimitiveJob[Any, Status]):  # type: ignore[misc]
    """One job. Made by a primitive's `run`, by `Session.run`, or by `service.job(id)`.

    Args:
        service: where it runs.
        job_id: its id.
        backend: name of its backend.
        document: what the server said of it, if it has.
        decoders: make its results of the decoded JSON.
        callback: called with the job's id and each interim result, then the final one (R5).
        tail: where its outcome may come by itself.
    """

    def __init__(
        self,
        service: QiskitRuntimeService,
        job_id: str,
        backend: str,
        *,
        document: Mapping[str, Any] | None = None,
        decoders: Decoders = TAGGED,
        session_id: str | None = None,
        program_id: str = "",
        tags: Sequence[str] = (),
        callback: Callback | None = None,
        tail: Tail | None = None,
    ) -> None:
        super().__init__(job_id)
        self._tail = tail
        self._service = service
        self._link = service.link
        self._backend_name = backend
        self._session_id = session_id
        self._program_id = program_id
        self._tags = list(tags)
        self._decoders = decoders
        self._document: dict[str, Any] = {}
        self._status: Status = Status.INITIALIZING
        self._result: Any = None
        self._has_result = False
        self._stream: Stream | None = None
        if document is not None:
            self._learn(document)
        if callback is not None:
            self.stream_results(callback)

    # ---- who it is ------------------------------------------------------------------------------

    @property
    def session_id(self) -> str | None:
        """Id of its session or batch; None in job mode."""
        return self._session_id

    @property
    def program_id(self) -> str:
        """The program that it runs: sampler, estimator."""
        return self._program_id

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self._tags)

    def backend(self) -> Backend:
        """Its backend."""
        return self._service.backend(self._backend_name)

    # ---- its state ------------------------------------------------------------------------------

    def status(self) -> Status:
        """`INITIALIZING`, `QUEUED`, `RUNNING`, `DONE`, `CANCELLED`, or `ERROR`.

        The word equals the member of Qiskit's `JobStatus` too, which the V1 interface uses.
        """
        if self._status not in FINAL:
            self._run(self._read())
        return self._status

    def in_final_state(self) -> bool:
        """Whether it has ended."""
        return self.status() in FINAL

    def done(self) -> bool:
        """Whether it has ended well."""
        return self.status() == Status.DONE

    def running(self) -> bool:
        """Whether it is at work."""
        return self.status() == Status.RUNNING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.status() == Status.CANCELLED

    def errored(self) -> bool:
        """Whether it failed."""
        return self.status() == Status.ERROR

    def error_message(self) -> str | None:
        """Why it failed or was cancelled; None if it was not."""
        if self.status() not in (Status.ERROR, Status.CANCELLED):
            return None
        return self._reason()

    def _reason(self) -> str:
        state = self._document.get("state", {})
        code, reason = state.get("reason_code"), state.get("reason")
        text = f"Error code {code}; {reason}" if code and reason else str(reason or "No reason.")
        return advised(text, state.get("reason_solution"))

    # ---- its result -----------------------------------------------------------------------------

    def result(self, timeout: float | None = None, *, progress: bool = False) -> Any:
        """Wait for its end, and return the result.

        Args:
            timeout: seconds to wait at most; None waits for ever.
            progress: show a line with its place in the queue, its phase, and the estimate.

        Raises:
            RuntimeJobTimeoutError: it has not ended within `timeout`; it goes on.
            RuntimeJobFailureError: it failed; RuntimeJobMaxTimeoutError if it ran too long.
            RuntimeInvalidStateError: it was cancelled.
        """
        if progress and not self._has_result:
            timeout = display.show_progress(self._service, [self], timeout)
        return self._run(self.result_operation(timeout))

    async def result_async(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """The same for coroutines."""
        return await driving.run_async(self.result_operation(timeout), self._link)

    def result_operation(self, timeout: float | None = None) -> Operation[Any]:
        """The steps of `result`, for either driver."""
        if not self._has_result:
            yield from self._end_operation(timeout, with_result=True)
        if self._status == Status.CANCELLED:
            raise RuntimeInvalidStateError(
                f"Job {self.job_id()} was cancelled, so it has no result. {self._reason()}"
            )
        if self._status == Status.ERROR:
            too_long = self._code() == CODE_RAN_TOO_LONG
            kind = RuntimeJobMaxTimeoutError if too_long else RuntimeJobFailureError
            raise kind(f"Job {self.job_id()} failed: {self._reason()}")
        return self._result

    def wait_for_final_state(self, timeout: float | None = None) -> None:
        """Wait for its end, and for the last call of its callback.

        Raises:
            RuntimeJobTimeoutError: it has not ended within `timeout` seconds; it goes on.
        """
        limit = Limit(timeout)
        self._run(self._end_operation(timeout, with_result=False))
        if self._stream is not None and not self._stream.join(limit.patience_s()):
            raise RuntimeJobTimeoutError(
                f"Job {self.job_id()} has ended, but its callback has not within {timeout} s."
            )

    async def wait_async(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """The same for coroutines."""
        await driving.run_async(self._end_operation(timeout, with_result=False), self._link)

    def _end_operation(self, timeout: float | None, *, with_result: bool) -> Operation[None]:
        """Wait for the end; with the result, the outcome is what is waited for."""
        limit = Limit(timeout)
        while self._status not in FINAL or (with_result and not self._complete()):
            if self._status not in FINAL:
                if limit.over():
                    raise RuntimeJobTimeoutError(
                        f"Job {self.job_id()} has not ended within {timeout} s; it goes on. "
                        "Wait again, or cancel it."
                    )
                tail, self._tail = self._tail, None
                with limit.told(f"Job {self.job_id()} has"):
                    held = yield limit.hold((self.job_id(),), tail)
                if isinstance(held, Mapping):
                    self._learn_outcome(held)
                    continue
            with limit.told(f"Job {self.job_id()} has"):
                yield from self.outcome_operation(limit.patience_s())

    def outcome_operation(self, patience_s: float | None = None) -> Operation[None]:
        """Ask for the job and, if it has completed, its result."""
        try:
            response = yield outcome_request(self.job_id(), 0, patience_s)
        except RequestsApiError as error:
            raise of_job(error, self.job_id()) from error
        self._learn_outcome(outcome_of(response))

    def _complete(self) -> bool:
        return self._has_result or self._status != Status.DONE

    def _learn_outcome(self, outcome: Mapping[str, Any]) -> None:
        self._learn(outcome["job"])
        if self._status == Status.DONE and not self._has_result:
            raw = outcome.get("result")
            self._result = None if raw is None else self._decoders.final(raw)
            self._has_result = True

    def interim_results(self) -> list[Any]:
        """What has been given out so far, one for each PUB or circuit that is done (R5)."""
        return self._run(self.interim_operation())

    def interim_operation(self) -> Operation[list[Any]]:
        """The steps of `interim_results`."""
        response = yield Request("GET", path_of("jobs", self.job_id(), "interim_results"))
        return [self._decoders.interim(part) for part in response.json() or []]

    def stream_results(self, callback: Callback) -> None:
        """Call `callback(job_id, result)` for each interim result and then for the final one.

        It is called from a background thread, in order (R5).

        Raises:
            RuntimeInvalidStateError: the job has ended, or its results are streamed already.
        """
        if self._stream is not None:
            raise RuntimeInvalidStateError(f"Job {self.job_id()} is streamed already.")
        if self._status in FINAL:
            raise RuntimeInvalidStateError(f"Job {self.job_id()} has ended: ask for its result().")
        self._stream = Stream(self, self._link, callback)

    def cancel_result_streaming(self) -> None:
        """Call back no more."""
        if self._stream is not None:
            self._stream.stop()

    # ---- what can be done with it ---------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel it.

        Raises:
            RuntimeInvalidStateError: it has ended already.
        """
        if self._stream is not None:
            self._stream.stop()
        self._run(self._cancel())

    def _cancel(self) -> Operation[None]:
        try:
            yield Request("POST", path_of("jobs", self.job_id(), "cancel"))
        except RequestsApiError as error:
            if error.status_code == 409:
                raise RuntimeInvalidStateError(error.message) from error
            raise of_job(error, self.job_id()) from error
        self._status = Status.CANCELLED  # J23: it is final at once, so nothing is asked again
        self._document.setdefault("state", {}).update(
            {"reason": "Job was cancelled.", "reason_code": 5202}
        )

    def update_tags(self, new_tags: Sequence[str]) -> list[str]:
        """Replace its tags; an empty list clears them. Returns what it has now.

        Raises:
            IBMInputValueError: not a list of texts.
        """
        tags = list(new_tags) if not isinstance(new_tags, str) else [0]
        if not all(isinstance(tag, str) for tag in tags):
            raise IBMInputValueError("Tags are a list of texts.")
        self._run(self._put_tags(tags))
        return self.tags

    def _put_tags(self, tags: list[Any]) -> Operation[None]:
        yield Request("PUT", path_of("jobs", self.job_id(), "tags"), dumps({"tags": tags}))
        yield from self._read()

    # ---- inside ---------------------------------------------------------------------------------

    def _learn(self, document: Mapping[str, Any]) -> None:
        status = status_of(document["state"])
        if self._status in FINAL and status not in FINAL:
            return  # an answer from before the end, which came late
        self._document = {key: value for key, value in document.items() if key != "params"}
        self._status = status
        self._session_id = document.get("session_id", self._session_id)
        self._program_id = document.get("program", {}).get("id", self._program_id)
        self._backend_name = document.get("backend", self._backend_name)
        self._tags = list(document.get("tags", self._tags))

    def _code(self) -> int | None:
        state = self._document.get("state", {})
        code = state.get("reason_code", state.get("reasonCode"))
        return None if code is None else int(code)

    def __repr__(self) -> str:
        session = f", session={self._session_id!r}" if self._session_id else ""
        return (
            f"<RuntimeJob({self.job_id()!r}, {self._program_id}, backend={self._backend_name!r}"
            f"{session}, {self._status})>"
        )

    def _repr_html_(self) -> str:
        rows = {
            "Job": self.job_id(),
            "Program": self._program_id,
            "Backend": self._backend_name,
            "Session": self._session_id,
            "Status": str(self._status),
            "Tags": ", ".join(self._tags) or None,
        }
        return display.table("qdwell job", rows)


def wait_operation(jobs: Sequence[RuntimeJob], timeout: float | None) -> Operation[None]:
    """The steps of waiting for many jobs."""
    limit = Limit(timeout)
    left = {job.job_id(): job for job in jobs if job._status not in FINAL}
    while left:
        if limit.over():
            raise RuntimeJobTimeoutError(
                f"{len(left)} of {len(jobs)} jobs have not ended within {timeout} s; they go on."
            )
        with limit.told(f"{len(left)} of {len(jobs)} jobs have"):
            held = yield limit.hold(tuple(left))
        if isinstance(held, Mapping):
            (only,) = left.values()
            only._learn_outcome(held)
            ended: Iterable[str] = left
        else:
            ended = held
        for job_id in list(ended):
            with limit.told(f"{len(left)} of {len(jobs)} jobs have"):
                yield from left[job_id].outcome_operation(limit.patience_s())
            if left[job_id]._status in FINAL:
                del left[job_id]
