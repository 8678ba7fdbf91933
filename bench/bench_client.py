"""B1, B2, B10, and our client beside the stock one: what a user of `import qdwell` feels.

B1 and B2: an iteration in a session on a server, from `run` to the decoded result, against Qiskit's
own primitive in process on the same simulator, with the same circuit and shots. B10: imports, each
in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

from bench._lib import Samples, interleaved, print_ratio
from bench._server import server, stock_service
from bench._work import BELL_SHOTS, SHOTS, bell, seeded, vqe

MACHINE = "ideal_machine"
_ONE_MACHINE = f'[[backends]]\nname = "{MACHINE}"\nkind = "ideal"\n'
_CLIENT = "from qdwell import QiskitRuntimeService, SamplerV2, EstimatorV2, Session, Estimator"
_PRIMITIVES = "import qiskit.primitives, http.client"
_STOCK = "import qiskit_ibm_runtime"


def run() -> bool:
    """Print the ratios; return if their targets are met."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    return all([*_iterations(), *_imports(), _second_submission()])


def _iterations() -> list[bool]:
    from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
    from qiskit_aer import AerSimulator

    from qdwell import EstimatorV2, QiskitRuntimeService, SamplerV2, Session

    met = []
    with server(_ONE_MACHINE) as settings:
        service = QiskitRuntimeService(
            url=settings["QISKIT_IBM_URL"],
            token=settings["QISKIT_IBM_TOKEN"],
            instance=settings["QISKIT_IBM_INSTANCE"],
        )
        backend = service.backend(MACHINE)
        near_sampler = BackendSamplerV2(backend=AerSimulator())
        near_estimator = BackendEstimatorV2(backend=AerSimulator())
        with service, Session(backend=backend) as session:
            estimator = EstimatorV2(mode=session, options={"default_shots": SHOTS})
            for what, limit in (("VQE-12", 1.10), ("VQE-4", 1.0)):
                pub = vqe(int(what[4:]), backend)
                met += _twice(
                    f"B1 {what} in a session, our client / in process",
                    lambda pub=pub: estimator.run([pub]).result(),
                    lambda pub=pub: near_estimator.run([pub], precision=SHOTS**-0.5).result(),
                    limit,
                )
            pub = bell(backend)
            sampler = SamplerV2(mode=session)
            ours = lambda: sampler.run([pub], shots=BELL_SHOTS).result()  # noqa: E731
            met += _twice(
                "B2 Bell in a session, our client / in process",
                ours,
                lambda: near_sampler.run([pub], shots=BELL_SHOTS).result(),
                2.2,
            )
        met += _beside_stock(settings, backend, pub)
    return met


def _beside_stock(settings: dict[str, str], backend: Any, pub: Any) -> list[bool]:
    from qiskit_ibm_runtime import SamplerV2 as StockSampler
    from qiskit_ibm_runtime import Session as StockSession

    from qdwell import SamplerV2, Session

    stock = StockSession(backend=stock_service(settings).backend(MACHINE))
    stock_sampler = seeded(StockSampler(mode=stock))
    stock_sampler.run([pub], shots=BELL_SHOTS).result()
    times: dict[str, Samples] = {}
    met = []
    for _ in range(2):
        # One machine, one session at a time: so they take turns of a whole round each.
        times["stock client"] = interleaved({"stock client": _job(stock_sampler, pub)})[
            "stock client"
        ]
        stock.close()
        with Session(backend=backend) as session:
            sampler = SamplerV2(mode=session)
            times["our client"] = interleaved({"our client": _job(sampler, pub)})["our client"]
        title = "Bell iteration, stock client / our client, same server"
        met.append(
            print_ratio(title, times["stock client"], times["our client"], 1.5, at_least=True)
        )
        stock = StockSession(backend=stock_service(settings).backend(MACHINE))
        stock_sampler = seeded(StockSampler(mode=stock))
    stock.close()
    return met


def _job(sampler: Any, pub: Any) -> Callable[[], object]:
    return lambda: sampler.run([pub], shots=BELL_SHOTS).result()


def _twice(
    title: str, ours: Callable[[], object], near: Callable[[], object], limit: float
) -> list[bool]:
    met = []
    for _ in range(2):
        # A loop's steps follow each other. In turns one by one, the threads of Aer in this process,
        # which spin for milliseconds after a run, would take one of our two cores from the server.
        times = interleaved({"our client": ours, "in process": near}, samples=40, block=10)
        met.append(print_ratio(title, times["our client"], times["in process"], limit))
    return met


def _imports() -> list[bool]:
    ways = {
        what: lambda what=what: subprocess.run([sys.executable, "-c", what], check=True)
        for what in (_CLIENT, _PRIMITIVES, _STOCK, "pass")
    }
    met = []
    for _ in range(2):
        times = interleaved(ways, samples=20, warm=1)
        bare = times["pass"]
        net = {what: _less(times[what], bare) for what in ways}
        met.append(print_ratio("B10 import: ours / stock client", net[_CLIENT], net[_STOCK], 0.4))
        title = "import: ours / Qiskit's primitives and the HTTP library"
        met.append(print_ratio(title, net[_CLIENT], net[_PRIMITIVES], 1.15))
    return met


def _less(samples: Samples, bare: Samples) -> Samples:
    """What an import takes beyond the start of Python itself."""
    return Samples(samples.name, tuple(each - bare.p50 for each in samples.times_ms))


def _second_submission() -> bool:
    """Bytes of the second submission of a circuit whose text is 100 kB."""
    from qiskit.circuit.random import random_circuit

    from qdwell.client.submission import Sent, Submission, _encoded
    from qdwell.client.values import circuit_text

    circuit = random_circuit(20, 1200, seed=1)
    sent = Sent()
    new = Submission("sampler", {"pubs": [[circuit, None, 100]], "version": 2}, MACHINE)
    first, names = _encoded(new, sent)
    for name in names:
        sent.add(name)
    second, _ = _encoded(new, sent)
    print(f"a circuit of {len(circuit_text(circuit))} bytes: sent {len(first)}, then {len(second)}")
    return len(second) < 2_000
