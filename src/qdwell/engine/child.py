"""What runs inside a worker: one loop, one frame at a time.

A worker either holds a backend's device, or does classical stages for all. What a job's stage hands
on to the worker of its next one is a pickle, see `pickles`.

A real device must be able to stop a run, so its worker reads frames in a thread of their own.
Others are simply killed, and then need no second thread.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from typing import Any

from qdwell import executors, programs
from qdwell.clock import stopwatch_ns
from qdwell.engine import pickles, sandbox
from qdwell.engine.frames import Channel, Frame
from qdwell.engine.leased import FAILED_CODE, Leased, RunLost
from qdwell.errors import ProgramError, QdwellError
from qdwell.executors import Executor, Spec, mock
from qdwell.programs import Caches, Limits, Work

QISKIT_VERSION = version("qiskit")
_FACTS = tuple(it.name for it in fields(programs.Facts) if it.name != "notes")
_DEVICES_MOST = 16  # devices that a classical worker keeps


@dataclass(slots=True)
class Bench:
    """A worker's belongings: its devices, and what it keeps of groups."""

    channel: Channel
    devices: dict[str, Executor] = field(default_factory=dict)
    told: dict[str, Executor] = field(default_factory=dict)  #: stand-ins, by backend
    caches: Caches = field(default_factory=Caches)
    leased: Leased | None = None  #: the present job's hold on a device that can stop runs

    def device(self, spec: Mapping[str, Any]) -> Executor:
        """The executor of a backend, made on first use; a stand-in where we were told of one."""
        name = str(spec["name"])
        if name in self.told:
            return self.told[name]
        if name not in self.devices:
            if len(self.devices) >= _DEVICES_MOST:
                self.devices.pop(next(iter(self.devices)))
            self.devices[name] = executors.make(Spec(**spec))
        return self.devices[name]

    def tell(self, name: str, kind: str, known: bytes) -> None:
        """Take in what another process knows of a device that only one process may open."""
        stand_in = mock.StandIn(name, *pickle.loads(known))  # noqa: S301 - a device's own
        self.told[name] = mock.Mock(name, stand_in) if kind == "mock" else stand_in


def serve(sock: socket.socket, role: Mapping[str, Any]) -> None:
    """Say what this worker holds, then work until the server is gone."""
    bench = Bench(Channel(sock))
    spec = role.get("spec")
    stoppable = False
    executor: Executor
    if spec is None:
        bench.channel.send({"op": "ready"})
    else:
        try:
            executor = bench.device(spec)
            _introduce(bench.channel, executor, str(spec["kind"]), role.get("describe", True))
        except QdwellError as error:
            bench.channel.send({"op": "broken", "why": str(error)})
            return
        stoppable = executor.outlives or not executor.repeatable
    receive = _in_thread(bench, executor) if stoppable else bench.channel.receive
    while (frame := receive()) is not None:
        if frame.op == "run":
            _run(bench, frame)
        elif frame.op == "device":
            bench.tell(str(frame.head["name"]), str(frame.head["kind"]), frame.parts[0])
        elif frame.op == "picture":
            _draw(bench, frame)
        elif frame.op == "cancel":
            _cancel(bench, executor, frame)
        elif frame.op == "forget":
            bench.caches.drop(str(frame.head["group"]))
        elif frame.op == "ping":
            bench.channel.send({"op": "pong"})


def _draw(bench: Bench, frame: Frame) -> None:
    """Tell what there is to see of a job."""
    from qdwell.programs.picture import described

    params, result = frame.parts
    try:
        with sandbox.opening():
            told = described(
                frame.head["program"], params, result if frame.head["has_result"] else None
            )
    except Exception:  # whatever the bytes led to: there is no picture, and the worker lives on
        traceback.print_exc()
        bench.channel.send({"op": "failed"})
    else:
        bench.channel.send({"op": "done"}, [told])


def _introduce(channel: Channel, executor: Executor, kind: str, describe: bool) -> None:
    if not describe:  # a replacement: the server knows the device already
        channel.send({"op": "ready", **_nature(executor)})
        return
    said = executors.describe(executor)
    entry = {
        "basis_gates": list(said.basis_gates),
        "processor_type": said.processor_type,
        "qubits": said.qubits,
    }
    channel.send(
        {
            "op": "ready",
            **_nature(executor),
            "qubits": said.qubits,
            "version": said.backend_version,
            "entry": entry,
        },
        [
            said.configuration,
            said.properties,
            *([pickles.closed(mock.shown(executor))] * (kind == "qiskit")),
        ],
    )


def _nature(executor: Executor) -> dict[str, bool]:
    return {"repeatable": executor.repeatable, "outlives": executor.outlives}


def _cancel(bench: Bench, executor: Executor, frame: Frame) -> None:
    """Stop runs that an earlier process has begun."""
    for handle in frame.head["runs"]:
        try:
            executor.stop(str(handle))
        except Exception:  # a provider raises classes of its own; the next handle is tried
            traceback.print_exc()
    bench.channel.send({"op": "done"})


def _in_thread(bench: Bench, executor: Executor) -> Callable[[], Frame | None]:
    """Read frames in a thread, so that a stop reaches the device while a run is under way.

    The thread makes the job's hold on the device, so that a stop right behind the job is not lost.
    """
    frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()

    def read() -> None:
        while (frame := bench.channel.receive()) is not None:
            if frame.op == "stop":
                if bench.leased is not None:
                    bench.leased.stop()
                continue
            if frame.op == "go":
                if bench.leased is not None:
                    bench.leased.go()
                continue
            if frame.op == "run":
                spent_ns = frame.head["spent_ms"] * 1_000_000
                bench.leased = Leased(executor, bench.channel, frame.head["runs"], spent_ns)
            frames.put(frame)
        frames.put(None)

    threading.Thread(target=read, name="frames", daemon=True).start()
    return frames.get


@dataclass(slots=True)
class Progress:
    """How far one job has come in this worker, for the answer."""

    stages: list[str]
    stage: str = ""
    facts: dict[str, Any] | None = None
    timings: dict[str, int] = field(default_factory=dict)
    log: list[list[str]] = field(default_factory=list)

    def head(self, op: str) -> dict[str, Any]:
        """The head of an answer."""
        return {"op": op, "facts": self.facts, "timings": self.timings, "log": self.log}


def _run(bench: Bench, frame: Frame) -> None:
    """Do the stages that the server asked for, and answer."""
    progress = Progress(list(frame.head["stages"]))
    sandbox.budget_cpu(frame.head.get("cpu_s"))
    try:
        _stages(bench, frame, progress)
    except ProgramError as error:
        head = {"stage": progress.stage, "code": error.code, "reason": error.reason}
        bench.channel.send({**progress.head("failed"), **head, "solution": error.solution})
    except RunLost as error:
        log = [["WARNING", f"the device does not know run {error}"]]
        bench.channel.send({"op": "failed", "stage": "execute", "lost": True, "log": log})
    except OSError:
        raise  # the server is gone
    except (
        Exception
    ) as error:  # a fault of a program, of Qiskit, or of Aer: the job's end, not ours
        traceback.print_exc()
        reason = f"The {progress.stage} stage failed: {type(error).__name__}: {error}"
        if isinstance(error, MemoryError):
            reason = f"The {progress.stage} stage needs more memory than a worker may use."
        head = {"stage": progress.stage, "code": FAILED_CODE, "reason": reason, "system": True}
        solution = "Try again; if it fails again, ask the operator with the job's id."
        bench.channel.send({**progress.head("failed"), **head, "solution": solution})


def _stages(bench: Bench, frame: Frame, progress: Progress) -> None:
    head, content = frame.head, frame.parts[0]
    cache = bench.caches.of(head["group"])
    hits, misses = cache.hits, cache.misses
    value: Any = content
    extra: list[bytes] = []
    for stage in progress.stages:
        progress.stage = stage
        began = stopwatch_ns()
        if stage == "prepare":
            limits = Limits(int(head["executions_max"]), int(head["qpy_version_min"]))
            work = Work(head["job"], head["program"], content, limits)
            device = bench.device(head["backend"])
            with sandbox.opening():
                value, facts = programs.prepare(work, device, cache)
            progress.facts = _shown(facts)
            progress.log += [["WARNING", note] for note in facts.notes]
        elif stage == "execute":
            value, on_device = _execute(bench, frame, pickles.opened(value))
            progress.timings["device"] = on_device
            if value.facts is not None:
                progress.facts = _shown(value.facts)
        else:
            finished = programs.postprocess(pickles.opened(value))
            value, extra = finished.result, list(finished.interim)
        took = stopwatch_ns() - began
        progress.timings[stage] = took
        progress.log.append(["INFO", f"{stage}: {took / 1e6:.1f} ms"])
        if stage == "execute":
            progress.log[-1][1] += f", on the device {progress.timings['device'] / 1e6:.1f} ms"
        if stage == "prepare" and len(progress.stages) > 1:
            bound = head.get("hand_back_ms")
            if bound is not None and took > bound * 1_000_000:
                break
            bench.channel.send(progress.head("prepared"))
            progress.log.clear()
    answer = progress.head("done")
    answer["last"] = progress.stage
    answer["cache"] = [cache.hits - hits, cache.misses - misses]
    closed = value if isinstance(value, bytes) else pickles.closed(value)
    bench.channel.send(answer, [closed, *extra])


def _shown(facts: programs.Facts) -> dict[str, Any]:
    return {**{name: getattr(facts, name) for name in _FACTS}, "qiskit_version": QISKIT_VERSION}


def _execute(bench: Bench, frame: Frame, prepared: programs.Prepared) -> tuple[programs.Raw, int]:
    """Run, and tell how many nanoseconds the device was at work."""
    executor = bench.device(frame.head["backend"])
    device = bench.leased or Leased(executor)
    lease = executor.acquire()
    try:
        raw = programs.execute(
            prepared, device, lambda text: bench.channel.send({"op": "interim"}, [text])
        )
        return raw, device.ns
    finally:
        with contextlib.suppress(OSError):
            executor.release(lease)
