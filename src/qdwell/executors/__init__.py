"""Devices: each executor holds one. `make` builds the executor that a backend's config row names.

aer       the ideal simulator; takes any circuit; no queue, no sessions
ideal     a 27-qubit machine without noise
fake      the model of a real device, by name
qiskit    any `BackendV2`, by import path
scripted  durations and faults from a seed, for tests
"""

from qdwell.executors.base import Executor, RunStatus, Spec
from qdwell.executors.make import Description, describe, make

__all__ = ["Description", "Executor", "RunStatus", "Spec", "describe", "make"]
