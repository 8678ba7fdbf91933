"""Traces of jobs on their way out: a real server, and a collector that is there, dead, or deaf."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qdwell import SamplerV2, Session
from qdwell.clock import stopwatch_ns
from watch.jobs import bad, bell
from watch.served import serving

COLLECTOR = Path(__file__).with_name("collector.py")
# Each test starts a server of its own, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(400)
WHOLE = ["job", "queued", "prepare", "wait for the QPU", "QPU", "post-process"]


def test_the_path_of_each_job_reaches_a_collector(tmp_path: Path) -> None:
    collector = subprocess.Popen(
        [sys.executable, COLLECTOR], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        assert collector.stdout is not None
        port = int(collector.stdout.readline())
        with serving(tmp_path, f'traces_url = "http://127.0.0.1:{port}"') as service:
            backend = service.backend("lab")
            with Session(backend=backend) as session:
                done = SamplerV2(mode=session).run([bell()], shots=10)
                done.result()
            used_ms = round(done.usage() * 1000)
            failed = SamplerV2(mode=backend).run([bad()], shots=10)
            with pytest.raises(Exception, match="not supported"):
                failed.result()
        collector.terminate()  # the server has stopped, and sent what it had before
        spans = [json.loads(line) for line in collector.stdout]
    finally:
        collector.kill()
        collector.communicate()
    of_job = {span["attributes"]["qdwell.job"]: span for span in spans if span["name"] == "job"}
    assert set(of_job) == {done.job_id(), failed.job_id()}
    assert {span["service"] for span in spans} == {"qdwell"}
    check_whole(of_job[done.job_id()], spans, session.session_id, used_ms)
    broken = of_job[failed.job_id()]
    assert broken["status"] == 2  # STATUS_CODE_ERROR
    assert "not supported" in broken["said"]
    assert broken["attributes"]["qdwell.code"] == 1517
    parts = [it["name"] for it in spans if it["parent"] == broken["id"]]
    assert parts == ["queued", "prepare"]


def check_whole(whole: dict[str, Any], spans: list[Any], session: Any, used_ms: int) -> None:
    """One trace, whose parts lie in the whole, one behind the other without a gap."""
    parts = [it for it in spans if it["parent"] == whole["id"]]
    assert [whole["name"], *(it["name"] for it in parts)] == WHOLE
    assert {it["trace"] for it in parts} == {whole["trace"]}
    assert whole["parent"] == ""
    assert [it["start"] for it in parts] == [whole["start"], *(it["end"] for it in parts[:-1])]
    assert parts[-1]["end"] == whole["end"]
    told = whole["attributes"]
    assert told["qdwell.group"] == session
    assert told["qdwell.status"] == "Completed"
    assert told["qdwell.quantum_ms"] == used_ms
    assert whole["status"] == 0


@pytest.mark.parametrize("kind", ["dead", "deaf"])
def test_a_collector_that_does_not_answer_hurts_nobody(kind: str, tmp_path: Path) -> None:
    """Dead: nobody listens. Deaf: connections are taken, and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "deaf":
            listener.listen(50)
        port = listener.getsockname()[1]
        with serving(tmp_path, f'traces_url = "http://127.0.0.1:{port}"') as service:
            sampler = SamplerV2(mode=service.backend("lab"))
            jobs = [sampler.run([bell()], shots=10) for _ in range(20)]
            assert all(job.result() for job in jobs)
            began = stopwatch_ns()
        assert (stopwatch_ns() - began) / 1e9 < 30  # it stops, too: its last spans are given up
    log = (tmp_path / "log").read_text()
    assert log.count("Traceback") == 0
    assert len(log.splitlines()) < 40  # one line for each try is enough
