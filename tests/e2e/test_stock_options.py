"""All options of the stock client's V2 primitives, together, through the client to a real server.

Each row (`option_rows`) has a value, or none, for every option; any two values of two options stand
in one row at least. A row must work, and then the result's metadata shows what was asked for; or it
is refused, by the client, at submission, or by the job, with the name of an option in it. Then it
is tried again without that option, so that one refusal does not hide the rest.

Every row is a job or several, so the short form takes a few of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_ibm_runtime import EstimatorV2, QiskitRuntimeService, SamplerV2
from qiskit_ibm_runtime.exceptions import IBMRuntimeError, RuntimeJobFailureError
from qiskit_ibm_runtime.noise_learner import NoiseLearner
from qiskit_ibm_runtime.options import EstimatorOptions, NoiseLearnerOptions, SamplerOptions

from e2e.option_rows import LEFT_OUT, Row, leaves, nested, rows

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
#: Of so many rows, one is in the short form; a row of the noise learner takes ten times as long.
SHORT = {"sampler": 14, "estimator": 14, "noise-learner": 28}
OPTIONS: dict[str, Any] = {
    "sampler": SamplerOptions,
    "estimator": EstimatorOptions,
    "noise-learner": NoiseLearnerOptions,
}
#: Sections of the result's metadata that repeat the options.
ECHOED = ("dynamical_decoupling", "twirling", "resilience")
#: Not told by the metadata, but by the job, its log, or its metrics; or without effect elsewhere.
ELSEWHERE = (
    "environment", "execution", "simulator", "max_execution_time", "seed_estimator",
    "resilience.layer_noise_model", "resilience.layer_noise_learning",
)  # fmt: skip


def every(program: str) -> list[Row]:
    return rows(leaves(OPTIONS[program]))


def cases() -> Iterator[Any]:
    for program in OPTIONS:
        for place, row in enumerate(every(program)):
            marks = [pytest.mark.long] if place % SHORT[program] else []
            yield pytest.param(program, row, id=f"{program}-{place}", marks=marks)


def test_the_rows_hold_every_pair() -> None:
    """How many there are; the issue asks for pairs at least."""
    counts = {program: len(every(program)) for program in OPTIONS}
    assert counts["sampler"] >= 30
    assert counts["estimator"] >= 60
    made = every("sampler")
    options = leaves(SamplerOptions)
    for one in options:
        for other in options:
            wanted = {
                (str(a), str(b))
                for a in (LEFT_OUT, *options[one])
                for b in (LEFT_OUT, *options[other])
            }
            got = {(str(row[one]), str(row[other])) for row in made}
            assert one == other or wanted <= got


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("program", "row"), list(cases()))
def test_a_row_works_or_names_what_it_refuses(
    program: str, row: Row, service: QiskitRuntimeService
) -> None:
    row = dict(row)
    for _ in range(16):
        job, result, said = run(program, row, service)
        if not said:
            check_shown(program, row, result, job)
            return
        named = name_in(said, row)
        assert named, f"no option is named: {said}"
        row[named] = LEFT_OUT
    pytest.fail(f"it is refused for ever: {said}")


def test_o42_a_noise_model_goes_along(service: QiskitRuntimeService) -> None:
    """What it does there is in `programs/test_noise_model.py`; a machine's refusal in the rows."""
    model = NoiseModel()
    model.add_all_qubit_readout_error(ReadoutError([[0.0, 1.0], [1.0, 0.0]]))
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    options: dict[str, Any] = {"simulator": {"noise_model": model}}
    sampler = SamplerV2(mode=service.backend("aer_simulator"), options=options)
    assert sampler.run([circuit], shots=20).result()[0].data.meas.get_counts() == {"1": 20}


def run(program: str, row: Row, service: QiskitRuntimeService) -> tuple[Any, Any, str]:
    """A job, its result, and, if there is none, why."""
    try:
        job = submit(program, nested(row), service)
        return job, job.result(), ""
    except (IBMRuntimeError, RuntimeJobFailureError, ValueError) as error:
        return None, None, str(error)


def submit(program: str, options: Mapping[str, Any], service: QiskitRuntimeService) -> Any:
    backend = service.backend("fake_manila")
    circuit = QuantumCircuit(5)
    circuit.sx(0)
    circuit.cx(0, 1)
    if program == "noise-learner":
        return NoiseLearner(mode=backend, options=options).run([circuit])
    if program == "sampler":
        circuit.measure_all()
        sampler = SamplerV2(mode=backend, options=options)
        return sampler.run([(circuit, None, None if "default_shots" in options else 64)])
    estimator = EstimatorV2(mode=backend, options=options)
    given = "default_precision" in options or "default_shots" in options
    pub = (circuit, SparsePauliOp("IIIZZ"), None, None if given else 0.1)
    return estimator.run([pub])


def name_in(said: str, row: Row) -> str | None:
    """An option of the row that a refusal names: by its dotted name, its last word, its value,
    or its group.

    The client's validation repeats all input; only its own sentences count.
    """
    sentences = re.findall(r"Value error, (.*?) \[type=", said, re.DOTALL)
    said = " ".join(sentences) or said
    words = set(re.findall(r"\w+", said))
    there = [name for name, value in row.items() if str(value) != LEFT_OUT]
    ways: list[Any] = [
        lambda name: name in said,
        lambda name: name.rsplit(".", 1)[-1] in words,
        lambda name: isinstance(row[name], str) and "_" in row[name] and row[name] in words,
        lambda name: name.count(".") > 1 and name.split(".")[-2] in words,
    ]
    for fits in ways:
        if found := [name for name in there if fits(name)]:
            return max(found, key=len)
    return None


def check_shown(program: str, row: Row, result: Any, job: Any) -> None:
    """The values of a row that ran, in what is told about it."""
    if str(row["environment.job_tags"]) != LEFT_OUT:
        assert job.tags == ["swept"]
    if program == "noise-learner":
        told = result.metadata["input_options"]
        for name, value in row.items():
            if "." not in name and name != "max_execution_time" and str(value) != LEFT_OUT:
                assert told[name] == value, name
        return
    metadata = result.metadata
    for name, value in row.items():
        if str(value) == LEFT_OUT or name.startswith(ELSEWHERE):
            continue
        if name in ("default_shots", "default_precision"):
            check_size(program, row, result)
        elif name == "resilience_level":
            assert metadata["resilience_level"] == value
        else:
            check_echo(name, value, metadata, row)


def check_size(program: str, row: Row, result: Any) -> None:
    """O31, O32: shots, or a precision that these stand in for."""
    shots = row["default_shots"]
    if program == "sampler":
        assert result[0].data.meas.num_shots == shots
    elif shots != LEFT_OUT:
        assert result[0].metadata["shots"] == shots
    else:
        assert result[0].metadata["target_precision"] == row["default_precision"]


def check_echo(name: str, value: Any, metadata: Mapping[str, Any], row: Row) -> None:
    """An option of a method: as it was asked for, wherever the method is on."""
    section, *path = name.split(".")
    assert section in ECHOED, name
    told: Any = metadata.get(section, {})
    if len(path) == 2:  # details of a method that is off have no place
        method = {"measure_noise_learning": "measure_mitigation"}.get(
            path[0], f"{path[0]}_mitigation"
        )
        if not told[method]:
            return
    elif section not in metadata:  # nothing of it is on
        assert value in (False, "auto") or str(row[f"{section}.{_SWITCH[section]}"]) != "True"
        return
    for part in path:
        told = told[part]
    value = list(value) if isinstance(value, tuple) else value
    if name == "resilience.zne.extrapolator":
        value = [value]
    if name.startswith("twirling.enable") and not value and told:
        return  # a method that needs it has switched it on
    assert told == value, name


_SWITCH = {"dynamical_decoupling": "enable", "twirling": "enable_gates"}
