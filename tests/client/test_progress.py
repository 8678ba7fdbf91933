"""The line of progress in a terminal; that of a notebook is tested in a Jupyter kernel."""

from __future__ import annotations

import sys

import pytest
from qiskit import QuantumCircuit

from qdwell import Backend, QiskitRuntimeService, RuntimeJobTimeoutError, SamplerV2
from qdwell.client.transport import Request, Response
from qdwell.clock import stopwatch_ns


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    """What was written last, its lines joined: a narrow terminal breaks them."""
    return capsys.readouterr().out.replace("\n", " ")


def test_it_ends_with_the_job(
    quick: Backend, bell: QuantumCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    job = SamplerV2(mode=quick).run([bell], shots=7)
    assert job.result(progress=True)[0].data.meas.num_shots == 7
    assert f"{job.job_id()} done (" in shown(capsys)
    job.result(progress=True)
    assert shown(capsys) == ""  # nothing is left to wait for


def test_it_tells_phase_place_and_reason(
    service: QiskitRuntimeService, bell: QuantumCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = SamplerV2(mode=service.backend("slow_machine"))
    jobs = [sampler.run([bell]) for _ in range(6)]
    while jobs[0].metrics()["phases"]["qpu_start"] is None:
        pass
    for job, words in (
        (jobs[0], "running, on the QPU ("),
        (jobs[5], "queued, number 1 in the queue, expected to start at "),
        (jobs[5], ": all 5 lanes of slow_machine are taken ("),
    ):
        began = stopwatch_ns()
        with pytest.raises(RuntimeJobTimeoutError):
            job.result(timeout=0.6, progress=True)
        assert stopwatch_ns() - began < 20e9
        assert words in shown(capsys)
    with pytest.raises(RuntimeJobTimeoutError, match="6 of 6"):
        service.wait(jobs, timeout=0.1, progress=True)
    assert "0 of 6 done, 5 running, 1 queued, number 1" in shown(capsys)
    for job in reversed(jobs):
        job.cancel()


def test_a_plain_terminal_gets_plain_text(
    quick: Backend,
    bell: QuantumCircuit,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rich.live", None)  # as if Rich were not installed
    jobs = [SamplerV2(mode=quick).run([bell]) for _ in range(2)]
    quick.service.wait(jobs, progress=True)
    assert "2 of 2 done (" in capsys.readouterr().err


def test_a_crowd_is_watched_without_a_request_for_each_job(
    service: QiskitRuntimeService, bell: QuantumCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = SamplerV2(mode=service.backend("slow_machine"))
    jobs = [sampler.run([bell]) for _ in range(40)]
    inner = service.link.transport
    asked: list[str] = []

    class Noting:
        def send(self, request: Request) -> Response:
            asked.append(request.path)
            return inner.send(request)

    service.link.transport = Noting()
    with pytest.raises(RuntimeJobTimeoutError):
        service.wait(jobs, timeout=0.1, progress=True)
    service.link.transport = inner
    assert "0 of 40 done, 5 running, 35 queued, number 1" in shown(capsys)
    assert len(asked) <= 8, asked
    for job in reversed(jobs):
        job.cancel()
