"""The backends of a server: found by name, by what they have, or by how busy they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qiskit.providers.exceptions import QiskitBackendNotFoundError

from qdwell.client import driving
from qdwell.client.backend import Backend, read_backend
from qdwell.client.errors import RequestsApiError
from qdwell.client.transport import Request

if TYPE_CHECKING:
    from qdwell.client.link import Link
    from qdwell.client.service import QiskitRuntimeService

Filter = Callable[[Backend], bool]


class Catalog:
    """The part of a service that knows its backends. What was read is kept until `refresh`."""

    link: Link

    def __init__(self) -> None:
        self._backends: dict[str, Backend] = {}
        self._simulators: dict[str, bool] = {}

    def _as_service(self) -> QiskitRuntimeService:
        raise NotImplementedError

    def backends(
        self,
        name: str | None = None,
        min_num_qubits: int | None = None,
        filters: Filter | None = None,
        *,
        simulator: bool | None = None,
        operational: bool | None = None,
        dynamic_circuits: bool | None = None,
    ) -> list[Backend]:
        """The backends that match.

        Args:
            name: only this one.
            min_num_qubits: only those with so many qubits or more.
            filters: called with each backend; only those for which it is true.
            simulator: only simulators, or only machines.
            operational: only those that take work, or only those that do not.
            dynamic_circuits: only those that run circuits with control flow, or only the others.
        """
        entries = self._matching(name, min_num_qubits, simulator, operational)
        found = [self.backend(entry["name"]) for entry in entries]
        return [it for it in found if _wanted(it, filters, dynamic_circuits)]

    def backend(self, name: str | None = None) -> Backend:
        """The backend of this name; without one, the least busy.

        Raises:
            QiskitBackendNotFoundError: there is none.
        """
        if name is None:
            return self.least_busy()
        if name not in self._backends:
            try:
                made = driving.run(read_backend(self._as_service(), name), self.link)
            except RequestsApiError as error:
                if error.status_code != 404:
                    raise
                raise QiskitBackendNotFoundError(
                    f"There is no backend {name!r}; service.backends() lists them."
                ) from error
            self._backends[name] = made
        return self._backends[name]

    def least_busy(
        self,
        min_num_qubits: int | None = None,
        filters: Filter | None = None,
        *,
        simulator: bool | None = None,
        operational: bool | None = True,
        dynamic_circuits: bool | None = None,
    ) -> Backend:
        """The backend with the shortest queue: a machine, and a simulator only if there is none.

        Raises:
            QiskitBackendNotFoundError: none matches.
        """
        entries = self._matching(None, min_num_qubits, simulator, operational)
        # A simulator has no queue and would always win (J11).
        order = sorted(entries, key=lambda it: (bool(it["is_simulator"]), int(it["queue_length"])))
        for entry in order:
            candidate = self.backend(entry["name"])
            if _wanted(candidate, filters, dynamic_circuits):
                return candidate
        raise QiskitBackendNotFoundError("No backend matches.")

    def is_simulator(self, name: str) -> bool:
        """Whether a backend is a simulator.

        Raises:
            QiskitBackendNotFoundError: there is no such backend.
        """
        if name not in self._simulators:
            entries = self._devices()
            self._simulators = {it["name"]: bool(it["is_simulator"]) for it in entries}
        if name not in self._simulators:
            raise QiskitBackendNotFoundError(
                f"There is no backend {name!r}; service.backends() lists them."
            )
        return self._simulators[name]

    def refresh(self) -> None:
        """Read the backends anew when they are asked for next."""
        self._backends.clear()
        self._simulators.clear()

    def _matching(
        self,
        name: str | None,
        min_num_qubits: int | None,
        simulator: bool | None,
        operational: bool | None,
    ) -> list[dict[str, Any]]:
        return [
            it
            for it in self._devices()
            if (name is None or it["name"] == name)
            and it["qubits"] >= (min_num_qubits or 0)
            and simulator in (None, bool(it["is_simulator"]))
            and operational in (None, it["status"]["name"] == "online")
        ]

    def _devices(self) -> list[dict[str, Any]]:
        devices: list[dict[str, Any]] = self.link.send(Request("GET", "/backends")).json()[
            "devices"
        ]
        return devices


def _wanted(backend: Backend, filters: Filter | None, dynamic_circuits: bool | None) -> bool:
    dynamic = "dynamic_circuits" in backend.configuration().supported_features
    return dynamic_circuits in (None, dynamic) and (filters is None or filters(backend))
