"""Worker processes: what they may do, and that nothing they say is ever run."""

from __future__ import annotations

import asyncio
import os
import pickle
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.house import House, scripted
from qdwell.config import Backend
from qdwell.engine import actions, frames, workers
from qdwell.engine.frames import Channel, Decoder, Frame, encode
from qdwell.engine.workers import ForkServer, Worker, worker_environment
from qdwell.errors import WorkerLost

Make = Callable[..., House]


@given(
    sent=st.lists(st.lists(st.binary(max_size=40), max_size=4), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 60), max_size=30),
)
def test_frames_survive_any_cutting(sent: list[list[bytes]], cuts: list[int]) -> None:
    """However the stream is cut, the frames come out whole and in order."""
    stream = b"".join(b"".join(encode({"op": str(n)}, parts)) for n, parts in enumerate(sent))
    decoder, found = Decoder(), []
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        found += decoder.feed(piece)
    assert [list(frame.parts) for frame in found] == sent
    assert [frame.op for frame in found] == [str(n) for n in range(len(sent))]


def _raw(head: bytes) -> bytes:
    return len(head).to_bytes(4, "big") + head


@pytest.mark.parametrize(
    "stream",
    [
        b"\xff\xff\xff\xff",
        _raw(b"no json"),
        _raw(b"[]"),
        _raw(b"{}"),
        _raw(b'{"parts": [-1]}'),
        _raw(b'{"parts": [true]}'),
        _raw(b'{"parts": "x"}'),
        _raw(orjson.dumps({"parts": [frames.PARTS_BYTES_MAX + 1]})),
        _raw(orjson.dumps({"parts": [0] * (frames.PARTS_MAX + 1)})),
    ],
)
def test_frames_beyond_the_bounds_are_refused(stream: bytes) -> None:
    """A head that is no head, or lengths that nobody should allocate, are not believed."""
    with pytest.raises(WorkerLost):
        list(Decoder().feed(stream))


def test_a_channel_gives_what_was_sent() -> None:
    """Small and large frames pass a socket; the end of the other side is None."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        left, right = Channel(ours), Channel(theirs)
        left.send({"op": "a"}, [b"x", b""])
        left.send({"op": "b"})
        assert right.receive() == Frame({"op": "a"}, (b"x", b""))
        assert right.receive() == Frame({"op": "b"})
        ours.shutdown(socket.SHUT_WR)
        assert right.receive() is None


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("/tmp/qdwell-evil",))


def _exists(path: str) -> bool:
    return Path(path).exists()


def _folder_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/cwd").readlink())


async def test_nothing_a_worker_says_is_run(house: Make) -> None:
    """A pickle in the place of a frame, of facts, or of a result is never opened by the server."""
    evil = pickle.dumps(_Evil())
    async with house() as it:
        pool = it.engine._stations["machine"].pool
        ended: list[Worker] = []
        theirs, ours = socket.socketpair()
        worker = Worker(os.getpid(), None, lambda *_: None, ended.append)
        worker.kill = lambda: None  # type: ignore[method-assign]
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: worker, sock=ours)
        theirs.sendall(_raw(evil))
        theirs.close()
        await worker.ended.wait()
        assert ended == [worker]
        assert not _exists("/tmp/qdwell-evil")
        assert pool.pids()


async def test_a_worker_that_speaks_nonsense_is_killed(fork_server: ForkServer) -> None:
    """Bytes that are no frame end the worker that sent them."""
    ended = asyncio.Event()
    worker = await Worker.start(fork_server, {}, lambda *_: None, lambda _: ended.set())
    worker.data_received(b"\xff\xff\xff\xff")
    await asyncio.wait_for(ended.wait(), 10)
    assert worker.ended.is_set()


async def test_workers_are_confined(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has no core dumps, few files, bounded memory, and another folder than the server."""
    async with house() as it:
        pid = await it.machine_pid()
        assert _folder_of(pid) == "/"
        limits = resource.prlimit(pid, resource.RLIMIT_CORE)
        assert limits == (0, 0)
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[1] <= 512
        assert resource.prlimit(pid, resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY


def test_secrets_do_not_reach_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment a worker gets a few harmless names, and what is meant for devices."""
    monkeypatch.setenv("LAB_TOKEN", "secret")
    monkeypatch.setenv("QDWELL_DEVICE_HOST", "qpu.lab")
    found = worker_environment()
    assert "secret" not in found.values()
    assert found["QDWELL_DEVICE_HOST"] == "qpu.lab"
    assert found["OMP_WAIT_POLICY"] == "passive"


async def test_a_classical_stage_has_an_end(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparation that takes longer than any should is stopped, and its job fails."""
    monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    async with house() as it:
        it.engine._actions.dispatch.stage_s = 0
        row = await it.final(await it.submit())
        assert (row.job.state, row.job.code) == ("failed", 5203)
        assert "too long" in (row.job.reason or "")
        it.engine._actions.dispatch.stage_s = 60
        assert (await it.final(await it.submit())).job.state == "completed"


async def test_the_last_words_of_a_killed_worker_do_not_count(house: Make) -> None:
    """Between the kill and the death of a worker nothing it says is heard, and it gets no work."""
    async with house(scripted(run_ms=60_000)) as it:
        job = await it.submit()
        await it.reaches(job, "executing")
        task = it.engine._actions.runs[job.id].task
        assert task is not None
        heard: list[Frame] = []
        task.on_frame = heard.append
        stopped = asyncio.Event()
        task.on_stopped = stopped.set
        pool = it.engine._stations["machine"].pool
        pool.stop(task)
        (place,) = pool._places
        pool._heard(place, Frame({"op": "done"}, (b"",)))
        assert (heard, place.task, stopped.is_set()) == ([], task, False)
        await asyncio.wait_for(stopped.wait(), 10)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_the_qpu_is_given_when_its_process_is_there_again(
    house: Make, cancelled: bool
) -> None:
    """J14, J20, U1: what a device takes to start again is nobody's time, whatever ended it."""
    async with house(scripted(run_ms=60_000)) as it:
        running, following = await it.submit(), await it.submit()
        await it.reaches(running, "executing")
        await it.reaches(following, "ready")
        pool = it.engine._stations["machine"].pool
        server, asked, may_fork = pool.server, asyncio.Event(), asyncio.Event()

        class LateServer(ForkServer):
            async def worker(self, *args: Any) -> Worker:
                asked.set()
                await may_fork.wait()
                return await server.worker(*args)

        pool.server = LateServer(())
        try:
            if cancelled:
                await it.engine.cancel_job(it.crn, running.id)
            else:
                os.kill(await it.machine_pid(), signal.SIGKILL)
                await it.reaches(running, "ready")  # to be run again, before the other one
            await asyncio.wait_for(asked.wait(), 30)
            await it.submit()  # a turn later than the death of the device's process
            assert it.engine.live_job(following.id).state == "ready"
            assert cancelled or it.engine.live_job(running.id).state == "ready"
        finally:
            there = it.clock.now()
            may_fork.set()
        begun = await it.reaches(following if cancelled else running, "executing")
        assert begun.executing_at >= there


async def test_a_run_begins_no_sooner_than_its_device_is_there(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    """J14, U1, after a start: a job waits for the device in its lane, not in the QPU."""
    may_fork = asyncio.Event()

    class LateServer(ForkServer):
        async def worker(self, role: Any, *args: Any) -> Worker:
            if role["name"] == "machine":
                await may_fork.wait()
            return await fork_server.worker(role, *args)

    it = House(tmp_path / "data", LateServer(()))
    await it.engine.start()
    try:
        job = await it.submit()
        await it.reaches(job, "ready")
        there = it.clock.now()
        may_fork.set()
        assert (await it.final(job)).job.executing_at >= there
    finally:
        may_fork.set()
        await it.engine.abandon()
        it.store.close()


async def test_a_device_that_does_not_start_is_offline(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    """Its backend says why, others work, and it is tried again."""
    broken = Backend("broken", "qiskit", target="no_such_module:factory")
    it = House(tmp_path / "data", fork_server, scripted(), broken)
    await it.engine.start()
    try:
        await asyncio.wait_for(it.engine._stations["machine"].ready.wait(), 30)
        assert (await it.final(await it.submit())).job.state == "completed"
        told = asyncio.Event()
        pool = it.engine._stations["broken"].pool
        say, said = pool.on_unready, list[str]()

        def hear(why: str) -> None:
            say(why)
            said.append(why)
            if len(said) == 2:  # it was tried again
                told.set()

        pool.on_unready = hear
        await asyncio.wait_for(told.wait(), 30)
        assert all("no_such_module" in it for it in said)
        view = it.engine.backend("broken")
        assert view is not None
        assert view.mode == "offline"
        assert "no_such_module" in view.mode_reason
        assert not it.engine.is_ready
    finally:
        await it.engine.abandon()
        it.store.close()


async def test_a_cancelled_preparation_leaves_the_machine_free(house: Make) -> None:
    """A cancelled preparation leaves the machine's short way open for the next job."""
    async with house(scripted(run_ms=20)) as it:
        for _ in range(5):
            job = await it.submit()
            await it.engine.cancel_job(it.crn, job.id)
            row = await it.final(await it.submit())
            assert row.job.state == "completed"
        station = it.engine._stations["machine"]
        assert station.inline is None
        assert station.held == []


async def test_a_fork_server_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped, or swapped out: the next worker is forked by another one."""
    server = ForkServer(("qdwell.engine.child",))
    try:
        await server.warm()
        assert server._process is not None
        first = server._process
        first.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(workers, "FORK_S_MAX", 2)  # the next one has to fork within it, too
        async with asyncio.timeout(60):
            ours, _, handle = await server.fork({})
        ours.close()
        if handle is not None:
            os.close(handle)
        assert first.returncode == -signal.SIGKILL
        assert server._process is not first
    finally:
        server.close()


async def test_no_thread_of_the_api_waits_for_a_fork_server_that_hangs() -> None:
    """However many workers are wanted; and it can be closed meanwhile."""
    server = ForkServer(("qdwell.engine.child",))
    try:
        await server.warm()
        assert server._process is not None
        server._process.send_signal(signal.SIGSTOP)
        wanted = [asyncio.ensure_future(server.fork({})) for _ in range(64)]
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(lambda: True)
            await asyncio.to_thread(server.close)
            ended = await asyncio.gather(*wanted, return_exceptions=True)
        assert all(isinstance(it, WorkerLost | asyncio.CancelledError) for it in ended)
    finally:
        server.close()
