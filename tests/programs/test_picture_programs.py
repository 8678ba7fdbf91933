"""What is told of quantum programs and of the noise learner, from real params and results."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import QuantumRegister

from programs.quantum_stock import VERSIONS, both_kinds, params, run_raw, seeded
from programs.test_noise_learner import SMALL, gates, readings, v2, v3
from qdwell.executors import Executor
from qdwell.programs import Cache, Work, run_all
from qdwell.programs.picture import describe, described

Devices = Callable[[str], Executor]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_quantum_program_is_told_item_by_item(version: str, executor: Devices) -> None:
    body = seeded(params(both_kinds(60), version=version), 3)
    text, _ = run_raw(body, executor("aer_simulator"))
    told = describe("executor", json.dumps(body).encode(), text.encode())
    assert (told["note"], told["count"]) == (None, 2)
    plain, samplex = told["pubs"]
    assert (plain["title"], samplex["title"]) == ("Item 0, a circuit", "Item 1, a samplex")
    assert plain["notes"] == []
    assert [it["name"] for it in plain["circuit"]["operations"]][:3] == ["rz", "x", "cx"]
    assert (plain["parameters"][0]["name"], plain["parameters"][0]["shape"]) == ("a", [2, 3, 1])
    counts = plain["result"]["counts"]
    sweep, *counts = counts
    assert (sweep["sweep"], sweep["elements"], sweep["hidden"]) == ("meas", 6, 0)
    assert sweep["lines"] == [["11", [1.0] * 6]]
    assert [it["register"] for it in counts] == [f"meas, element {at} of 6" for at in range(4)]
    assert counts[0]["counts"] == [["11", 60]]  # x, then cx: the highest bit first
    # The samplex flips outcomes at random; undone, elements of angle 0 give 00, of pi 11.
    assert "draws the parameters" in samplex["notes"][0]
    assert samplex["circuit"]["parameters"]
    (whole,) = samplex["result"]["counts"]
    assert whole["register"] == "meas, all elements, flips undone"
    assert whole["counts"] == [["00", 300], ["11", 300]]
    assert any(it.startswith("measurement_flips.meas") for it in samplex["result"]["arrays"])


def test_a_program_that_has_not_ended_is_told_without_results() -> None:
    told = describe("executor", json.dumps(params(both_kinds())).encode(), None)
    assert [it["result"] for it in told["pubs"]] == [None, None]


def learned(body: dict[str, Any], device: Executor) -> dict[str, Any]:
    content = json.dumps(body).encode()
    _, _, finished = run_all(Work("job", "noise-learner", content), device, Cache())
    told: dict[str, Any] = json.loads(described("noise-learner", content, finished.result))
    return told


def test_layers_of_v3_are_drawn_with_their_rates(executor: Devices) -> None:
    device = executor("fake_manila")
    told = learned(v3([gates((0, 1), (2, 3)), readings(0, 3)], **SMALL), device)
    layer, reading = told["pubs"]
    assert [it["title"] for it in told["pubs"]] == [
        "Layer 0, on qubits [0, 1, 2, 3]",
        "Layer 1, on qubits [0, 3]",
    ]
    how = "16 randomizations of 128 shots each, at layer pair depths 0, 2, 12."
    assert (layer["notes"], reading["notes"]) == ([how], [])
    assert layer["circuit"]["wires"] == [0, 1, 2, 3]
    assert [it["qubits"] for it in layer["circuit"]["operations"]] == [[0, 1], [2, 3]]
    (rates,) = layer["result"]["counts"]
    assert rates["rates"]
    assert all(rate >= 0 for _, rate in rates["counts"])
    assert max(rate for _, rate in rates["counts"]) > 0.001
    assert [it["name"] for it in reading["circuit"]["operations"]] == ["measure", "measure"]


def test_rates_are_named_by_the_machines_qubits(executor: Devices) -> None:
    """Both versions count qubits within a layer; here single qubits come first, from one on."""
    circuit = QuantumCircuit(QuantumRegister(5, "q"))
    circuit.cx(2, 3)
    of_v2 = v2([circuit], **SMALL, twirling_strategy="active")
    for body in (v3([gates((2, 3))], **SMALL), of_v2):
        layer = learned(body, executor("fake_manila"))["pubs"][-1]
        names = [name for name, _ in layer["result"]["counts"][0]["counts"]]
        assert names[:7] == ["X2", "Y2", "Z2", "X3", "Y3", "Z3", "X2 X3"]
        assert len(names) == 15


def test_a_wide_layer_is_told_in_short() -> None:
    pairs = [(at, at + 1) for at in range(0, 40, 2)]
    body = json.dumps(v3([gates(*pairs, width=40)], **SMALL)).encode()
    (layer,) = describe("noise-learner", body, None)["pubs"]
    assert layer["title"] == "Layer 0, on qubits [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …, 39]"
    assert (layer["circuit"]["qubits"], layer["circuit"]["hidden"]) == (40, 4)


def test_v2_tells_its_circuits_and_then_the_layers_it_found(executor: Devices) -> None:
    circuit = QuantumCircuit(QuantumRegister(5, "q"), name="mine")
    circuit.cx(0, 1)
    told = learned(v2([circuit], **SMALL, twirling_strategy="active"), executor("fake_manila"))
    source, layer = told["pubs"]
    assert (source["title"], source["circuit"]["name"]) == ("Circuit 0", "mine")
    assert layer["title"] == "Layer 0, on qubits [0, 1]"
    assert len(layer["result"]["counts"][0]["counts"]) == 15


@pytest.mark.parametrize("program", ["executor", "noise-learner"])
@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b'{"schema_version": "v2.0"}', b'{"circuits": 7}', b"\xff"]
)
def test_what_cannot_be_read_is_said(program: str, content: bytes) -> None:
    told = describe(program, content, None)
    assert told["note"] or any(it["notes"] for it in told["pubs"]) or told["pubs"] == []


def test_a_damaged_result_takes_nothing_from_the_input(executor: Devices) -> None:
    body = params(both_kinds())
    told = describe("executor", json.dumps(body).encode(), b'{"schema_version": "v2.0"}')
    assert told["note"] is None
    assert "the result cannot be shown" in told["pubs"][0]["notes"][0]
    assert told["pubs"][1]["circuit"]["qubits"] == 2
