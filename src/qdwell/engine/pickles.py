"""What a stage hands on to the next one, in another worker: a pickle, opened with care.

It passes through the server as bytes, unopened, and is only opened in another worker, which reads
users' data just the same, and only with the types that programs make: a worker that was taken over
shall not take over the process of a lab's device.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

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


def closed(value: Any) -> bytes:
    """What a stage made, for another worker."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def opened(value: Any) -> Any:
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
