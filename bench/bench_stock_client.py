"""B3 and B4: what the stock client's users feel, inside a session.

B3: the same client against two servers in turns, one that holds the status request and one that
answers at once; without a seed, as most loops are. Beside them stands the client alone, against a
server that answers from memory: the least that any server can reach on this machine. B4: through
the server against the client's own local testing mode, on the same model of a 127-qubit device;
with the same seed both must count the same.
"""

from __future__ import annotations

import warnings
from typing import Any

from bench._lib import Samples, interleaved, print_ratio, print_samples
from bench._server import canned, server, stock_service
from bench._work import BELL_SHOTS, SHOTS, bell, seeded, vqe

MODEL = "fake_sherbrooke"
_ONE_MACHINE = '[[backends]]\nname = "ideal_machine"\nkind = "ideal"\n'
_ONE_MODEL = f'[[backends]]\nname = "{MODEL}"\nkind = "fake"\n'
_POLLED = "[server]\nstatus_hold_ms = 0\n"


def run() -> bool:
    """Print B3 and B4; return if their targets are met."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    return all([*_held_against_polled(), *_model_against_local()])


def _sampler_job(mode: Any, pub: Any, *, seed: bool = False) -> Any:
    from qiskit_ibm_runtime import SamplerV2

    sampler = SamplerV2(mode=mode)
    if seed:
        seeded(sampler)
    return lambda: sampler.run([pub], shots=BELL_SHOTS).result()


def _estimator_job(mode: Any, pub: Any, *, seed: bool = False) -> Any:
    from qiskit_ibm_runtime import EstimatorV2

    estimator = EstimatorV2(mode=mode)
    if seed:
        seeded(estimator)
    estimator.options.default_shots = SHOTS
    estimator.options.resilience_level = 0  # local testing mode has no other
    return lambda: estimator.run([pub]).result()


def _held_against_polled() -> list[bool]:
    from qiskit_ibm_runtime import Session

    met = []
    with (
        server(_ONE_MACHINE) as held,
        server(_POLLED + _ONE_MACHINE) as polled,
        server(_ONE_MACHINE) as behind,
    ):
        backends = [stock_service(each).backend("ideal_machine") for each in (held, polled)]
        for what, job, pub, limit in (
            ("Bell", _sampler_job, bell(backends[0]), 0.12),
            ("VQE-12", _estimator_job, vqe(12, backends[0]), 0.32),
        ):
            with canned(behind) as alone:
                there = stock_service(alone).backend("ideal_machine")
                sessions = [Session(backend=backend) for backend in (*backends, there)]
                names = ("held", "polled", "the client alone")
                ways = {n: job(each, pub) for n, each in zip(names, sessions, strict=True)}
                for _ in range(2):
                    times = interleaved(ways, samples=40, warm=1, block=10)
                    title = f"B3 stock client in a session, {what}: held / polled"
                    met.append(print_ratio(title, times["held"], times["polled"], limit))
                    _print_floor(times["the client alone"], times["polled"])
                for session in sessions:
                    session.close()
    return met


def _print_floor(alone: Samples, polled: Samples) -> None:
    """What B3 would be if the server took no time: polled is an interval of 100 ms beyond it."""
    print_samples(alone)
    print(f"  floor {alone.p50 / polled.p50:.4f}: what no server can go below on this machine")


def _model_against_local() -> list[bool]:
    from qiskit_ibm_runtime import Session
    from qiskit_ibm_runtime.fake_provider import FakeSherbrooke

    met, local = [], FakeSherbrooke()
    with server(_ONE_MODEL) as settings:
        backend = stock_service(settings).backend(MODEL)
        for what, job, pub, limit in (
            ("Bell", _sampler_job, bell(local), 0.015),
            ("VQE-4", _estimator_job, vqe(4, local), 0.035),
        ):
            session = Session(backend=backend)
            ways = {
                "server": job(session, pub, seed=True),
                "local mode": job(local, pub, seed=True),
            }
            met.append(_same(what, *(way() for way in ways.values())))
            for _ in range(2):
                times = interleaved(ways, warm=1, block=5)
                title = f"B4 {what} on a 127-qubit model: server / local testing mode"
                met.append(print_ratio(title, times["server"], times["local mode"], limit))
            session.close()
    return met


def _same(what: str, ours: Any, theirs: Any) -> bool:
    """Compare counts, or expectation values, of equal seeds."""
    one, other = ours[0].data, theirs[0].data
    if hasattr(one, "meas"):
        same = one.meas.get_counts() == other.meas.get_counts()
    else:
        same = bool(abs(one.evs - other.evs) < 1e-12)
    print(f"B4 {what}: same seed, {'same' if same else 'DIFFERENT'} results")
    return same
