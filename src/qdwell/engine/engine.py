"""The engine's face: what the API asks of it, and how it is started and stopped.

Requests become events and wait for their commit. Questions are answered by `answers`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog

from qdwell.clock import Clock, pause_ms
from qdwell.config import Config, Plan
from qdwell.core.decisions import Refuse
from qdwell.core.events import (
    BackendMode,
    CancelGroup,
    CancelJob,
    CloseGroup,
    CreateGroup,
    Event,
    KeepAlive,
    SetBackendMode,
    SubmitJob,
)
from qdwell.core.group import Group
from qdwell.core.job import SERVER_WORDS, Job
from qdwell.core.state import Settings
from qdwell.engine import refusals
from qdwell.engine.actions import Actions
from qdwell.engine.ahead import Ahead, large
from qdwell.engine.answers import Answers, Told
from qdwell.engine.inbox import Inbox, Item
from qdwell.engine.inputs import InputShelf
from qdwell.engine.instances import InstanceBook
from qdwell.engine.loop import Loop
from qdwell.engine.memory import Memory
from qdwell.engine.one_thread import OneThread
from qdwell.engine.pictures import Pictures
from qdwell.engine.requests import NewGroup, NewJob
from qdwell.engine.stations import (
    Station,
    classical_pool,
    fork_server,
    stations_of,
)
from qdwell.engine.workers import ForkServer
from qdwell.errors import (
    JobIsFinal,
    NotAllowed,
    QdwellError,
    SessionNotActive,
    StoreError,
    StoreUnavailable,
    UnknownBackend,
    UnknownJob,
    UnknownSession,
)
from qdwell.programs.work import QPY_VERSION_MIN_OLD_CLIENTS
from qdwell.store import Store, new_id

log = structlog.get_logger()

DAY_MS = 86_400_000
SWEEP_MS = 3_600_000


class Engine(Answers):
    """Runs jobs on the config's backends. One for each store; `start` before anything else.

    Args:
        config: its backends, plans, and the scheduler's settings.
        store: stays the caller's to close.
        clock: tells all instants.
        server: forks the workers, and stays the caller's to close; default: one of its own.
    """

    def __init__(
        self, config: Config, store: Store, clock: Clock, server: ForkServer | None = None
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        # One thread writes: SQLite has one writer, and commits come in the order they were decided.
        self._writer = OneThread("store-writer")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="store-reader")
        forks = server or fork_server(config, store)
        self._own_server = None if server else forks
        self._stations: dict[str, Station] = stations_of(config, forks)
        rows = [station.row for station in self._stations.values()]
        self._names = {name: row.name for row in rows for name in (row.name, *row.aliases)}
        self._classical = classical_pool(forks)
        self.pictures = Pictures(forks)
        self._inbox = Inbox()
        self._memory = Memory()
        self._book = InstanceBook(config, store)
        self._loop = Loop(
            store,
            clock,
            self._writer,
            settings_of(config),
            self._announce,
            self._inbox,
            self._memory,
        )
        self._ahead = Ahead(store, clock)
        self._shelf = InputShelf(store, self._readers, self.live_job, self._book.executions_max)
        self._actions = Actions(
            self._stations,
            self._classical,
            self._shelf,
            self._ahead,
            self._inbox,
            clock,
            self._machine,
            config.workers.stage_seconds_max,
        )
        if config.server.old_clients:
            self._actions.dispatch.qpy_version_min = QPY_VERSION_MIN_OLD_CLIENTS
        self._loop.actions, self._loop.shelf = self._actions, self._shelf
        self._running: asyncio.Task[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._forecasts: dict[str, Told] = {}

    # ---- start and stop -------------------------------------------------------------------------

    async def start(self) -> None:
        """Load, take up what was lost, and go on; the backends become ready meanwhile (`ready`).

        Raises:
            StoreError: the store cannot be read or written.
        """
        for station in self._stations.values():
            station.pool.start()
        await self._in_thread(self._book.load)
        await self._in_thread(self._store.sweep, self._clock.now())
        await self._loop.boot()
        self._running = asyncio.create_task(self._loop.run(), name="engine")
        self._upkeep = asyncio.create_task(self._keep_clean(), name="upkeep")

    async def _keep_clean(self) -> None:
        """Sweep the store every hour, and delete what is not kept any longer (J32)."""
        swept = 0  # `start` has swept
        while True:
            try:
                retired = await self._in_thread(
                    self._store.retire, self._clock.now(), self._config.retention
                )
                log.info("swept", blobs=swept, jobs=retired.jobs, results=retired.results)
                await pause_ms(self._clock, SWEEP_MS)
                swept = await self._in_thread(self._store.sweep, self._clock.now())
            except StoreError as error:  # the next hour will do
                log.error("not swept", error=str(error))
                await pause_ms(self._clock, SWEEP_MS)

    async def ready(self) -> None:
        """Return when every backend's device has answered."""
        await asyncio.gather(*(station.ready.wait() for station in self._stations.values()))

    @property
    def is_ready(self) -> bool:
        """Whether every backend's device has answered."""
        return all(station.ready.is_set() for station in self._stations.values())

    async def stop(self, grace_ms: int) -> None:
        """Give the running stages `grace_ms` to end, and what they lead to; leave the queue stored.

        A job in the QPU is so brought to its end; no preparation and no run is begun.

        What is cut off is taken up by the next start, by J5, and is no failed try of its job.
        """
        grace = asyncio.ensure_future(pause_ms(self._clock, grace_ms))
        if self._loop.turning:  # what it grants is begun: users were told already
            await self._turned(grace)
        self._actions.draining = True
        while self._busy() and not grace.done():
            await self._turned(grace)
        grace.cancel()
        self._loop.stop()
        if self._running is not None:
            await self._running
            self._running = None
            try:
                await self._loop.put_off()
            except QdwellError as error:  # the next start counts the downtime from the last commit
                log.error("end not stored", error=str(error))
        await self.abandon()

    async def abandon(self) -> None:
        """End the workers and threads without another word to the store; for `stop` and tests."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        for item in self._inbox.take():
            item.fail(StoreUnavailable("the server stops; nothing was stored"))
        self._memory.end_changes()
        await self._actions.close()
        pools = [self._classical, *(station.pool for station in self._stations.values())]
        await asyncio.gather(self.pictures.close(), *(pool.close() for pool in pools))
        if self._own_server is not None:
            self._own_server.close()
        self._ahead.close()
        self._writer.close()
        self._readers.shutdown()

    async def _turned(self, grace: asyncio.Task[None]) -> None:
        """Wait for the end of the loop's turn, or of the grace."""
        turned = asyncio.ensure_future(self._loop.turned.wait())
        await asyncio.wait({turned, grace}, return_when=asyncio.FIRST_COMPLETED)
        turned.cancel()

    def _busy(self) -> bool:
        return bool(len(self._inbox)) or self._actions.working()

    def _announce(self) -> list[Event]:
        """What the core is told first: the backends and the instances."""
        rows = [it.announced(self._config) for it in self._stations.values()]
        return [*rows, *self._book.events()]

    # ---- requests: each is stored when it returns -----------------------------------------------

    async def submit(self, new: NewJob) -> Job:
        """Accept a job into the queue.

        Raises:
            UnknownBackend, BackendOffline, UnknownSession, SessionClosed, WrongBackend,
            LimitAboveMaxTtl, NoGroupOnSimulator, PendingLimit, SpendLimitReached: it is refused.
            StoreError: it could not be stored; nothing was.
        """
        await self._know(new.instance)
        if large(new.params) and self._loop.scheduler.refusal(self._job(new)) is None:
            return await self._ahead.submitted(new.params, partial(self._submit, new))
        return await self._submit(new)

    def _job(self, new: NewJob) -> Job:
        now = self._clock.now()
        return Job(
            id=new.job_id or new_id(now),
            seq=self._take_seq(),
            instance=new.instance,
            backend=self._names.get(new.backend, new.backend),
            created=now,
            group=new.group,
            limit_ms=new.limit_ms,
            limit_asked=new.limit_asked,
            estimate_ms=new.estimate_ms,
        )

    async def _submit(self, new: NewJob) -> Job:
        job = self._job(new)
        refuse = await self._decided(Item(job.created, SubmitJob(job), new=new))
        if refuse is not None:
            used = self.usage_ms(new.instance)
            raise await self._in_thread(refusals.of_job, self._store, refuse, job, used)
        return self._memory.jobs.get(job.id, job)

    async def create_group(self, new: NewGroup) -> Group:
        """Open a session or a batch.

        Raises:
            UnknownBackend, NoGroupOnSimulator: it is refused.
            StoreError: it could not be stored; nothing was.
        """
        await self._know(new.instance)
        now = self._clock.now()
        group = Group(
            id=new.group_id or new_id(now),
            seq=self._take_seq(),
            mode=new.mode,
            instance=new.instance,
            backend=self._names.get(new.backend, new.backend),
            created=now,
            interactive_ttl_ms=new.interactive_ttl_ms,
            max_ttl_ms=new.max_ttl_ms,
            max_ttl_cap_ms=new.max_ttl_cap_ms,
            active_ttl_ms=new.active_ttl_ms,
        )
        item = Item(now, CreateGroup(group), group_user=(group.id, new.user_id))
        refuse = await self._decided(item)
        if refuse is not None:
            raise refusals.of_group(refuse, group.backend, self.usage_ms(new.instance))
        return self._memory.groups.get(group.id, group)

    def retagged(self, job_id: str, tags: tuple[str, ...]) -> None:
        """The tags of a job were changed in the store."""
        self._shelf.retag(job_id, tags)

    async def cancel_job(self, instance: str, job_id: str) -> None:
        """Cancel one job (J18-J22).

        Raises:
            UnknownJob: this instance has no such job.
            JobIsFinal: it has ended already.
        """
        live = self._memory.jobs.get(job_id)
        refuse = None
        if live is not None and live.instance == instance:
            refuse = await self._decided(Item(self._clock.now(), CancelJob(job_id)))
        if refuse is not None or live is None or live.instance != instance:
            row = await self._in_thread(self._store.job, instance, job_id)
            if row is None:
                raise UnknownJob(job_id)
            raise JobIsFinal(job_id, SERVER_WORDS[row.job.state])

    async def close_group(self, instance: str, group_id: str) -> None:
        """No new jobs for a session or batch; what it has runs (S28). A closed one stays as it is.

        Raises:
            UnknownSession: this instance has no such session or batch.
        """
        await self._end_group(instance, group_id, CloseGroup(group_id))

    async def cancel_group(self, instance: str, group_id: str) -> None:
        """No new jobs, and none that is not in the QPU yet (S29). A closed one stays as it is.

        Raises:
            UnknownSession: this instance has no such session or batch.
        """
        await self._end_group(instance, group_id, CancelGroup(group_id))

    async def keep_alive(self, instance: str, group_id: str, until: int) -> None:
        """Keep a session active until then; raises UnknownSession, SessionNotActive."""
        if not await self._end_group(instance, group_id, KeepAlive(group_id, until)):
            raise SessionNotActive(group_id)

    async def _end_group(self, instance: str, group_id: str, event: Event) -> bool:
        live = self._memory.groups.get(group_id)
        if live is not None and live.instance == instance:
            return await self._decided(Item(self._clock.now(), event)) is None
        if await self._in_thread(self._store.group, instance, group_id) is None:
            raise UnknownSession(group_id, on_resource=True)
        return False  # it is closed

    async def set_backend_mode(self, name: str, mode: BackendMode, reason: str = "") -> None:
        """Pause, stop, or resume a backend (I11).

        Raises:
            UnknownBackend: there is none of this name.
        """
        known = self._names.get(name)
        if known is None:
            raise UnknownBackend(name, on_resource=True)
        await self._decided(Item(self._clock.now(), SetBackendMode(known, mode, reason)))

    @property
    def plans(self) -> dict[str, Plan]:
        """All plans by name: the config file's, and those made by command."""
        return self._book.plans

    async def instances_changed(self) -> None:
        """Read the instances again: accounts were made or changed by another process."""
        await self._in_thread(self._book.load)
        now = self._clock.now()
        for event in self._book.news():
            self._inbox.post(Item(now, event))

    async def _know(self, instance: str) -> None:
        if not self._book.has(instance):
            await self.instances_changed()
        if not self._book.has(instance):
            raise NotAllowed

    async def _decided(self, item: Item) -> Refuse | None:
        """Wait until the item is decided and stored."""
        if self._running is None or self._running.done():
            raise StoreUnavailable("the server is not running; nothing was stored")
        item.answer = asyncio.get_running_loop().create_future()
        self._inbox.post(item)
        return await item.answer

    def _take_seq(self) -> int:
        self._loop.next_seq += 1
        return self._loop.next_seq - 1

    async def _in_thread(self, work: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *args)


def settings_of(config: Config) -> Settings:
    """The scheduler's settings, as the core takes them."""
    rules = config.scheduler
    return Settings(
        window_ms=rules.window_days * DAY_MS,
        unused_close_ms=rules.unused_group_close_seconds * 1000,
    )
