"""The demo's text timeline: pure, so every cell can be told."""

from __future__ import annotations

from qdwell.cli.timeline import JobSpan, Window, lanes_of, render


def _span(mark: str, running: float, qpu: tuple[float, float], finished: float) -> JobSpan:
    return JobSpan(
        mark=mark,
        created=0.0,
        running=running,
        ready=running + 1,
        qpu_start=qpu[0],
        qpu_end=qpu[1],
        finished=finished,
    )


def test_jobs_that_overlap_take_different_lanes() -> None:
    """A lane holds one job at a time, and is used again when it is free."""
    first, second = _span("a", 0, (1, 3), 4), _span("b", 0, (3, 4), 5)
    third = _span("c", 4, (5, 6), 7)
    assert lanes_of([first, second, third]) == [[first, third], [second]]


def test_rows_show_stages_owners_and_the_idle_gap() -> None:
    """Ten seconds in ten cells: preparation, waiting, the QPU, and a session that holds it idle."""
    jobs = [_span("a", 0, (2, 5), 6), _span("b", 0, (5, 6), 7)]
    jobs.append(JobSpan("x", 0.0, 9, None, None, None, 10))
    lines = render(jobs, [Window("S", 0, 8)], width=10)
    rows = {line[:8].strip(): line[9:] for line in lines}
    assert rows["held by"] == "SSSSSSSS"
    assert rows["lane 1"] == "prQQQp   p"
    assert rows["lane 2"] == "prrrrQp"
    assert rows["QPU"] == "..aaab.."


def test_nothing_finished_is_said() -> None:
    """Without an end there is no scale."""
    assert render([], [], width=10) == ["(no job has finished)"]
