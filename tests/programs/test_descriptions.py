"""Does the stock client build the right transpiler target from what we say of a device?"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from qiskit.circuit.library import XGate
from qiskit.transpiler import Target
from qiskit_ibm_runtime.utils.backend_converter import convert_to_target
from qiskit_ibm_runtime.utils.backend_decoder import (
    configuration_from_server_data,
    properties_from_server_data,
)

from qdwell.executors import Executor, describe
from qdwell.executors.configuration import machine

Devices = Callable[[str], Executor]


def client_target(executor: Executor, *, simulator: bool = False) -> Target:
    """The target as the stock client makes it, warnings being errors."""
    said = describe(executor)
    raw = json.loads(said.configuration)
    configuration = configuration_from_server_data(raw, use_fractional_gates=None)
    assert configuration is not None
    properties: Any = None
    if not simulator:
        properties = properties_from_server_data(json.loads(said.properties), None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return convert_to_target(configuration=configuration, properties=properties)


@pytest.mark.parametrize("name", ["fake_manila", "ideal_machine", "aer_simulator"])
def test_who_runs_dynamic_circuits_says_so(name: str, executor: Devices) -> None:
    """The word that `service.backends(dynamic_circuits=True)` looks for; it found none of them."""
    said = json.loads(describe(executor(name)).configuration)
    assert "dynamic_circuits" in said["supported_features"]


def test_a_machine_without_control_flow_says_nothing_of_it() -> None:
    """A lab's own device may run static circuits only."""
    target = Target(num_qubits=1)
    target.add_instruction(XGate(), {(0,): None})
    assert machine("own", "1", target)[0]["supported_features"] == ["qasm3"]


@pytest.mark.parametrize("name", ["fake_manila", "fake_sherbrooke", "fake_torino", "ideal_machine"])
def test_client_builds_the_target_of_the_machine(name: str, executor: Devices) -> None:
    device = executor(name)
    theirs, mine = client_target(device), device.target
    assert theirs.num_qubits == mine.num_qubits
    assert theirs.operation_names == mine.operation_names
    assert theirs.dt == pytest.approx(mine.dt)
    for operation in mine.operation_names:
        ours, client = mine[operation], theirs[operation]
        assert set(ours) == set(client), operation
        for qargs, props in ours.items():
            if props is not None and qargs is not None:
                assert client[qargs].error == pytest.approx(props.error), (operation, qargs)
                assert client[qargs].duration == pytest.approx(props.duration), (operation, qargs)


def test_client_sees_a_simulator_that_takes_any_gate(executor: Devices) -> None:
    device = executor("aer_simulator")
    said = describe(device)
    assert said.simulator
    assert json.loads(said.configuration)["simulator"] is True
    target = client_target(device, simulator=True)
    assert {"h", "cx", "ccx", "measure", "reset", "if_else"} <= set(target.operation_names)


@pytest.mark.parametrize("name", ["fake_sherbrooke", "ideal_machine"])
def test_a_machine_says_that_it_is_no_simulator(name: str, executor: Devices) -> None:
    # The stock client opens no session where `simulator` is true.
    said = describe(executor(name))
    assert not said.simulator
    assert json.loads(said.configuration)["backend_name"] == name
    assert said.qubits == {"fake_sherbrooke": 127, "ideal_machine": 27}[name]
