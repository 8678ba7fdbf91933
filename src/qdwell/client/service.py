"""The way into a server: its backends, jobs, sessions, and what was used.

One service has one account and one instance; its objects share one transport and one watcher.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qdwell import __version__
from qdwell.client import accounts, display, driving
from qdwell.client.catalog import Catalog
from qdwell.client.decoding import decoders_of
from qdwell.client.errors import (
    IBMInputValueError,
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RequestsApiError,
    RuntimeJobNotFound,
)
from qdwell.client.job import RuntimeJob, wait_operation
from qdwell.client.link import Link
from qdwell.client.options import RuntimeOptions, checked_tags
from qdwell.client.own_tokens import OwnTokens
from qdwell.client.session import Batch, Session
from qdwell.client.submission import Sent, Submission, submit
from qdwell.client.transport import Request, Sends, Transport, path_of
from qdwell.client.words import asked_instant

if TYPE_CHECKING:
    from qdwell.client.job import Callback

PAGE = 200


class QiskitRuntimeService(Catalog, OwnTokens):
    """A qdwell server, for one account and instance.

    Without arguments it is the one that `accounts` finds: the environment as `qdwell env` prints
    it, a saved account, or the credentials file of a `qdwell serve` below the working directory.

    Args:
        channel: a word that code for other services gives; all mean this server.
        token: the API token.
        url: the server's address.
        instance: CRN or name; default: the only one of the account.
        name: of a saved account.
        filename: of saved accounts, or of a `credentials.env`.

    Raises:
        InvalidAccountError: the settings do not make an account.
        IBMNotAuthorizedError: the server does not know the token or the instance.
        ServerUnreachable: there is no server.
    """

    def __init__(
        self,
        channel: str | None = None,
        token: str | None = None,
        url: str | None = None,
        instance: str | None = None,
        name: str | None = None,
        filename: str | None = None,
        *,
        transport: Sends | None = None,
    ) -> None:
        if transport is None:
            account = accounts.found(
                url=url, token=token, instance=instance, channel=channel,
                name=name, filename=filename,
            )  # fmt: skip
            transport = Transport(
                account.url, account.token, account.instance, application=f"qdwell-{__version__}"
            )
        else:
            account = accounts.Account(url or "", token or "", instance, channel or "qdwell")
        self._account = account
        self.link = Link(transport)
        self.sent = Sent()
        Catalog.__init__(self)
        chosen = self._choose_instance(account.instance)
        self._instance, self._instance_name = chosen["crn"], chosen["name"]
        if isinstance(transport, Transport):
            transport.instance = self._instance

    def _choose_instance(self, wanted: str | None) -> dict[str, str]:
        instances = self.instances()
        if wanted is None:
            if len(instances) != 1:
                names = ", ".join(it["name"] for it in instances) or "none"
                raise IBMInputValueError(
                    f"The account has {len(instances)} instances ({names}): name one."
                )
            return instances[0]
        for entry in instances:
            if wanted in (entry["crn"], entry["name"]):
                return entry
        raise IBMNotAuthorizedError(f"The account has no instance {wanted!r}.")

    def check_instance(self, wanted: str | None) -> None:
        """Refuse an instance that is not this service's.

        Raises:
            IBMInputValueError: it is another one.
        """
        if wanted not in (None, self._instance, self._instance_name):
            raise IBMInputValueError(
                f"This service is for the instance {self._instance_name!r}, not {wanted!r}: "
                "make a service for that one."
            )

    # ---- accounts -------------------------------------------------------------------------------

    @staticmethod
    def save_account(
        token: str | None = None,
        url: str | None = None,
        instance: str | None = None,
        channel: str | None = None,
        filename: str | None = None,
        name: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Save an account, in a file that only its owner can read.

        Raises:
            InvalidAccountError: url or token is missing.
            IBMInputValueError: there is one of this name, and `overwrite` is not set.
        """
        account = accounts.made(url or "", token or "", instance, channel)
        accounts.save(account, name, filename=filename, overwrite=overwrite)

    @staticmethod
    def saved_accounts(
        default: bool | None = None, filename: str | None = None, name: str | None = None
    ) -> dict[str, dict[str, str | None]]:
        """The saved accounts by name; only the default one, or only the named one, if asked."""
        wanted = accounts.DEFAULT_NAME if default else name
        saved = accounts.saved(filename)
        return {it: saved[it].shown() for it in saved if wanted is None or it == wanted}

    @staticmethod
    def delete_account(filename: str | None = None, name: str | None = None) -> bool:
        """Delete a saved account; False if there is none of this name."""
        return accounts.delete(name, filename=filename)

    def active_account(self) -> dict[str, str | None]:
        """The account in use."""
        return self._account.shown() | {"instance": self._instance}

    def active_instance(self) -> str:
        """CRN of the instance in use."""
        return self._instance

    @property
    def channel(self) -> str:
        """The word for the kind of service."""
        return self._account.channel

    def instances(self) -> list[dict[str, str]]:
        """The instances of the account: `crn`, `name`, `plan` of each."""
        found: list[dict[str, str]] = self._get("/instances")["instances"]
        return found

    def usage(self) -> dict[str, Any]:
        """What the instance used in the present period, and what it has left (I4, I5)."""
        usage: dict[str, Any] = self._get("/instances/usage")
        limit = usage.get("usage_limit_seconds") or usage.get("usage_allocation_seconds")
        if limit:
            left = max(0, limit - usage["usage_consumed_seconds"])
            usage["usage_remaining_seconds"] = left
        return usage

    # ---- jobs -----------------------------------------------------------------------------------

    def run(
        self,
        program_id: str,
        inputs: Mapping[str, Any],
        options: Mapping[str, Any] | RuntimeOptions | None = None,
        callback: Callback | None = None,
        result_decoder: Any = None,
        session_id: str | None = None,
    ) -> RuntimeJob:
        """Run a program on a backend, in job mode or in a session; see `Session.run`."""
        chosen = RuntimeOptions.of(options)
        self.check_instance(chosen.instance)
        new = Submission(
            program_id, inputs, chosen.backend, session_id,
            decoders_of(program_id, result_decoder), callback, chosen.body_fields(),
        )  # fmt: skip
        job: RuntimeJob = driving.run(submit(self, new), self.link)
        return job

    def job(self, job_id: str) -> RuntimeJob:
        """The job of this id.

        Raises:
            RuntimeJobNotFound: there is none in this instance.
        """
        try:
            answer = self._get(path_of("jobs", job_id, "outcome"), (("result", "false"),))
        except RequestsApiError as error:
            if error.status_code == 404:
                raise RuntimeJobNotFound(f"Job {job_id!r} not found in this instance.") from error
            raise IBMRuntimeError(error.message) from error
        return self._job_of(answer["job"])

    def jobs(
        self,
        limit: int | None = 10,
        skip: int = 0,
        backend_name: str | None = None,
        pending: bool | None = None,
        program_id: str | None = None,
        instance: str | None = None,
        job_tags: Sequence[str] | None = None,
        session_id: str | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        descending: bool = True,
    ) -> list[RuntimeJob]:
        """The jobs of the instance, newest first (J26).

        Args:
            limit: how many at most; None for all.
            skip: how many to leave out at the front.
            backend_name, program_id, session_id, job_tags: only those with these; all the tags.
            pending: only those that have not ended, or only those that have.
            instance: the instance in use, by CRN or name; a service has no others.
            created_after, created_before: bounds, inclusive; without a zone they are local time.
            descending: newest first.

        Raises:
            IBMInputValueError: a bound is no time, or the tags are no list of texts.
        """
        self.check_instance(instance)
        query = [("exclude_params", "true"), ("sort", "DESC" if descending else "ASC")]
        for key, value in (
            ("backend", backend_name),
            ("program", program_id),
            ("session_id", session_id),
            ("pending", None if pending is None else str(pending).lower()),
            ("created_after", asked_instant("created_after", created_after)),
            ("created_before", asked_instant("created_before", created_before)),
        ):
            if value is not None:
                query.append((key, value))
        query += [("tags", tag) for tag in checked_tags(job_tags or ())]
        documents = self._pages("/jobs", "jobs", query, limit, skip)
        return [self._job_of(it) for it in documents]

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended; what it used stays.

        Raises:
            RuntimeJobNotFound: there is none.
            IBMRuntimeError: it has not ended.
        """
        try:
            self.link.send(Request("DELETE", path_of("jobs", job_id)))
        except RequestsApiError as error:
            if error.status_code == 404:
                raise RuntimeJobNotFound(f"Job {job_id!r} not found in this instance.") from error
            raise IBMRuntimeError(error.message) from error

    def wait(
        self, jobs: Iterable[RuntimeJob], timeout: float | None = None, *, progress: bool = False
    ) -> None:
        """Wait until all these jobs have ended, on one connection.

        Raises:
            RuntimeJobTimeoutError: some have not ended within `timeout` seconds.
        """
        waited = list(jobs)
        if progress:
            timeout = display.show_progress(self, waited, timeout)
        driving.run(wait_operation(waited, timeout), self.link)

    async def wait_async(
        self,
        jobs: Iterable[RuntimeJob],
        timeout: float | None = None,  # noqa: ASYNC109  the same as its twin
    ) -> None:
        """The same for coroutines."""
        await driving.run_async(wait_operation(list(jobs), timeout), self.link)

    def _job_of(self, document: Mapping[str, Any]) -> RuntimeJob:
        program = str(document["program"]["id"])
        return RuntimeJob(
            self,
            document["id"],
            document["backend"],
            document=document,
            decoders=decoders_of(program),
        )

    # ---- sessions -------------------------------------------------------------------------------

    def sessions(
        self,
        limit: int | None = 10,
        skip: int = 0,
        backend_name: str | None = None,
        open: bool | None = None,  # noqa: A002  the word that users say
    ) -> list[Session]:
        """The sessions and batches of the instance, newest first.

        Args:
            limit: how many at most; None for all.
            skip: how many to leave out at the front.
            backend_name: only those on this backend.
            open: only those that are not closed, or only those that are.
        """
        query = []
        if backend_name is not None:
            query.append(("backend", backend_name))
        if open is not None:
            query.append(("open", str(open).lower()))
        documents = self._pages("/sessions", "sessions", query, limit, skip)
        return [self._session_of(it) for it in documents]

    def session(self, session_id: str) -> Session:
        """The session or batch of this id.

        Raises:
            IBMInputValueError: there is none.
        """
        try:
            return self._session_of(self._get(path_of("sessions", session_id)))
        except RequestsApiError as error:
            if error.status_code == 404:
                raise IBMInputValueError(f"There is no session {session_id!r}.") from error
            raise

    def close_all_sessions(self) -> int:
        """Close every session and batch that takes jobs; returns how many there were."""
        found = self._pages("/sessions", "sessions", [("open", "true")], None, 0)
        taking = [it for it in found if it["accepting_jobs"]]
        for document in taking:
            self._session_of(document).close()
        return len(taking)

    def _session_of(self, document: Mapping[str, Any]) -> Session:
        kind = Batch if document["mode"] == "batch" else Session
        return kind._of(self, document)

    # ---- inside ---------------------------------------------------------------------------------

    def _as_service(self) -> QiskitRuntimeService:
        return self

    def close(self) -> None:
        """Close connections and end helper threads; jobs go on at the server."""
        self.link.close()
        if isinstance(self.link.transport, Transport):
            self.link.transport.close()

    def __enter__(self) -> QiskitRuntimeService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, path: str, query: tuple[tuple[str, str], ...] = ()) -> Any:
        return self.link.send(Request("GET", path, query=query)).json()

    def _pages(
        self, path: str, key: str, query: Sequence[tuple[str, str]], limit: int | None, skip: int
    ) -> list[dict[str, Any]]:
        """The entries of a list, page by page."""
        for name, number in (("limit", limit), ("skip", skip)):
            if number is not None and number < 0:
                raise IBMInputValueError(f"{name} must be 0 or more, not {number}.")
        found: list[dict[str, Any]] = []
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            place = (("limit", str(size)), ("offset", str(skip + len(found))))
            page = self._get(path, (*query, *place))
            found += page[key]
            if not page[key] or skip + len(found) >= page["count"]:
                break
        return found

    def __deepcopy__(self, _: Any) -> QiskitRuntimeService:
        return self

    def __repr__(self) -> str:
        return f"<QiskitRuntimeService({self._account.url!r}, instance={self._instance!r})>"


@functools.cache
def default_service() -> QiskitRuntimeService:
    """The service of the surroundings, made once."""
    return QiskitRuntimeService()
