"""qdwell: a self-hosted quantum runtime.

The client's names are here; they are imported when they are first used, so that the server, which
is in the same package, never pays for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdwell.client.backend import Backend
    from qdwell.client.errors import (
        AccountNotFoundError,
        IBMApiError,
        IBMError,
        IBMInputValueError,
        IBMNotAuthorizedError,
        IBMRuntimeError,
        InvalidAccountError,
        QiskitBackendNotFoundError,
        RequestsApiError,
        RuntimeInvalidStateError,
        RuntimeJobFailureError,
        RuntimeJobMaxTimeoutError,
        RuntimeJobNotFound,
        RuntimeJobTimeoutError,
        RuntimeProgramNotFound,
        ServerUnreachable,
    )
    from qdwell.client.job import RuntimeJob
    from qdwell.client.options import Options, RuntimeOptions
    from qdwell.client.primitives import EstimatorV2, SamplerV2
    from qdwell.client.primitives_v1 import Estimator, Sampler
    from qdwell.client.service import QiskitRuntimeService
    from qdwell.client.session import Batch, Session

__all__ = [
    "AccountNotFoundError",
    "Backend",
    "Batch",
    "Estimator",
    "EstimatorV2",
    "IBMApiError",
    "IBMError",
    "IBMInputValueError",
    "IBMNotAuthorizedError",
    "IBMRuntimeError",
    "InvalidAccountError",
    "Options",
    "QiskitBackendNotFoundError",
    "QiskitRuntimeService",
    "RequestsApiError",
    "RuntimeInvalidStateError",
    "RuntimeJob",
    "RuntimeJobFailureError",
    "RuntimeJobMaxTimeoutError",
    "RuntimeJobNotFound",
    "RuntimeJobTimeoutError",
    "RuntimeOptions",
    "RuntimeProgramNotFound",
    "Sampler",
    "SamplerV2",
    "ServerUnreachable",
    "Session",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "Backend": "backend",
    "Batch": "session",
    "Estimator": "primitives_v1",
    "EstimatorV2": "primitives",
    "Options": "options",
    "QiskitRuntimeService": "service",
    "RuntimeJob": "job",
    "RuntimeOptions": "options",
    "Sampler": "primitives_v1",
    "SamplerV2": "primitives",
    "Session": "session",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'qdwell' has no attribute {name!r}")
    home = importlib.import_module(f"qdwell.client.{_HOMES.get(name, 'errors')}")
    value: object = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
