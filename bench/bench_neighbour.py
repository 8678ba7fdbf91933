"""A noisy neighbour: one instance sends as fast as it can; what does another user's session notice?

The neighbour has sixteen connections that ask again as soon as they are answered: submissions to
the same machine and to a simulator, polls and long lists, bodies of 5 MB, and bad requests. The
user takes steps of a VQE in an active session, alone and beside them, in one run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench._crowd import crowd
from bench._lib import interleaved, print_ratio
from bench._server import server, stock_service
from bench._work import BELL_SHOTS, SHOTS, bell, vqe
from bench.bench_load import request_bytes, sampler_body
from bench.bench_peers import Http

MACHINE, SIMULATOR = "ideal_machine", "aer_simulator"
CONFIG = (
    f'[[backends]]\nname = "{MACHINE}"\nkind = "ideal"\n'
    f'[[backends]]\nname = "{SIMULATOR}"\nkind = "aer"\n'
    "[plans.default]\nsession_interactive_ttl_seconds = 3600\n"
)
CONNECTIONS = 4  # of each kind
BIG_BYTES = 5_000_000
SAMPLES = 60
LIMIT = 2.0


def run() -> bool:
    """Print the ratios; return if their target is met."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with server(CONFIG) as settings:
        met = []
        for name, step in _steps(settings).items():
            noise = _noise(_neighbour(settings, name))
            url = urlsplit(settings["QISKIT_IBM_URL"])
            idle = interleaved({f"{name}, alone": step}, samples=SAMPLES, warm=5)
            with crowd(str(url.hostname), int(url.port or 80), askers=noise) as seen:
                busy = interleaved({f"{name}, beside the neighbour": step}, samples=SAMPLES, warm=5)
            print(f"  the neighbour was answered {seen['per_s']:.0f} times a second")
            title = f"Noisy neighbour: {name} beside one that sends as fast as it can / alone"
            met.append(print_ratio(title, *busy.values(), *idle.values(), LIMIT))
    return all(met)


def _steps(settings: dict[str, str]) -> dict[str, Any]:
    from qiskit_ibm_runtime import SamplerV2 as StockSampler
    from qiskit_ibm_runtime import Session as StockSession

    from qdwell import EstimatorV2, QiskitRuntimeService, Session

    service = QiskitRuntimeService(
        url=settings["QISKIT_IBM_URL"],
        token=settings["QISKIT_IBM_TOKEN"],
        instance=settings["QISKIT_IBM_INSTANCE"],
    )
    backend = service.backend(MACHINE)
    session = Session(backend=backend)
    estimator = EstimatorV2(mode=session, options={"default_shots": SHOTS})
    pub = vqe(4, backend)
    stock_backend = stock_service(settings).backend(MACHINE)  # type: ignore[attr-defined]
    stock: list[Any] = []

    def stock_step() -> None:
        if not stock:  # one session is active at a time, so the first one ends before
            session.close()
            stock.append(StockSampler(mode=StockSession(backend=stock_backend)))
        stock[0].run([bell_pub], shots=BELL_SHOTS).result()

    bell_pub = bell(backend)
    return {
        "VQE-4, our client": lambda: estimator.run([pub]).result(),
        "Bell, stock client": stock_step,
    }


def _neighbour(settings: dict[str, str], name: str) -> dict[str, str]:
    """A new account, with what it needs to sign in."""
    command = [sys.executable, "-m", "qdwell", "account", "create", f"noisy-{len(name)}"]
    done = subprocess.run(
        [*command, "--data-dir", str(Path(settings["DATA"]))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [it.removeprefix("export ") for it in done.stdout.splitlines() if it[:1] != "#"]
    return {key: value.strip("'") for key, _, value in (it.partition("=") for it in lines)}


def _noise(noisy: dict[str, str]) -> list[list[bytes]]:
    """The requests of each connection."""
    call = Http(noisy)
    small = sampler_body(MACHINE)
    job = json.loads(call("POST", "/jobs", small))["id"]
    big = json.dumps(
        {"program_id": "sampler", "params": {"pubs": [["A" * BIG_BYTES]]}, "tags": ["x"] * 9}
    ).encode()

    def ask(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
        return request_bytes(method, noisy, path, body, headers)

    submissions = [ask("POST", "/jobs", small), ask("POST", "/jobs", sampler_body(SIMULATOR))]
    polls = [ask("GET", f"/jobs/{job}"), ask("GET", "/jobs?limit=200"), ask("GET", "/usage")]
    bad = [
        ask("POST", "/jobs", b'{"program_id": '),
        ask("GET", "/jobs/nothing"),
        ask("GET", "/jobs", Authorization="Bearer nonsense"),
        ask("POST", "/sessions", b"[" * 1000),
    ]
    kinds = (submissions, polls, [ask("POST", "/jobs", big)], bad)
    return [kind for kind in kinds for _ in range(CONNECTIONS)]
