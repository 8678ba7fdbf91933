"""Executors: the verbs, the scripted device, any `BackendV2`, and specs that cannot be made."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit.providers import BackendV2

from programs.stock import fitted_to, ours
from programs.test_same_samples import assert_same_bits, bell, seeded
from qdwell.errors import ConfigError, ProgramError
from qdwell.executors import Executor, RunStatus, Spec, describe, make
from qdwell.executors.base import fitted
from qdwell.wire.device import Batch

FACTORY = "qiskit_ibm_runtime.fake_provider:FakeManilaV2"


def batch(**more: Any) -> Batch:
    return Batch((fitted(bell()),), (np.empty(0),), shots=more.pop("shots", 20), **more)


@pytest.mark.parametrize("kind", ["aer", "ideal", "scripted"])
def test_verbs_in_order(kind: str) -> None:
    device = make(Spec("box", kind))
    lease = device.acquire()
    run = device.start(batch(seed=3))
    assert device.status(run) is RunStatus.RUNNING
    outcome = device.result(run)
    assert outcome.samples[0].bits.shape == (20, 1)
    assert outcome.start <= outcome.stop
    assert device.status(run) is RunStatus.UNKNOWN
    device.release(lease)


def test_a_stopped_run_gives_no_result() -> None:
    device = make(Spec("box", "aer"))
    run = device.start(batch())
    device.stop(run)
    assert device.status(run) is RunStatus.STOPPED
    with pytest.raises(ProgramError, match="stopped"):
        device.result(run)


def test_two_devices_never_give_the_same_token() -> None:
    first, second = make(Spec("box", "aer")), make(Spec("box", "aer"))
    assert second.status(first.start(batch())) is RunStatus.UNKNOWN


@pytest.mark.parametrize(
    "spec",
    [
        Spec("x", "quantum"),
        Spec("x", "aer", options={"shots": 5}),
        Spec("fake_nothing", "fake"),
        Spec("x", "qiskit", target="no.such.module:thing"),
        Spec("x", "qiskit", target="builtins:dict"),
        Spec("x", "scripted", options={"speed": 1}),
        Spec("x", "scripted", options={"fail_rate": 2}),
        Spec("x", "scripted", options={"run_ms": [5, 1]}),
    ],
)
def test_specs_that_cannot_be_made_name_their_setting(spec: Spec) -> None:
    with pytest.raises(ConfigError) as refused:
        make(spec)
    assert refused.value.key.startswith("backends")


def test_a_model_can_have_another_name() -> None:
    said = describe(make(Spec("my_machine", "fake", target="fake_manila")))
    assert b'"backend_name":"my_machine"' in said.configuration
    assert said.qubits == 5


# ---- any BackendV2 -------------------------------------------------------------------------------


def test_any_backend_gives_its_own_samples(
    executor: Callable[[str], Executor], backend: Callable[[str], BackendV2]
) -> None:
    device = make(Spec("lab", "qiskit", target=FACTORY))
    assert not device.repeatable
    assert not device.simulator
    pub = [(fitted_to(bell(), backend("fake_manila")), None, 100)]
    mine, _ = ours("sampler", pub, device, seeded(6))
    model, _ = ours("sampler", pub, executor("fake_manila"), seeded(6))
    assert_same_bits(mine, model)


def test_any_backend_can_be_described_to_the_client() -> None:
    said = describe(make(Spec("lab", "qiskit", target=FACTORY)))
    assert said.qubits == 5
    assert set(said.basis_gates) == {"cx", "id", "rz", "sx", "x"}


def test_the_failure_of_a_backend_is_a_failed_job() -> None:
    device = make(Spec("lab", "qiskit", target="qiskit_aer:AerSimulator"))
    unbound = batch()
    unbound.circuits[0].circuit.append(_unknown(), [0])
    with pytest.raises(ProgramError) as failed:
        device.run(unbound)
    assert failed.value.code == 5203


def _unknown() -> Any:
    from qiskit.circuit import Gate

    return Gate("never_heard_of", 1, [])


# ---- scripted ------------------------------------------------------------------------------------


def test_scripts_with_one_seed_act_the_same() -> None:
    def story(seed: int) -> list[str]:
        device = make(Spec("box", "scripted", options={"seed": seed, "fail_rate": 0.5}))
        told = []
        for _ in range(12):
            try:
                told.append(device.run(batch()).samples[0].bits.tobytes().hex())
            except ProgramError as error:
                told.append(f"failed {error.code}")
        return told

    assert story(1) == story(1)
    assert story(1) != story(2)
    assert "failed 5203" in story(1)
    assert len(set(story(1))) > 2


def test_a_scripted_run_can_be_stopped_from_another_thread() -> None:
    device = make(Spec("box", "scripted", options={"run_ms": 600_000}))
    run = device.start(batch())
    stopper = threading.Timer(0.05, device.stop, [run])
    stopper.start()
    with pytest.raises(ProgramError, match="stopped"):
        device.result(run)
    stopper.join()


def test_a_scripted_loss_ends_the_process() -> None:
    code = (
        "from qdwell.executors import Spec, make; from qdwell.wire.device import Batch;"
        "make(Spec('box', 'scripted', options={'lose_rate': 1})).run(Batch((), (), 1))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 86
