"""Models of real devices, by name: the snapshots that come with the stock client.

Importing this loads the client, which takes longer than all the rest; a process that others are
forked from should load it once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from qiskit_ibm_runtime import fake_provider
from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

from qdwell.errors import ConfigError
from qdwell.executors.aer import AerExecutor
from qdwell.executors.configuration import features
from qdwell.executors.noise import CutNoise
from qdwell.wire.device import Timing


def device_model(name: str, model: str) -> AerExecutor:
    """The model of a real device that `qiskit_ibm_runtime.fake_provider` holds under `model`.

    Raises:
        ConfigError: there is no such model.
    """
    backend = _fake_class(model)()
    target = backend.target
    configuration, properties = _snapshot(backend, name)
    told = configuration.get("supported_features") or ()
    configuration["supported_features"] = sorted({*told, *features(target.operation_names)})
    noise = CutNoise(backend.properties(), backend.configuration().basis_gates, backend.dt)
    version = str(configuration.get("backend_version", "1"))
    timing = _timing(configuration)
    return AerExecutor(name, target, noise, (configuration, properties), version, timing)


def _timing(configuration: dict[str, Any]) -> Timing:
    """The pauses between shots that the snapshot tells, in microseconds."""
    default, span = configuration.get("default_rep_delay"), configuration.get("rep_delay_range")
    return Timing(
        rep_delay_us=Timing().rep_delay_us if default is None else float(default),
        rep_delay_range_us=None if not span else (float(span[0]), float(span[1])),
    )


def _fake_class(model: str) -> type[FakeBackendV2]:
    classes = (it for it in vars(fake_provider).values() if isinstance(it, type))
    models = (it for it in classes if issubclass(it, FakeBackendV2))
    known = {it.backend_name: it for it in models if hasattr(it, "backend_name")}
    if model not in known:
        raise ConfigError(
            "backends.target", f"no device model {model!r}; known: {', '.join(sorted(known))}"
        )
    return known[model]


def _snapshot(backend: FakeBackendV2, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The snapshot's two files: they are in the form in which the service sends them."""
    folder = Path(backend.dirname)
    # A third of the time of making a large model would go into these two with the plain `json`.
    configuration = orjson.loads((folder / backend.conf_filename).read_bytes())
    properties = orjson.loads((folder / backend.props_filename).read_bytes())
    configuration |= {"backend_name": name, "simulator": False, "local": False}
    properties["backend_name"] = name
    return configuration, properties
