"""Circuits that an instance has sent before, by content address.

Our own client sends a circuit whole once, and names it from then on. A name is looked up among the
circuits of the caller's own instance only: another instance's is answered like an unknown one, so
nobody learns what others run. What is kept is bounded, and lost in a restart; a client that is told
`unknown_circuit` sends the whole again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from qdwell.errors import BadInput, UnknownCircuit

KEPT_BYTES_MAX = 67_108_864
KEPT_FROM_CHARS = 600  # a shorter circuit is not much longer than its name
TAG = "CircuitHash"


class Circuits:
    """The encoded circuits of all instances, the least recently used go first."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._texts: OrderedDict[tuple[str, str], str] = OrderedDict()

    def resolve(self, instance: str, params: dict[str, Any]) -> None:
        """Put the circuits in place of their names.

        Raises:
            UnknownCircuit: one is not here for this instance.
        """
        for holder, place in _places(params):
            value = holder[place]
            if not isinstance(value, dict) or value.get("__type__") != TAG:
                continue
            name = value.get("__value__")
            if not isinstance(name, str):
                raise BadInput(f"A {TAG} is a text.", field="params")
            text = self._texts.get((instance, name))
            if text is None:
                raise UnknownCircuit(name[:64])
            self._texts.move_to_end((instance, name))
            holder[place] = {"__type__": "QuantumCircuit", "__value__": text}

    def keep(self, instance: str, params: dict[str, Any]) -> None:
        """Remember the circuits of a job that was accepted."""
        for holder, place in _places(params):
            value = holder[place]
            if not isinstance(value, dict) or value.get("__type__") != "QuantumCircuit":
                continue
            text = value.get("__value__")
            if isinstance(text, str) and KEPT_FROM_CHARS <= len(text) <= self._bytes_max // 8:
                self._put((instance, sha256(text.encode()).hexdigest()), text)

    def _put(self, key: tuple[str, str], text: str) -> None:
        if key not in self._texts:
            self._bytes += len(text)
        self._texts[key] = text
        self._texts.move_to_end(key)
        while self._bytes > self._bytes_max:
            self._bytes -= len(self._texts.popitem(last=False)[1])


def _places(params: dict[str, Any]) -> Iterator[tuple[list[Any], int]]:
    """Where a program's input has circuits: in the PUBs (V2), in the list of circuits (V1)."""
    pubs = params.get("pubs")
    for pub in pubs if isinstance(pubs, list) else ():
        if isinstance(pub, list) and pub:
            yield pub, 0
    circuits = params.get("circuits")
    if isinstance(circuits, list):
        for place in range(len(circuits)):
            yield circuits, place
