"""Who reads results: the program's own decoder, the user's, or two of them (R4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.primitives import EstimatorResult, SamplerResult
from qiskit.quantum_info import SparsePauliOp

from qdwell import Backend, IBMInputValueError, Sampler, Session
from qdwell.client.decoding import TAGGED, decoders_of

TEXT = {"__type__": "complex", "__value__": [1, 2]}


class Old:
    """As the stock client's `ResultDecoder`: it takes the text."""

    @classmethod
    def decode(cls, text: str) -> Any:
        return ("old", json.loads(text))


def test_one_decoder_reads_everything_and_two_share_the_work() -> None:
    assert TAGGED.final(TEXT) == TAGGED.interim(TEXT) == 1 + 2j
    one = decoders_of("sampler", lambda raw: ("mine", raw))
    assert one.interim(TEXT) == one.final(TEXT) == ("mine", TEXT)
    for two in ((str, Old), [str, Old]):
        pair = decoders_of("sampler", two)
        assert pair.interim(1) == "1"
        assert pair.final(TEXT) == ("old", TEXT)


@pytest.mark.parametrize("wrong", [3, (str,), (str, str, str), (str, None)])
def test_what_decodes_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(IBMInputValueError, match="result_decoder"):
        decoders_of("sampler", wrong)


def test_a_pair_reads_interim_and_final_results(quick: Backend, bell: QuantumCircuit) -> None:
    heard: list[Any] = []
    inputs = {"pubs": [[bell, None, 1], [bell, None, 2]], "version": 2}
    job = quick.service.run(
        "sampler",
        inputs,
        {"backend": "quick_machine"},
        callback=lambda _, result: heard.append(result),
        result_decoder=(lambda raw: "interim", lambda raw: "final"),
    )
    job.wait_for_final_state()
    assert heard == ["interim", "interim", "final"]
    assert job.result() == "final"
    assert job.interim_results() == ["interim", "interim"]


def test_a_program_that_is_run_by_its_name_has_its_own_results(machine: Backend) -> None:
    """`Session.run` of V1 inputs gives what the V1 primitives give."""
    circuit = QuantumCircuit(1)
    terms = [{"Z": 1.0}]
    with Session(backend=machine) as session:
        found = session.run("estimator", {"circuits": [circuit], "observables": terms}).result()
        assert isinstance(found, EstimatorResult)
        assert found.values[0] == pytest.approx(1.0)
        circuit.measure_all()
        shares = session.run("sampler", {"circuits": [circuit]}).result()
        assert isinstance(shares, SamplerResult)
        assert shares.quasi_dists[0] == {0: pytest.approx(1.0)}
        plain = Sampler(session=session).run(circuit).result()
        assert isinstance(plain, SamplerResult)


def test_an_operator_is_sent_as_its_terms(machine: Backend) -> None:
    circuit = QuantumCircuit(1)
    inputs = {"circuits": [circuit], "observables": [SparsePauliOp("Z")]}
    with Session(backend=machine) as session:
        assert session.run("estimator", inputs).result().values[0] == pytest.approx(1.0)
