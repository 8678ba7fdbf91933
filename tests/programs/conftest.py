"""Devices for tests of programs: each model once for the session, as a worker holds it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from qiskit.providers import BackendV2
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2, FakeSherbrooke, FakeTorino

from qdwell.executors import Executor, Spec, make

_MODELS = {
    "fake_manila": FakeManilaV2,
    "fake_sherbrooke": FakeSherbrooke,
    "fake_torino": FakeTorino,
    "aer_simulator": AerSimulator,
}
_KINDS = {"aer_simulator": "aer", "ideal_machine": "ideal"}


@cache
def _executor(name: str) -> Executor:
    return make(Spec(name, _KINDS.get(name, "fake")))


@cache
def _backend(name: str) -> BackendV2:
    return _MODELS[name]()


@pytest.fixture(scope="session")
def executor() -> Callable[[str], Executor]:
    """Our executor by the backend's name."""
    return _executor


@pytest.fixture(scope="session")
def backend() -> Callable[[str], BackendV2]:
    """The stock client's backend of the same name."""
    return _backend
