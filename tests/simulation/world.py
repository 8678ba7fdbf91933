"""A simulated world: one data folder, its devices and users, and one server process after another.

`World(story, folder).run()` lives through a story, lets everything end, and raises what broke.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from qdwell.config import Backend, Config, Plan
from qdwell.core.job import CODE_RAN_TOO_LONG
from qdwell.core.state import Settings
from qdwell.errors import OutcomeUnknown, StoreUnavailable
from qdwell.store import accounts, ids, open_store
from qdwell.store.doctor import examine
from simulation.books import Count, Life, Order, Wish
from simulation.loop import Time, pause
from simulation.process import START_MS, Process, simulated
from simulation.story import USERS, Step
from simulation.users import BASE, User
from simulation.workers import Device, SimServer

DAY_MS = 86_400_000
END_WITHIN_S = 7_200  # of the last step all work must be done

CONFIG = Config(
    plans={
        **Config().plans,
        "default": Plan(session_interactive_ttl_seconds=3),
        "tight": Plan(pending_jobs_max=3, session_interactive_ttl_seconds=2, job_limit_seconds=60),
    },
    backends=(
        Backend("glass", "scripted", lanes=3, options={"repeatable": False}),
        Backend("model", "scripted", lanes=2),
        Backend("far", "scripted", lanes=3, options={"repeatable": False, "outlives": True}),
        Backend("sim", "scripted", options={"simulator": True}),
    ),
)
PLANS = ("default", "tight", "default")


def make_folder(folder: Path) -> list[accounts.Credentials]:
    """A data folder with the users of every world; each world copies it, to save time."""
    store = open_store(folder)
    made = [accounts.first_start(store, START_MS)]
    for number in range(1, USERS):
        made.append(accounts.create_account(store, f"user{number}", PLANS[number], 0))
    store.close()
    return [it for it in made if it is not None]


class World:
    """Lives through one story."""

    def __init__(
        self, story: list[Step], template: Path, people: list[accounts.Credentials], folder: Path
    ) -> None:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        self.story = story
        self.folder = folder
        self.time = Time()
        self.clock_offset = 0
        self.jumped_ms = 0  #: forward, in all
        self.slow_until = 0.0
        self.gone_until = 0.0
        self.window_ms = CONFIG.scheduler.window_days * DAY_MS
        self.life = Life(Settings(window_ms=self.window_ms))
        self.count = Count()
        self.devices = {
            row.name: Device(
                row.name,
                bool(row.options.get("repeatable", True)),
                bool(row.options.get("simulator", False)),
                bool(row.options.get("outlives", False)),
            )
            for row in CONFIG.backends
        }
        self.server = SimServer(self.devices)
        self.users = [User(self, number, it) for number, it in enumerate(people)]
        self.orders: dict[str, Order] = {}
        self.wishes: dict[str, Wish] = {}
        self.process: Process = None  # type: ignore[assignment]
        self._commit_faults: list[dict[str, Any]] = []
        self._report_faults: list[dict[str, Any]] = []
        self._next = 0
        self._down_ms = 0
        self._over = False
        self._keys = itertools.count(1)
        self._asking: set[asyncio.Task[None]] = set()

    # ---- faults that wait for their moment -----------------------------------------------------

    def take_commit_fault(self) -> str | None:
        if not self._commit_faults:
            return None
        fault = self._commit_faults.pop(0)
        self._down_ms = fault["down"]
        self.count.faults += 1
        return str(fault["fault"])

    def take_report_fault(self) -> dict[str, Any] | None:
        if not self._report_faults:
            return None
        self.count.faults += 1
        return self._report_faults.pop(0)

    def unknown_outcome(self) -> Exception:
        return OutcomeUnknown("injected: who knows whether it is stored")

    def new_key(self) -> str:
        return f"{next(self._keys):026d}"

    # ---- life --------------------------------------------------------------------------------

    def run(self) -> Count:
        """Live; raises AssertionError or BrokenInvariant for what is wrong."""
        chance = random.Random(7)
        bits, ids.secrets.randbits = ids.secrets.randbits, chance.getrandbits  # type: ignore
        try:
            with simulated(self.life):
                while not self._over:
                    self._one_process()
            self._check_devices()
            self.life.check_over()
        finally:
            ids.secrets.randbits = bits  # type: ignore[assignment]
        self.count.commits, self.count.decisions = self.life.commits, self.life.decisions
        return self.count

    def _one_process(self) -> None:
        self.count.starts += 1
        self.process = process = Process(self, CONFIG, self.folder)
        loop = process.loop
        failed: list[BaseException] = []
        main = loop.create_task(self._live(process))

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                failed.append(task.exception())  # type: ignore[arg-type]
            loop.stop()

        main.add_done_callback(done)
        try:
            loop.run_forever()
        finally:
            self.server.server_died(self.time.now)
            process.bury()
        if loop.failed is not None:
            raise loop.failed
        if failed:
            raise failed[0]
        if loop.dead and not self._over:
            self.count.deaths += 1
        self.time.now += self._down_ms / 1000

    async def _live(self, process: Process) -> None:
        try:
            await process.start()
        except StoreUnavailable:  # it says so and ends; the operator's watchdog starts it again
            self._down_ms = 1_000
            return
        self._asking.clear()
        self._ask_again()
        while self._next < len(self.story):
            step = self.story[self._next]
            await pause(max(0.0, step.at / 1000 - self.time.now))
            self._next += 1
            if await self._do(step):
                return
        await self._end(process)

    def _ask_again(self) -> None:
        """Whose question died with the server: with a key it is asked again."""
        for order in self.orders.values():
            if order.state == "asking" and order.of.get("key"):
                self._spawn(self.users[order.of["user"]].submit(order))
            elif order.state == "asking":
                order.state = "unknown"
        for wish in self.wishes.values():
            if wish.state == "asking":
                wish.state = "unknown"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        loop = self.process.loop
        task = loop.create_task(work)
        self._asking.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            self._asking.discard(ended)
            if not ended.cancelled() and ended.exception() is not None:
                loop.failed = loop.failed or ended.exception()
                loop.stop()

        task.add_done_callback(done)

    # ---- steps -------------------------------------------------------------------------------

    async def _do(self, step: Step) -> bool:
        """Do a step; whether the process has ended by it."""
        self.count.kinds[step.kind] = self.count.kinds.get(step.kind, 0) + 1
        of = step.of
        if step.kind == "submit":
            order = self.orders[of["script"]["name"]] = Order(of["script"]["name"], of)
            self._spawn(self.users[of["user"]].submit(order))
        elif step.kind == "open":
            wish = self.wishes[of["name"]] = Wish(of["name"], of)
            self._spawn(self.users[of["user"]].open(wish))
        elif step.kind in ("close", "cancel_group", "keep_alive"):
            wish = self.wishes.get(of["name"])  # type: ignore[assignment]
            if wish is not None and wish.id is not None:
                self._spawn(self.users[wish.of["user"]].end_group(step.kind, wish))
        elif step.kind in ("cancel", "look", "delete", "tag"):
            found = self.orders.get(of["name"])
            if found is not None and found.id is not None:
                does: Callable[..., Any] = getattr(self.users[found.of["user"]], step.kind)
                self._spawn(does(found))
        elif step.kind == "mode":
            self._spawn(self._mode(of["backend"], of["to"]))
        elif step.kind == "sweep":
            self._spawn(self._sweep())
        else:
            return await self._misfortune(step.kind, of)
        return False

    async def _misfortune(self, kind: str, of: dict[str, Any]) -> bool:
        loop = self.process.loop
        if kind == "commit":
            self._commit_faults.append(of)
        elif kind == "store" and of["how"] == "gone":
            self.gone_until = self.time.now + of["ms"] / 1000
        elif kind == "store":
            self.slow_until = self.time.now + of["ms"] / 1000
        elif kind == "kill":
            self._down_ms = of["down"]
            loop.die_at_step = loop.steps + of["after_steps"]
        elif kind == "stop":
            self._down_ms = of["down"]
            await self.process.engine.stop(of["grace"])
            return True
        elif kind == "kill_workers":
            self.server.kill(of["of"])
        elif kind == "report":
            self._report_faults.append(of)
        elif kind == "jump":
            self.clock_offset += of["ms"]
            self.jumped_ms += max(0, of["ms"])
        else:
            raise ValueError(kind)
        return False

    async def _mode(self, backend: str, to: str) -> None:
        status, answer = await self.users[0].ask(
            "PUT", f"{BASE}/admin/backends/{backend}", {"mode": to}
        )
        assert status in (200, 503), (status, answer)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(StoreUnavailable):
            await loop.run_in_executor(None, self.process.store.sweep, self.process.clock.now())

    # ---- the end -----------------------------------------------------------------------------

    async def _end(self, process: Process) -> None:
        """No more misfortune: everything must come to its end by itself."""
        self._commit_faults.clear()
        self._report_faults.clear()
        process.loop.die_at_step = None
        until = self.time.now + END_WITHIN_S
        await pause(max(0.0, max(self.gone_until, self.slow_until) - self.time.now))
        while self._asking:
            await asyncio.wait(self._asking)
        for name in ("glass", "model", "far"):
            status, _ = await self.users[0].insist(
                "PUT", f"{BASE}/admin/backends/{name}", {"mode": "online"}
            )
            assert status == 200
        wait_s = 1
        while self._unfinished():
            assert self.time.now < until, f"not done: {self._unfinished()}"
            await pause(wait_s)
            wait_s = min(wait_s * 2, 600)
            for wish in self.wishes.values():
                if wish.id is not None:
                    await self.users[wish.of["user"]].end_group("close", wish)
        shown = [await user.jobs() for user in self.users]
        for order in self.orders.values():
            number = order.of["user"]
            await self.users[number].verify(order, shown[number].get(order.name, []))
        await self._check_rest(process)
        self._over = True
        await process.engine.stop(0)

    def _unfinished(self) -> list[Any]:
        live = self.process.engine._memory
        asking = [it.name for it in self.orders.values() if it.state == "asking"]
        return [*asking, *live.jobs.values(), *live.groups.values()]

    async def _check_rest(self, process: Process) -> None:
        """Nothing is left over: no run, no item, no blob that nobody refers to."""
        engine = process.engine
        await pause(60)
        assert not engine._actions.runs, engine._actions.runs
        assert not len(engine._inbox)
        assert not +engine._memory.pending, engine._memory.pending
        self.life.compare(process.store, process.clock.now(), self.window_ms)
        assert not process.store.blobs.wanted.held(), "a file is held for nobody"
        process.store.sweep(process.clock.now())
        assert process.store.sweep(process.clock.now()) == 0, "a sweep leaves nothing to sweep"
        found = [str(it) for it in examine(process.store) if not it.harmless]
        assert not found, f"the doctor finds: {found}"
        half = [path for path in (self.folder / "blobs").rglob(".*") if path.is_file()]
        assert not half, f"files that were never whole: {half}"
        for device in self.devices.values():
            assert device.present is None, f"{device.name} still runs {device.present}"

    def _check_devices(self) -> None:
        """No QPU time is spent twice where it must not, and none is charged that was not spent."""
        jobs = self.life.auditor.jobs
        # The charge begins with the grant; the run when that is stored, and the device's process
        # is there, and has no other job's inline preparation in hand (a device model's may).
        troubled = {"commit", "store", "kill", "kill_workers", "stop"} & self.count.kinds.keys()
        slack = self.jumped_ms + (10_000 if troubled else 1_000)
        for device in self.devices.values():
            by_job: dict[str, list[Any]] = {}
            for run in device.runs:
                by_job.setdefault(run.job, []).append(run)
            for job_id, runs in by_job.items():
                job = jobs[job_id]
                story = f"{job_id} on {device.name}: {runs}; {job}"
                if not device.repeatable and not device.simulator:
                    assert len(runs) <= self._runs_of(job_id), f"J5: run twice: {story}"
                longest = max((run.end - run.start) for run in runs)
                if device.outlives:
                    longest = sum(run.end - run.start for run in runs) + 0.1 * len(runs)
                if job.code == CODE_RAN_TOO_LONG and "report" in self.count.kinds:
                    # Its end was reported after its limit: nobody knew that it was over (J14).
                    longest = max(longest, job.limit_ms / 1000)
                assert job.quantum_ms <= longest * 1000 + slack, f"U1: charged more: {story}"
                if job.state == "completed":
                    assert any(run.whole for run in runs), f"no run: {story}"

    def _runs_of(self, job_id: str) -> int:
        """How many runs a job may have; one, if its user does not know it."""
        orders = [it for it in self.orders.values() if it.id == job_id]
        return int(orders[0].of["script"].get("runs", 1)) if orders else 3
