"""A job told in plain numbers, for people to look at: its circuits, parameters, and results.

Input and result are opened here, in a worker with limits, because both hold users' bytes. What
comes out is JSON of bounded size, whatever went in: the first PUBs, the first instructions of each,
the wires that are used, the most frequent outcomes. What was left out is counted.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError

from qdwell.errors import BadInput, ProgramError
from qdwell.wire import arrays, codec

PUBS_MAX = 12
INSTRUCTIONS_MAX = 400
WIRES_MAX = 32
OUTCOMES_MAX = 48
VALUES_MAX = 200
LINES_MAX = 6  # outcomes whose share is followed from element to element
POINTS_MAX = 4  # elements of a sampler PUB's shape that are shown
_NAME_MAX = 60
_NUMBER = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?")  # within a formula
UNREADABLE = (
    BadInput, ProgramError, QiskitError, KeyError, TypeError, ValueError, IndexError,
    AttributeError,
)  # fmt: skip


def describe(program_id: str, params: bytes, result: bytes | None) -> dict[str, Any]:
    """What there is to see of a job; `note` says why something is not shown."""
    told: dict[str, Any] = {"pubs": [], "count": 0, "note": None}
    try:
        asked = codec.parse(params)
        if program_id in ("executor", "noise-learner"):
            return _of_program(program_id, asked, result)
        given = None if result is None else codec.parse(result, "result")
        pubs = _pubs(asked, program_id)
        answers = _answers(given)
    except UNREADABLE as error:
        told["note"] = f"This input cannot be shown: {str(error)[:200]}"
        return told
    told["count"] = len(pubs)
    if not pubs:
        told["note"] = "There is no picture of this program's input."
    tags = codec.TAGS.get(program_id, frozenset({"QuantumCircuit", "ndarray"}))
    for number, pub in enumerate(pubs[:PUBS_MAX]):
        answer = answers[number] if number < len(answers) else None
        told["pubs"].append(_pub(f"PUB {number}", pub, answer, codec.Decoder(tags)))
    return told


def _of_program(program_id: str, asked: Any, result: bytes | None) -> dict[str, Any]:
    """Quantum programs and layers; their readers take long to import, and few jobs need them."""
    from qdwell.programs import picture_programs

    make = picture_programs.executor
    if program_id == "noise-learner":
        make = picture_programs.noise_learner
    found = make(asked, result)
    return {"pubs": found[:PUBS_MAX], "count": len(found), "note": None}


def empty(title: str) -> dict[str, Any]:
    """What is told of one PUB, item, or layer, before anything is."""
    return {
        "title": title, "circuit": None, "parameters": [], "observables": [], "result": None,
        "notes": [],
    }  # fmt: skip


def _pubs(asked: Any, program_id: str) -> list[dict[str, Any]]:
    """The PUBs of either dialect, as named parts that are still encoded."""
    if "pubs" in asked:
        names: tuple[str, ...] = ("circuit", "parameters", "shots")
        if program_id == "estimator":
            names = ("circuit", "observables", "parameters", "precision")
        return [dict(zip(names, pub, strict=False)) for pub in asked["pubs"]]
    circuits = asked.get("circuits", [])
    circuits = circuits if isinstance(circuits, list) else [circuits]
    values, observables = asked.get("parameter_values"), asked.get("observables")
    shots = (asked.get("run_options") or {}).get("shots")
    return [
        {
            "circuit": circuit,
            "parameters": _at(values, number),
            "observables": _at(observables, number),
            "shots": shots,
        }
        for number, circuit in enumerate(circuits)
    ]


def _at(values: Any, number: int) -> Any:
    return values[number] if isinstance(values, list) and number < len(values) else None


def _pub(title: str, pub: dict[str, Any], answer: Any, decoder: codec.Decoder) -> dict[str, Any]:
    told = empty(title)
    for name in ("shots", "precision"):
        if isinstance(pub.get(name), int | float):
            told[name] = pub[name]
    told["circuit"] = attempt(told, "circuit", lambda: drawable(load(pub["circuit"], decoder)))
    if pub.get("parameters"):
        told["parameters"] = (
            attempt(told, "parameters", lambda: _parameters(pub["parameters"], decoder)) or []
        )
    if pub.get("observables") is not None:
        told["observables"] = (
            attempt(told, "observables", lambda: _observables(pub["observables"], decoder)) or []
        )
    if answer is not None:
        told["result"] = attempt(told, "result", lambda: _result(answer))
    return told


def attempt(told: dict[str, Any], what: str, make: Callable[[], Any]) -> Any:
    """What `make` returns, or a note that it cannot be shown."""
    try:
        return make()
    except UNREADABLE as error:
        told["notes"].append(f"{what} cannot be shown: {str(error)[:200]}")
        return None


# ---- circuits ------------------------------------------------------------------------------------


def load(part: Any, decoder: codec.Decoder) -> QuantumCircuit:
    """The circuit of an encoded part."""
    if isinstance(part, str):
        return codec.load_qasm3(part, "circuit")
    circuit: QuantumCircuit = decoder.decode(part, "circuit")
    return circuit


def drawable(circuit: QuantumCircuit) -> dict[str, Any]:
    """The first instructions, on the wires that are used at all."""
    place = {bit: at for at, bit in enumerate(circuit.qubits)}
    spot = {bit: at for at, bit in enumerate(circuit.clbits)}
    operations: list[dict[str, Any]] = []
    wires: dict[int, None] = {}
    hidden = 0
    for instruction in circuit.data:
        qubits = [place[bit] for bit in instruction.qubits]
        barrier = instruction.operation.name == "barrier"
        if not barrier:
            fresh = [it for it in qubits if it not in wires]
            if len(operations) >= INSTRUCTIONS_MAX or len(wires) + len(fresh) > WIRES_MAX:
                hidden += 1
                continue
            wires.update(dict.fromkeys(fresh))
        elif len(operations) >= INSTRUCTIONS_MAX:
            continue
        operations.append(
            {
                "name": str(instruction.operation.name)[:_NAME_MAX],
                "qubits": qubits,
                "clbits": [spot[bit] for bit in instruction.clbits],
                "params": [_short(it) for it in instruction.operation.params[:4]],
            }
        )
    return {
        "name": str(circuit.name)[:_NAME_MAX],
        "qubits": circuit.num_qubits,
        "clbits": circuit.num_clbits,
        "depth": circuit.depth(),
        "size": circuit.size(),
        "counts": {str(k)[:_NAME_MAX]: int(v) for k, v in list(circuit.count_ops().items())[:20]},
        "parameters": [str(it.name)[:_NAME_MAX] for it in list(circuit.parameters)[:20]],
        "wires": sorted(wires),
        "operations": operations,
        "hidden": hidden,
    }


def _short(value: Any) -> str:
    """A gate's parameter in a few letters; multiples of pi by name."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _NUMBER.sub(lambda it: _short(it[0]), str(value)[:200])[:20]
    for below in (1, 2, 3, 4, 6, 8):
        times = number * below / math.pi
        if number and abs(times - round(times)) < 1e-9 and abs(times) <= 8:
            over = f"/{below}" if below > 1 else ""
            whole = {1: "", -1: "-"}.get(round(times), str(round(times)))
            return f"{whole}π{over}"
    return f"{number:.3g}"


# ---- parameters and observables ------------------------------------------------------------------


def _parameters(part: Any, decoder: codec.Decoder) -> list[dict[str, Any]]:
    value = decoder.decode(part, "parameters")
    if isinstance(value, codec.Bindings):
        return [values(", ".join(names), np.asarray(it)) for names, it in value.values]
    return [values("values", np.asarray(value))]


def values(name: str, array: NDArray[Any]) -> dict[str, Any]:
    """The first numbers of an array, and its shape."""
    flat = array.ravel()
    shown = [round(float(it), 6) for it in flat[:VALUES_MAX].real]
    return {
        "name": name[:_NAME_MAX],
        "shape": list(array.shape),
        "values": [it if math.isfinite(it) else None for it in shown],
        "hidden": max(0, flat.size - VALUES_MAX),
    }


def _observables(part: Any, decoder: codec.Decoder) -> list[list[list[Any]]]:
    """Each observable as pairs of a Pauli label and its coefficient, the first terms of it."""
    value = decoder.decode(part, "observables")
    flat: list[Any] = []

    def walk(each: Any) -> None:
        if isinstance(each, list):
            for inner in each:
                walk(inner)
        else:
            flat.append(each)

    walk(value)
    return [_terms(each) for each in flat[:VALUES_MAX]]


def _terms(observable: Any) -> list[list[Any]]:
    terms = {observable: 1.0} if isinstance(observable, str) else dict(observable)
    return [[_sparse(str(label)), float(it)] for label, it in list(terms.items())[:16]]


def _sparse(label: str) -> str:
    """A long Pauli label by its letters that do something: qubit 0 is the last one."""
    if len(label) <= 12:
        return label
    letters = [f"{it}{at}" for at, it in enumerate(reversed(label)) if it != "I"]
    return " ".join(letters[:24]) + (" …" if len(letters) > 24 else "") if letters else "I"


# ---- results -------------------------------------------------------------------------------------


def _answers(given: Any) -> list[Any]:
    """The parts of a result that belong to the PUBs, in order; of either dialect."""
    if not isinstance(given, dict):
        return []
    if "quasi_dists" in given:
        return [{"quasi": it} for it in given["quasi_dists"]]
    if "values" in given:
        metadata = given.get("metadata") or []
        return [
            {"value": value, "metadata": _at(metadata, number) or {}}
            for number, value in enumerate(given["values"])
        ]
    inner = given.get("__value__", given)
    return list(inner.get("pub_results", [])) if isinstance(inner, dict) else []


def _result(answer: Any) -> dict[str, Any]:
    if "quasi" in answer:
        pairs = [[str(k)[:80], float(v)] for k, v in answer["quasi"].items()]
        return {"counts": [top("quasi-probability", pairs, shots=None)]}
    if "value" in answer:
        spread = answer["metadata"].get("variance")
        shots = answer["metadata"].get("shots") or 1
        error = answer["metadata"].get("standard_error")
        if error is None and spread is not None:
            error = math.sqrt(max(0.0, float(spread)) / shots)
        return {"estimates": {"shape": [], "evs": [float(answer["value"])], "stds": [error]}}
    inner = answer.get("__value__", answer)
    fields = inner["data"]["__value__"]["fields"]
    if "evs" in fields:
        return {"estimates": _estimates(fields)}
    found: list[dict[str, Any]] = []
    for name, part in fields.items():
        if isinstance(part, dict) and part.get("__type__") == "BitArray":
            found += _registers(str(name)[:_NAME_MAX], part["__value__"])
    return {"counts": found}


def _array(part: Any) -> NDArray[Any]:
    payload = part["__value__"] if isinstance(part, dict) else part
    return arrays.unpack_array(payload, "result")


def _estimates(fields: dict[str, Any]) -> dict[str, Any]:
    values = _array(fields["evs"])
    errors = _array(fields["stds"]) if "stds" in fields else np.zeros_like(values)
    return {
        "shape": list(values.shape),
        "evs": _finite(values),
        "stds": _finite(errors),
        "hidden": max(0, values.size - VALUES_MAX),
    }


def _finite(array: NDArray[Any]) -> list[float | None]:
    flat = np.asarray(array, dtype=float).ravel()[:VALUES_MAX]
    return [float(it) if math.isfinite(it) else None for it in flat]


def _registers(name: str, value: dict[str, Any]) -> list[dict[str, Any]]:
    """Counts of one register, element by element."""
    bits, width = _array(value["array"]), int(value["num_bits"])
    points = bits.reshape(-1, *bits.shape[-2:])
    return elements(name, [_counted(rows, width) for rows in points[:VALUES_MAX]], len(points))


def elements(name: str, counted: Sequence[list[list[Any]]], count: int) -> list[dict[str, Any]]:
    """Counts of the first of `count` elements; before them, of several, how shares change."""
    if count == 1:
        return [top(name, counted[0], shots=sum(it[1] for it in counted[0]))]
    found: list[dict[str, Any]] = [_sweep(name, counted, count)]
    for number, pairs in enumerate(counted[:POINTS_MAX]):
        title = f"{name}, element {number} of {count}"
        found.append(top(title, pairs, shots=sum(it[1] for it in pairs)))
    return found


def _sweep(name: str, counted: Sequence[list[list[Any]]], count: int) -> dict[str, Any]:
    """The share of the most frequent outcomes in each element."""
    sums: Counter[str] = Counter()
    for pairs in counted:
        sums.update({text: number for text, number in pairs if text})
    names = sorted(text for text, _ in sums.most_common(LINES_MAX))
    totals = [sum(number for _, number in pairs) or 1 for pairs in counted]
    tables = [dict(pairs) for pairs in counted]
    lines = [
        [text, [table.get(text, 0) / total for table, total in zip(tables, totals, strict=True)]]
        for text in names
    ]
    return {"sweep": name, "lines": lines, "elements": count, "hidden": count - len(counted)}


def _counted(rows: NDArray[Any], width: int) -> list[list[Any]]:
    """Outcomes and how often they came, as bit strings with the highest bit first."""
    packed, counts = np.unique(np.ascontiguousarray(rows), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    told: Counter[str] = Counter()
    for at in order[: 4 * OUTCOMES_MAX]:
        text = "".join(f"{int(byte):08b}" for byte in packed[at])[-width:] if width else ""
        told[text] += int(counts[at])
    pairs: list[list[Any]] = [[text, number] for text, number in told.most_common()]
    hidden = int(counts.sum()) - sum(number for _, number in pairs)
    return [*pairs, *([["", hidden]] if hidden else [])]


def top(name: str, pairs: Sequence[Sequence[Any]], *, shots: int | None) -> dict[str, Any]:
    """The most frequent outcomes, in the order of their values; the sum of the others."""
    named = sorted((it for it in pairs if it[0]), key=lambda it: -it[1])
    shown = sorted(named[:OUTCOMES_MAX], key=lambda it: it[0])
    rest = sum(it[1] for it in pairs) - sum(it[1] for it in shown)
    return {
        "register": name,
        "shots": shots,
        "counts": [list(it) for it in shown],
        "others": rest,
        "distinct": len(named),
    }


def described(program_id: str, params: bytes, result: bytes | None) -> bytes:
    """The same as JSON text."""
    return orjson.dumps(describe(program_id, params, result))
