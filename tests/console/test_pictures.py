"""Jobs of every program on their page: through the engine, the worker that draws, the template."""

from __future__ import annotations

import json
from typing import Any

import pytest

from console.conftest import Reader, Site
from programs.quantum_stock import both_kinds, params, seeded
from programs.test_noise_learner import SMALL, gates, v2, v3
from qdwell.engine.requests import NewJob

pytestmark = pytest.mark.timeout(300)


async def drawn(site: Site, reader: Reader, program: str, body: dict[str, Any]) -> str:
    new = NewJob(
        instance=reader.crn,
        backend="line",
        program_id=program,
        params=json.dumps(body).encode(),
        user_id=reader.credentials.user_id,
    )
    job = await site.engine.submit(new)
    await site.engine.wait_final(job.id, 2**60)
    text = await reader.page(f"/jobs/{job.id}?picture=1")
    assert "cannot be" not in text
    return text


@pytest.mark.asyncio(loop_scope="session")
async def test_a_quantum_program_shows_its_items_and_their_results(site: Site) -> None:
    text = await drawn(site, await site.reader(), "executor", seeded(params(both_kinds(40)), 3))
    assert "Item 0, a circuit" in text
    assert "Item 1, a samplex" in text
    assert "Template circuit" in text
    assert "A samplex draws the parameters" in text
    assert text.count('class="picture circuit"') == 2
    assert "over its 6 elements, as shares" in text
    assert "all elements, flips undone" in text
    assert "Also in the result" in text


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("version", [2, 3])
async def test_the_noise_learner_shows_layers_and_rates(site: Site, version: int) -> None:
    from qiskit import QuantumCircuit
    from qiskit.circuit import QuantumRegister

    body = v3([gates((2, 3))], **SMALL)
    if version == 2:
        circuit = QuantumCircuit(QuantumRegister(5, "q"))
        circuit.cx(2, 3)
        body = v2([circuit], **SMALL, twirling_strategy="active")
    text = await drawn(site, await site.reader(), "noise-learner", body)
    assert "Layer 0" in text
    assert "Rates of Pauli errors, 15 generators" in text
    assert "others" not in text.split("Rates of Pauli errors")[1].split("</figure>")[0]
    assert ">q2</text>" in text  # the machine's qubits, not the layer's own
    assert ">q0</text>" not in text
    assert ">X2 Z3</text>" in text
    assert ">X0</text>" not in text
    assert "16 randomizations of 128 shots each, at layer pair depths 0, 2, 12." in text
