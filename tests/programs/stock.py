"""The stock client beside ours: its encoder on the way in, its decoder on the way out, and its
local testing mode for the samples to compare with.
"""

from __future__ import annotations

import copy
import json
import warnings
from functools import cache
from typing import Any

from qiskit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2
from qiskit_ibm_runtime.fake_provider.local_service import QiskitRuntimeLocalService
from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder

from qdwell.programs import Cache, Facts, Limits, Work, run_all
from qdwell.wire.device import Device


def params(program_id: str, pubs: list[Any], options: Any = None, **top: Any) -> dict[str, Any]:
    """The params that the stock client would send, as plain JSON values."""
    coerce = SamplerPub.coerce if program_id == "sampler" else EstimatorPub.coerce
    body = {
        "pubs": [coerce(pub) for pub in pubs],
        "options": options or {},
        "version": 2,
        "support_qiskit": True,
        **top,
    }
    plain: dict[str, Any] = json.loads(json.dumps(body, cls=RuntimeEncoder))
    return plain


def ours(
    program_id: str,
    pubs: list[Any],
    device: Device,
    options: Any = None,
    *,
    cache: Cache | None = None,
    limits: Limits | None = None,
    interim: list[bytes] | None = None,
    **top: Any,
) -> tuple[Any, Facts]:
    """Our result of the PUBs as the stock decoder reads it, and the facts."""
    raw = json.dumps(params(program_id, pubs, options, **top)).encode()
    facts, _, finished = run_all(
        Work("job", program_id, raw, limits or Limits()),
        device,
        cache or Cache(),
        None if interim is None else interim.append,
    )
    return json.loads(finished.result, cls=RuntimeDecoder), facts


def local(program_id: str, pubs: list[Any], backend: BackendV2, options: Any = None) -> Any:
    """The result of the stock client's local testing mode."""
    coerce = SamplerPub.coerce if program_id == "sampler" else EstimatorPub.coerce
    inputs = {"pubs": [coerce(pub) for pub in pubs], "options": options or {}}
    if isinstance(backend, FakeBackendV2):
        _keep_its_noise_model(backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job = QiskitRuntimeLocalService()._run(program_id, inputs, {"backend": backend}, None)
        return job.result()


@cache
def _keep_its_noise_model(backend: Any) -> None:
    """The mode copies the backend; each copy would build the noise model anew, which takes seconds.

    A copy still has options of its own; only the simulator with the model is the same.
    """
    backend._setup_sim()

    def twin(_memo: Any) -> Any:
        made = copy.copy(backend)
        made._options = copy.copy(backend._options)
        return made

    backend.__deepcopy__ = twin


def fitted_to(circuit: QuantumCircuit, backend: BackendV2) -> QuantumCircuit:
    """The circuit, transpiled for the backend as the client does it, always in the same way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        passes = generate_preset_pass_manager(
            backend=backend, optimization_level=1, seed_transpiler=7
        )
        made: QuantumCircuit = passes.run(circuit)
        return made
