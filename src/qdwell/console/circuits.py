"""A circuit as a picture, from the bounded description that a worker made of it.

Instructions go as far left as their wires allow. Long circuits are broken into rows that fit a
page; what was left out is said below.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from qdwell.console import svg

ROW_WIDTH = 880.0
_WIRE, _LEFT, _GAP = 30.0, 46.0, 8.0
_CONTROLS = {"cx": 1, "cz": 1, "ch": 1, "cy": 1, "cp": 1, "crz": 1, "ccx": 2, "ecr": 0, "rzz": 0}
_PLAIN = {"cz", "ccz"}  # dots at both ends
_NAMES = {"x": "X", "y": "Y", "z": "Z", "h": "H", "sx": "√X", "sdg": "S†", "tdg": "T†", "id": "I"}


def draw(circuit: dict[str, Any]) -> Markup:
    """The picture of one circuit."""
    wires = {qubit: at for at, qubit in enumerate(circuit["wires"])}
    columns = _columns(circuit["operations"], wires)
    rows = _broken([max(_wide(it) for it in column) for column in columns])
    row_height = _WIRE * len(wires) + 18
    parts: list[Markup] = []
    for number, (first, last, total) in enumerate(rows):
        top = 14 + number * row_height
        parts += _wires(circuit["wires"], top, total)
        x = _LEFT
        for column in columns[first:last]:
            width = max(_wide(it) for it in column)
            for operation in column:
                parts += _operation(operation, wires, x, width, top)
            x += width + _GAP
    width = max((total for _, _, total in rows), default=_LEFT) + 8
    title = (
        f"Circuit {circuit['name']}".strip()
        + f": {circuit['qubits']} qubits, depth {circuit['depth']}, "
        f"{circuit['size']} instructions"
    )
    height = 14 + row_height * max(1, len(rows))
    return svg.picture(max(width, 200), height, title, *parts, class_="circuit")


def _columns(operations: list[dict[str, Any]], wires: dict[int, int]) -> list[list[dict[str, Any]]]:
    """The operations that stand above each other, left to right."""
    free = [0] * len(wires)
    columns: list[list[dict[str, Any]]] = []
    for operation in operations:
        rows = [wires[it] for it in operation["qubits"] if it in wires]
        if not rows:
            continue
        span = range(min(rows), max(rows) + 1)
        at = max(free[row] for row in span)
        while len(columns) <= at:
            columns.append([])
        columns[at].append(operation)
        for row in span:
            free[row] = at + 1
    return [it for it in columns if it]


def _text(operation: dict[str, Any]) -> str:
    name = operation["name"]
    shown = _NAMES.get(name, name if len(name) > 3 else name.upper())
    if name == "measure":
        shown = "M"
    params = ", ".join(operation["params"])
    return f"{shown}({params})" if params and len(params) <= 16 else shown


def _wide(operation: dict[str, Any]) -> float:
    if operation["name"] == "barrier":
        return 10.0
    if operation["name"] in ("cx", "cz", "swap", "ccx", "ccz"):
        return 24.0
    return max(26.0, 12 + 7.2 * len(_text(operation)))


def _broken(widths: list[float]) -> list[tuple[int, int, float]]:
    """First and last column of each row of the picture, and how far its wires reach."""
    rows, first, x = [], 0, _LEFT
    for at, width in enumerate(widths):
        if x + width > ROW_WIDTH and at > first:
            rows.append((first, at, x))
            first, x = at, _LEFT
        x += width + _GAP
    if first < len(widths):
        rows.append((first, len(widths), x))
    return rows


def _wires(qubits: list[int], top: float, right: float) -> list[Markup]:
    parts = []
    for at, qubit in enumerate(qubits):
        y = top + _WIRE * at + _WIRE / 2
        parts.append(svg.label(_LEFT - 14, y + 4, f"q{qubit}", "ink small mono", "end"))
        parts.append(svg.line(_LEFT - 8, y, right, y, "wire"))
    return parts


def _operation(
    operation: dict[str, Any], wires: dict[int, int], x: float, width: float, top: float
) -> list[Markup]:
    name = operation["name"]
    rows = [wires[it] for it in operation["qubits"] if it in wires]
    middle = x + width / 2
    heights = [top + _WIRE * row + _WIRE / 2 for row in rows]
    if name == "barrier":
        return [
            svg.rect(middle - 3, top + _WIRE * row + 2, 6, _WIRE - 4, "barrier") for row in rows
        ]
    parts: list[Markup] = []
    if len(rows) > 1:
        parts.append(svg.line(middle, min(heights), middle, max(heights), "gate-line"))
    said = f"{name}({', '.join(operation['params'])}) on {operation['qubits']}"
    controls = len(rows) if name in _PLAIN else _CONTROLS.get(name, 0)
    for at, y in enumerate(heights):
        if at < controls:
            dot = svg.tag("circle", svg.tag("title", said), cx=middle, cy=y, r=4.5, class_="dot")
            parts.append(dot)
        elif name in ("cx", "ccx"):
            parts += _target(middle, y, said)
        elif name == "swap":
            parts.append(svg.line(middle - 5, y - 5, middle + 5, y + 5, "gate-line"))
            parts.append(svg.line(middle - 5, y + 5, middle + 5, y - 5, "gate-line"))
        else:
            parts += _box(operation, x, y, width, said, at)
    return parts


def _target(x: float, y: float, said: str) -> list[Markup]:
    circle = svg.tag("circle", svg.tag("title", said), cx=x, cy=y, r=9.0, class_="target")
    return [circle, svg.line(x - 9, y, x + 9, y, "cross"), svg.line(x, y - 9, x, y + 9, "cross")]


def _box(
    operation: dict[str, Any], x: float, y: float, width: float, said: str, at: int
) -> list[Markup]:
    measured = operation["name"] == "measure"
    kind = "gate measure" if measured else "gate"
    text = _text(operation)
    if measured and operation["clbits"]:
        said = f"measure into bit {operation['clbits'][0]}"
    if len(operation["qubits"]) > 1:
        text = f"{text}" if at == 0 else str(at)
    return [
        svg.rect(x, y - 12, width, 24, kind, said),
        svg.label(x + width / 2, y + 4, text, "gate-text", "middle"),
    ]
