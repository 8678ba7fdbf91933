"""What runs inside a worker: one loop, one frame at a time.

A worker either holds a backend's device, or does classical stages for all. Between the stages of a
job that moves from worker to worker, what is handed on is a pickle; it passes through the server as
bytes, unopened, and is only opened in another worker, which reads users' data just the same, and
only with the types that programs make (`_Known`): a worker that was taken over shall not take over
the process of a lab's device.

A real device must be able to stop a run, so its worker reads frames in a thread of their own.
Others are simply killed, and then need no second thread.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import queue
import socket
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from qdwell import executors, programs
from qdwell.clock import stopwatch_ns
from qdwell.engine import sandbox
from qdwell.engine.frames import Channel, Frame
from qdwell.errors import ProgramError, QdwellError
from qdwell.executors import Executor, RunStatus, Spec, mock
from qdwell.programs import Caches, Limits, Work
from qdwell.wire.device import Batch, Outcome

QISKIT_VERSION = version("qiskit")
_ROOTS = frozenset(
    {"ibm_quantum_schemas", "numpy", "qdwell", "qiskit", "qiskit_aer", "qiskit_ibm_runtime"}
    | {"qiskit_mitigation", "qiskit_noise_learning", "rustworkx", "samplomatic"}
)
_SAFE = {
    "builtins": frozenset(
        {"bytearray", "complex", "frozenset", "list", "object", "range", "set", "slice", "tuple"}
    ),
    "collections": frozenset({"Counter", "OrderedDict", "defaultdict", "deque"}),
    "copyreg": frozenset({"_reconstructor"}),
    "datetime": frozenset({"datetime", "timedelta", "timezone"}),
    "fractions": frozenset({"Fraction"}),
    "functools": frozenset({"partial"}),
    "types": frozenset({"MappingProxyType", "SimpleNamespace"}),
    "uuid": frozenset({"UUID", "SafeUUID"}),
}
_FAILED_CODE = 5203  # E28
_DEVICES_MOST = 16  # devices that a classical worker keeps


class RunLost(Exception):
    """The device does not know a run that an earlier process has begun."""


class Leased:
    """The device as a program sees it, with the token of the present run, so it can be stopped.

    On a device whose runs outlive this process it keeps the journal of them (`engine.adoption`):
    the first runs may have been begun by an earlier process, and are asked for by their handles.
    """

    def __init__(
        self, executor: Executor, channel: Channel | None = None, begun: Sequence[str] = ()
    ) -> None:
        self._executor = executor
        self._channel = channel if executor.outlives else None
        self._begun = begun
        self._n = 0
        self._may: queue.SimpleQueue[bool] = queue.SimpleQueue()  # begin the next run
        self._run: str | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self.ns = 0  #: time of the runs so far: what a job is charged (U1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def run(self, batch: Batch) -> Outcome:
        """Run a batch, unless the job was told to stop.

        Raises:
            RunLost: the run was begun by an earlier process, and the device does not know it.
            ProgramError: it failed or was stopped.
        """
        n, self._n = self._n, self._n + 1
        if self._channel is not None and 0 < n >= len(self._begun):
            self._channel.send({"op": "starting", "run": n})
            self._may.get()
        with self._lock:
            if self._stopped:
                raise ProgramError(_FAILED_CODE, "The run was stopped.")
            began = stopwatch_ns()
            self._run = self._started(n, batch)
        try:
            return self._executor.result(self._run)
        finally:
            self.ns += stopwatch_ns() - began
            with self._lock:
                self._run = None

    def _started(self, n: int, batch: Batch) -> str:
        if self._channel is None:
            return self._executor.start(batch)
        if n >= len(self._begun):
            handle = self._executor.start(batch)
            self._channel.send({"op": "started", "run": n, "handle": handle})
            return handle
        if self._executor.adopt(self._begun[n], batch) is RunStatus.UNKNOWN:
            raise RunLost(self._begun[n])
        if n == 0:
            self._channel.send({"op": "adopted"})
        return self._begun[n]

    def go(self) -> None:
        """The beginning of the next run is stored."""
        self._may.put(True)

    def stop(self) -> None:
        """Stop the present run, and begin no further one of this job."""
        with self._lock:
            self._stopped = True
            run = self._run
        self._may.put(False)
        if run is not None:
            self._executor.stop(run)


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
            *([_closed(mock.shown(executor))] * (kind == "qiskit")),
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
                bench.leased = Leased(executor, bench.channel, frame.head["runs"])
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
        head = {"stage": progress.stage, "code": _FAILED_CODE, "reason": reason, "system": True}
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
            value, facts = programs.prepare(work, bench.device(head["backend"]), cache)
            progress.facts = {**asdict(facts), "qiskit_version": QISKIT_VERSION}
        elif stage == "execute":
            value, on_device = _execute(bench, frame, _opened(value))
            progress.timings["device"] = on_device
            if value.facts is not None:
                progress.facts = {**asdict(value.facts), "qiskit_version": QISKIT_VERSION}
        else:
            finished = programs.postprocess(_opened(value))
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
    closed = value if isinstance(value, bytes) else _closed(value)
    bench.channel.send(answer, [closed, *extra])


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


def _closed(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def _opened(value: Any) -> Any:
    """What an earlier stage made: here already, or handed on by another worker as a pickle."""
    return _Known(io.BytesIO(value)).load() if isinstance(value, bytes) else value


def _member(owner: Any, name: str) -> Any:
    """A member of a class of theirs, which is how Qiskit's gates and bits are pickled."""
    known = isinstance(owner, type) and owner.__module__.partition(".")[0] in _ROOTS
    if not known or name.startswith("__"):
        raise pickle.UnpicklingError(f"{name} of {owner!r} is not for a worker to open")
    return getattr(owner, name)


class _Known(pickle.Unpickler):
    """Opens only what is made of the types that programs use."""

    def find_class(self, module: str, name: str) -> Any:
        """The class, if it is one of those."""
        if (module, name) == ("builtins", "getattr"):
            return _member
        root = module.partition(".")[0]
        if "." in name or not (root in _ROOTS or name in _SAFE.get(module, ())):
            raise pickle.UnpicklingError(f"{module}.{name} is not for a worker to open")
        return super().find_class(module, name)
