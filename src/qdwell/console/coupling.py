"""A machine as a picture: its qubits where their connections put them, coloured by their errors.

Theory. No machine tells where its qubits lie. Stress majorization finds places whose distances on
the plane are close to the distances along connections: it starts from classical scaling (the two
largest eigenvectors of the distances) and then moves every qubit to the mean of where its
neighbours want it. Grids and heavy hexagons come out flat, as they are built. The picture is turned
so that its long side lies across the page. It costs a fraction of a second for some hundred
qubits, once for each description of the machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from markupsafe import Markup
from numpy.typing import NDArray

from qdwell.console import svg

QUBITS_MAX = 400
_ROUNDS = 120
_STEP = 44.0  # pixels between neighbours

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of qubits and connections; absent where it is not."""

    date: str | None
    qubits: dict[int, dict[str, float]]  #: T1, T2 in µs, readout_error, ...
    pairs: dict[tuple[int, int], tuple[str, float]]  #: smallest error of a two-qubit gate, its name


def read_calibration(properties: bytes | None) -> Calibration:
    """The numbers of a backend's properties that the picture and the tables show."""
    document = orjson.loads(properties or b"{}")
    qubits: dict[int, dict[str, float]] = {}
    for number, entries in enumerate(document.get("qubits", [])):
        known = {it["name"]: float(it["value"]) for it in entries if "value" in it}
        for entry in entries:
            if entry.get("name") in ("T1", "T2"):
                scale = {"s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}
                known[entry["name"]] *= scale.get(entry.get("unit", "us"), 1.0)
        qubits[number] = known
    pairs: dict[tuple[int, int], tuple[str, float]] = {}
    for gate in document.get("gates", []):
        on = gate.get("qubits", [])
        errors = [it["value"] for it in gate.get("parameters", []) if it["name"] == "gate_error"]
        if len(on) == 2 and errors:
            pair = (min(on), max(on))
            known_pair = pairs.get(pair)
            if known_pair is None or errors[0] < known_pair[1]:
                pairs[pair] = (str(gate.get("gate", "")), float(errors[0]))
    return Calibration(document.get("last_update_date"), qubits, pairs)


def edges_of(configuration: bytes) -> tuple[int, list[tuple[int, int]]]:
    """How many qubits there are, and which are connected; no pairs if all are."""
    document = orjson.loads(configuration)
    count = int(document.get("n_qubits", 0))
    pairs = {(min(pair), max(pair)) for pair in document.get("coupling_map") or []}
    return count, sorted(pairs)


def draw(name: str, configuration: bytes, calibration: Calibration) -> Markup | None:
    """The picture; None if there is nothing to draw: no connections, all of them, or too many."""
    count, edges = edges_of(configuration)
    complete = count > 4 and len(edges) >= count * (count - 1) // 2
    if not edges or complete or count > QUBITS_MAX:
        return None
    places = layout(count, edges)
    places -= places.min(axis=0)
    places = places * _STEP + 30
    width, height = places.max(axis=0) + 30
    readout = {at: it.get("readout_error") for at, it in calibration.qubits.items()}
    ranks = _ranks([it for it in readout.values() if it is not None])
    pair_ranks = _ranks([error for _, error in calibration.pairs.values()])
    parts = []
    for a, b in edges:
        (x1, y1), (x2, y2) = places[a], places[b]
        gate = calibration.pairs.get((a, b))
        level = "none" if gate is None else str(pair_ranks(gate[1]))
        said = f"{a}–{b}" + (f": {gate[0]} error {gate[1]:.2e}" if gate else "")
        parts.append(
            svg.tag(
                "line", svg.tag("title", said), x1=float(x1), y1=float(y1), x2=float(x2),
                y2=float(y2), class_=f"edge level-{level}",
            )
        )  # fmt: skip
    for at in range(count):
        x, y = float(places[at][0]), float(places[at][1])
        error = readout.get(at)
        level = "none" if error is None else str(ranks(error))
        said = svg.tag("title", _said(at, calibration))
        dot = svg.tag("circle", said, cx=x, cy=y, r=13.0, class_=f"qubit level-{level}")
        parts += [dot, svg.label(x, y + 4, str(at), "qubit-text", "middle")]
    title = f"{name}: {count} qubits and their {len(edges)} connections, coloured by error"
    return svg.picture(float(width), float(height), title, *parts, class_="coupling")


def _said(qubit: int, calibration: Calibration) -> str:
    known = calibration.qubits.get(qubit, {})
    parts = [f"qubit {qubit}"]
    parts += [f"{name} {known[name]:.0f} µs" for name in ("T1", "T2") if name in known]
    if "readout_error" in known:
        parts.append(f"readout error {known['readout_error']:.2e}")
    return ", ".join(parts)


def _ranks(values: list[float]) -> Any:
    """The fifth of all values that a value is in, 0 the best."""
    ordered = sorted(values)

    def rank(value: float) -> int:
        at = int(np.searchsorted(ordered, value))
        return min(4, 5 * at // max(1, len(ordered)))

    return rank


def layout(count: int, edges: list[tuple[int, int]]) -> Floats:
    """Places of shape (count, 2) in units of one connection; see the head of this file."""
    distances = _distances(count, edges)
    places = _scaled(distances)
    weights = np.zeros_like(distances)
    np.divide(1.0, distances**2, out=weights, where=distances > 0)
    totals = weights.sum(axis=1)
    for _ in range(_ROUNDS):
        between = places[:, None, :] - places[None, :, :]
        apart = np.sqrt((between**2).sum(axis=2))
        pull = np.zeros_like(distances)
        np.divide(weights * distances, apart, out=pull, where=apart > 1e-9)
        moved = (weights @ places) + (pull[:, :, None] * between).sum(axis=1)
        places = moved / totals[:, None]
    return _turned(places)


def _distances(count: int, edges: list[tuple[int, int]]) -> Floats:
    """How many connections lie between each two qubits; parts without a way stand side by side."""
    far = math.sqrt(count) + 2
    near: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    found = np.full((count, count), far)
    for start in range(count):
        found[start, start] = 0
        ring, seen, distance = [start], {start}, 0
        while ring:
            distance += 1
            ring = list(dict.fromkeys(it for at in ring for it in near[at] if it not in seen))
            seen.update(ring)
            found[start, ring] = distance
    return found


def _scaled(distances: Floats) -> Floats:
    """Classical scaling: the plane that shows the distances best, as a place to start."""
    count = len(distances)
    centre = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-0.5 * centre @ (distances**2) @ centre)
    best: Floats = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 1e-9))
    # A line of qubits has no second direction: a slight bow keeps them apart.
    best += 1e-3 * np.sin(np.arange(count))[:, None]
    return best


def _turned(places: Floats) -> Floats:
    """Turned so that the long side lies across the page, and qubit 0 is at the top left."""
    centred = places - places.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    turned: Floats = centred @ axes.T
    return turned * np.where(turned[0] > 0, -1.0, 1.0)
