"""The auditor can fail: forged decisions are found, by the name of the rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.world import BACKEND, World
from qdwell.core.audit import Auditor
from qdwell.core.decisions import (
    Decision,
    Held,
    PutBackendState,
    PutCharge,
    PutGroup,
    PutJob,
    Refusal,
    Refuse,
)
from qdwell.core.events import BackendMode, CancelJob, PutBackend, RunStopped, SubmitJob
from qdwell.core.group import Ending, Group, GroupState, Mode
from qdwell.core.job import Job, JobState
from qdwell.core.state import Settings, Snapshot
from qdwell.errors import BrokenInvariant

JOB = Job("j", 5, "A", "m", 0, limit_ms=100)
GROUP = Group("g", 1, Mode.SESSION, "A", "m", 0, 10, 50, idle_since=0)
NEW = PutJob(JOB, None, "", 0)


def put(old: Job, to: JobState, at: int, **changes: Any) -> PutJob:
    return PutJob(replace(old, state=to, **changes), old.state, "", at)


RUN = put(JOB, JobState.PREPARING, 1, running_at=1, attempt=1)
READY = put(RUN.job, JobState.READY, 2, ready_at=2)
EXEC = put(READY.job, JobState.EXECUTING, 3, executing_at=3)
OUT = put(EXEC.job, JobState.EXECUTED, 9, executed_at=9, quantum_ms=6)
POST = put(OUT.job, JobState.POSTPROCESSING, 9)
DONE = put(POST.job, JobState.COMPLETED, 10, finished_at=10)
OPENED = PutCharge("j:3", "A", "m", Held.JOB, "j", None, 3, None)
CHARGE = replace(OPENED, end=9)
WHOLE = [NEW, RUN, READY, EXEC, OPENED, CHARGE, OUT, POST, DONE]
NEW_GROUP = PutGroup(GROUP, None, "", 0)
ACTIVE = PutGroup(
    GROUP.evolve(
        state=GroupState.ACTIVE, started_at=1, activated_at=1, idle_since=None, charging_since=1
    ),
    GroupState.OPEN,
    "",
    1,
)
CLOSED = PutGroup(
    GROUP.evolve(state=GroupState.CLOSED, accepting=False, closed_at=5, ending=Ending.CLOSE),
    GroupState.OPEN,
    "",
    5,
)


def auditor(lanes: int = 2, *, simulator: bool = False) -> Auditor:
    new = Auditor(Settings())
    new.observe([PutBackend("m", simulator, lanes, True)], [], 0)
    return new


def hear(
    *decisions: Decision,
    at: int = 20,
    to: Auditor | None = None,
    events: Any = (),
    restamp: bool = True,
) -> Auditor:
    """Let an auditor hear decisions; unless told not to, put their instants in order first."""
    to = to or auditor()
    now = 0
    stamped: list[Decision] = []
    for decision in decisions:
        if restamp and isinstance(decision, PutJob | PutGroup):
            now = max(now, decision.at)
            stamped.append(replace(decision, at=now))
        else:
            stamped.append(decision)
    to.observe(events, stamped, at)
    return to


def other(decision: PutJob, name: str = "k", **changes: Any) -> PutJob:
    return replace(decision, job=replace(decision.job, id=name, **changes))


def test_a_whole_life_is_sound() -> None:
    heard = hear(*WHOLE)
    assert heard.usage_ms("A", 20) == 6
    hear(NEW_GROUP, ACTIVE)


def within(group: Group, job: PutJob) -> PutJob:
    return replace(job, job=replace(job.job, group=group.id))


PENDING = PutGroup(
    ACTIVE.group.evolve(state=GroupState.PENDING_CLOSED, accepting=False, ending=Ending.CANCEL),
    GroupState.ACTIVE,
    "",
    1,
)
FORGED: list[tuple[str, list[Decision]]] = [
    ("P6", [replace(NEW, was=JobState.QUEUED)]),
    ("P6", [NEW, replace(RUN, was=JobState.READY)]),
    ("P6", [NEW, NEW]),
    ("J5", [PutJob(replace(JOB, state=JobState.PREPARING), None, "", 0)]),
    ("J5", [NEW, put(JOB, JobState.EXECUTING, 1)]),
    ("J5", [NEW, RUN, put(RUN.job, JobState.READY, 2, attempt=0)]),
    ("J5", [*WHOLE, put(DONE.job, JobState.COMPLETED, 11)]),
    ("J7", [NEW, put(JOB, JobState.CANCELLED, 1, finished_at=-1, code=5202)]),
    ("J7", [NEW, put(JOB, JobState.CANCELLED, 1, code=5202)]),
    ("J7", [NEW, replace(RUN, job=replace(RUN.job, finished_at=1))]),
    ("C8", [NEW, replace(RUN, at=9), READY]),
    ("C8", [replace(NEW, at=21)]),
    ("P5", [NEW_GROUP, within(GROUP, NEW), within(GROUP, RUN)]),
    ("P5", [NEW_GROUP, ACTIVE, PENDING, within(GROUP, NEW), within(GROUP, RUN)]),
    ("P15", [NEW, other(NEW, seq=6), other(RUN, seq=6)]),
    ("U1", [NEW, RUN, READY, replace(EXEC, at=4)]),
    ("U1", [NEW, RUN, READY, EXEC, replace(OUT, job=replace(OUT.job, quantum_ms=7))]),
    ("U1", [NEW, RUN, READY, EXEC, replace(OUT, job=replace(OUT.job, quantum_ms=-1))]),
    ("P8", [*WHOLE[:4], *WHOLE[6:]]),
    ("P8", [*WHOLE[:4], OPENED, replace(CHARGE, end=8), *WHOLE[6:]]),
    ("P8", [OPENED, replace(CHARGE, end=2)]),
    ("P8", [OPENED, replace(CHARGE, start=4)]),
    ("P8", [OPENED, CHARGE, OPENED]),
    ("P8", [OPENED, CHARGE, replace(CHARGE, end=8, charged=False)]),
    ("P8", [OPENED, CHARGE, CHARGE]),
    ("P8", [NEW_GROUP, replace(ACTIVE, group=ACTIVE.group.evolve(usage_ms=1))]),
    ("U8", [NEW, put(JOB, JobState.CANCELLED, 1, finished_at=1, code=5202, quantum_ms=1)]),
    ("E22", [NEW, put(JOB, JobState.CANCELLED, 1, finished_at=1)]),
    ("E22", [*WHOLE[:8], replace(DONE, job=replace(DONE.job, code=1))]),
    ("P7", [*WHOLE[:8], put(POST.job, JobState.FAILED, 10, finished_at=10, code=4001)]),
    ("P7", [*WHOLE[:8], put(POST.job, JobState.CANCELLED, 10, finished_at=10, code=5202)]),
    ("U8", [*WHOLE[:8], put(POST.job, JobState.FAILED, 10, finished_at=10, code=5203)]),
    ("P6", [replace(NEW_GROUP, was=GroupState.OPEN)]),
    ("P6", [NEW_GROUP, replace(ACTIVE, was=GroupState.INACTIVE)]),
    ("S2", [replace(NEW_GROUP, group=ACTIVE.group)]),
    ("S2", [replace(NEW_GROUP, group=GROUP.evolve(accepting=False))]),
    ("S10", [NEW_GROUP, replace(ACTIVE, group=ACTIVE.group.evolve(state=GroupState.INACTIVE))]),
    ("S10", [NEW_GROUP, CLOSED, PutGroup(CLOSED.group, GroupState.CLOSED, "", 6)]),
    (
        "S32",
        [
            NEW_GROUP,
            PutGroup(GROUP.evolve(accepting=False), GroupState.OPEN, "", 0),
            NEW_GROUP.__class__(GROUP, GroupState.OPEN, "", 0),
        ],
    ),
    (
        "S16",
        [
            NEW_GROUP,
            ACTIVE,
            PutGroup(ACTIVE.group.evolve(started_at=0), GroupState.ACTIVE, "", 1),
        ],
    ),
    ("S16", [NEW_GROUP, replace(ACTIVE, group=ACTIVE.group.evolve(activated_at=2))]),
    ("P12", [NEW_GROUP, replace(CLOSED, group=CLOSED.group.evolve(started_at=6))]),
    ("S33", [NEW_GROUP, replace(CLOSED, group=CLOSED.group.evolve(closed_at=None))]),
    ("S33", [NEW_GROUP, replace(ACTIVE, group=ACTIVE.group.evolve(closed_at=1))]),
    ("I14", [NEW_GROUP, replace(CLOSED, group=CLOSED.group.evolve(ending=None))]),
]


@pytest.mark.parametrize(("rule", "decisions"), FORGED)
def test_forged_decisions_are_found(rule: str, decisions: list[Decision]) -> None:
    with pytest.raises(BrokenInvariant, match=f"^{rule} does not hold"):
        hear(*decisions, restamp=rule != "C8")


def test_p2_lanes_are_counted_at_each_start() -> None:
    full = [NEW, other(NEW, "k", seq=6), RUN]
    hear(*full, other(RUN, "k", seq=6), to=auditor(lanes=2))
    with pytest.raises(BrokenInvariant, match="^P2"):
        hear(*full, other(RUN, "k", seq=6), to=auditor(lanes=1))


CANCEL = put(EXEC.job, JobState.CANCELLED, 9, finished_at=9, quantum_ms=6, code=5202)
CANCELLED = [*WHOLE[:6], CANCEL]


def test_a_stop_that_is_not_confirmed_holds_lane_and_qpu() -> None:
    second = [other(each, "k", seq=6) for each in (NEW, replace(RUN, at=9))]
    asked = [CancelJob("j")]
    with pytest.raises(BrokenInvariant, match="^P2"):
        hear(*CANCELLED, *second, to=auditor(lanes=1), events=asked)
    hear(*CANCELLED, *second, to=auditor(lanes=1), events=[*asked, RunStopped("m", "j", 1)])
    late = hear(*CANCELLED, to=auditor(lanes=1), events=asked)
    late.observe([RunStopped("m", "j", 1)], [], 21)
    hear(*[replace(each, at=22) for each in second], at=22, to=late)
    grant = [replace(other(each, "k", seq=6), at=20) for each in (READY, EXEC)]
    grant[1] = replace(grant[1], job=replace(grant[1].job, executing_at=20))
    with pytest.raises(BrokenInvariant, match="^P9"):
        hear(*CANCELLED, *second, *grant, events=asked)
    hear(*CANCELLED, *second, *grant, events=[*asked, RunStopped("m", "j", 1)])
    with pytest.raises(BrokenInvariant, match="^P9"):
        hear(*CANCELLED, *second, *grant, events=[*asked, RunStopped("m", "j", 2)])


def test_p9_one_run_after_the_other() -> None:
    second = [other(each, "k", seq=6) for each in (NEW, RUN, READY, EXEC)]
    with pytest.raises(BrokenInvariant, match="^P9"):
        hear(*WHOLE[:3], *second[:3], EXEC, second[3])


def test_p10_windows_and_foreign_runs_exclude_each_other() -> None:
    live = [NEW_GROUP, NEW, RUN, READY]
    with pytest.raises(BrokenInvariant, match="^P10"):
        hear(NEW_GROUP, NEW, RUN, ACTIVE, READY, EXEC)
    opened = replace(ACTIVE, at=4, group=ACTIVE.group.evolve(started_at=4, activated_at=4))
    with pytest.raises(BrokenInvariant, match="^P10"):
        hear(*live, EXEC, opened)
    window = PutCharge("h:0", "B", "m", Held.SESSION, None, "h", 0, 2)
    with pytest.raises(BrokenInvariant, match="^P10"):
        hear(NEW_GROUP, window, ACTIVE)
    hear(NEW_GROUP, replace(window, end=1), ACTIVE)


def test_p4_two_groups_live() -> None:
    second = [
        replace(each, group=each.group.evolve(id="h", mode=Mode.BATCH, charging_since=None))
        for each in (NEW_GROUP, ACTIVE)
    ]
    with pytest.raises(BrokenInvariant, match="^P4"):
        hear(NEW_GROUP, second[0], ACTIVE, second[1])


def test_p5_past_the_max_ttl() -> None:
    job = within(GROUP, NEW)
    late = replace(within(GROUP, RUN), at=51)
    with pytest.raises(BrokenInvariant, match="^P5"):
        hear(NEW_GROUP, job, ACTIVE, late, at=60)
    hear(NEW_GROUP, job, ACTIVE, replace(late, at=50), at=60)


def test_j14_more_than_the_limit() -> None:
    out = put(EXEC.job, JobState.EXECUTED, 150, executed_at=150, quantum_ms=101)
    with pytest.raises(BrokenInvariant, match="^J14"):
        hear(*WHOLE[:4], out, at=200)
    hear(*WHOLE[:4], replace(out, job=replace(out.job, quantum_ms=100)), at=200)


def test_p6_a_submission_needs_one_answer() -> None:
    with pytest.raises(BrokenInvariant, match="^P6"):
        hear(events=[SubmitJob(JOB)])
    with pytest.raises(BrokenInvariant, match="^P6"):
        hear(NEW, Refuse(Refusal.PENDING_LIMIT, "j"), events=[SubmitJob(JOB)])


def test_c8_time_does_not_go_back() -> None:
    heard = hear(NEW, at=20)
    hear(RUN, to=heard, at=20)
    with pytest.raises(BrokenInvariant, match="^C8"):
        hear(to=heard, at=0)


def test_a_refund_takes_the_bill_back() -> None:
    heard = hear(OPENED, CHARGE)
    assert heard.usage_ms("A", 20) == 6
    hear(replace(CHARGE, charged=False), to=heard)
    assert heard.usage_ms("A", 20) == 0
    assert heard.usage_ms("B", 20) == 0


def test_nothing_held_may_begin_again_within_the_millisecond() -> None:
    heard = hear(OPENED, replace(CHARGE, end=3, charged=False), OPENED, CHARGE)
    assert heard.usage_ms("A", 20) == 6


def test_a_simulators_lanes_and_runs_are_not_counted() -> None:
    second = [other(each, "k", seq=6) for each in (NEW, RUN, READY, EXEC)]
    ahead = [other(each, "l", seq=9) for each in (NEW, RUN)]
    heard = auditor(lanes=1, simulator=True)
    hear(*ahead, *WHOLE[:4], *second, to=heard)
    assert {each.state.value for each in heard.jobs.values()} == {"preparing", "executing"}


def test_the_memory_of_the_scheduler_is_compared() -> None:
    for spoil in (
        lambda s: s.jobs.update(ready=replace(s.jobs["ready"], ready_at=1001)),
        lambda s: s.groups.update(G=s.groups["G"].evolve(interactive_ttl_ms=1)),
        lambda s: setattr(s.machines[BACKEND], "mode_reason", "nobody said so"),
    ):
        world = World(lanes=2)
        world.session("G", "A")
        for name in ("qpu", "ready"):
            world.submit(name, "G", (1, 9, 1), 0)
        world.run(until=2)
        world.scheduler.auditor.check(world.scheduler.state, 2000)
        spoil(world.scheduler.state)
        with pytest.raises(BrokenInvariant, match="^P6"):
            world.scheduler.auditor.check(world.scheduler.state, 2000)
    world = World()
    world.submit("J", "A", (0, 1, 0), 0)
    world.run()
    world.scheduler.state.books.ledger.add("A", 0, 5)
    with pytest.raises(BrokenInvariant, match="^U7"):
        world.scheduler.auditor.check(world.scheduler.state, 6000)


def test_a_snapshot_holds_what_is_live_and_what_is_in_the_window() -> None:
    heard = hear(NEW_GROUP, *WHOLE, other(NEW, "k", seq=4), other(NEW, "l", seq=3))
    record = PutBackendState("m", BackendMode.ONLINE, "", None, None, None, False, None, None, 20)
    hear(
        record,
        replace(CHARGE, id="free", charged=False),
        OPENED.__class__(**open_charge()),
        to=heard,
    )
    window = Settings().window_ms
    snapshot = heard.snapshot(20)
    assert [job.id for job in snapshot.jobs] == ["l", "k"]
    assert [group.id for group in snapshot.groups] == ["g"]
    assert snapshot.backends == [record]
    assert [charge.id for charge in snapshot.charges] == ["j:3", "open"]
    assert [charge.id for charge in heard.snapshot(window + 9).charges] == ["open"]
    assert [charge.id for charge in heard.snapshot(window + 8).charges] == ["j:3", "open"]
    hear(CLOSED, to=hear(NEW_GROUP))
    assert hear(CLOSED, to=hear(NEW_GROUP, at=4)).snapshot(20).groups == []


def open_charge() -> dict[str, Any]:
    return {
        "id": "open",
        "instance": "A",
        "backend": "m",
        "kind": Held.JOB,
        "job": "k",
        "group": None,
        "start": 15,
        "end": None,
    }


def test_c8_every_kind_of_decision_keeps_the_order() -> None:
    record = PutBackendState("m", BackendMode.ONLINE, "", None, None, None, False, None, None, 0)
    for early in (record, NEW_GROUP, other(NEW, "k")):
        with pytest.raises(BrokenInvariant, match="^C8"):
            hear(NEW, RUN, early, restamp=False)


def test_an_unconfirmed_stop_holds_the_lane_at_later_instants_too() -> None:
    heard = hear(*CANCELLED, to=auditor(lanes=1), events=[CancelJob("j")])
    second = [replace(other(each, "k", seq=6), at=22) for each in (NEW, RUN)]
    with pytest.raises(BrokenInvariant, match="^P2"):
        hear(*second, at=22, to=heard)
    heard = hear(*WHOLE[:5], to=auditor(lanes=1))
    heard.observe([RunStopped("m", "j", 1)], [], 21)  # of a run that nobody stopped
    with pytest.raises(BrokenInvariant, match="^P2"):
        hear(*second, at=22, to=heard)


def test_an_older_job_of_the_instance_may_wait_for_its_active_group() -> None:
    heard = hear(NEW_GROUP, other(NEW, "older", seq=2), within(GROUP, NEW), ACTIVE)
    hear(within(GROUP, RUN), to=heard)
    assert heard.jobs["j"].state is JobState.PREPARING


def test_an_auditor_that_starts_from_a_snapshot_knows_what_was_billed() -> None:
    batch = ACTIVE.group.evolve(mode=Mode.BATCH, charging_since=None, usage_ms=7)
    before = within(batch, EXEC).job
    charge = replace(OPENED, group="g", kind=Held.BATCH)
    record = PutBackendState("m", BackendMode.ONLINE, "", "j", 1, 3, False, None, None, 4)
    snapshot = Snapshot([before], [batch], [record], [charge, replace(CHARGE, id="i:3", job="i")])
    resumed = Auditor(Settings(), snapshot)
    resumed.observe([PutBackend("m", False, 2, True)], [], 5)
    billed = PutGroup(batch.evolve(usage_ms=13), GroupState.ACTIVE, "", 9)
    out = put(before, JobState.EXECUTED, 9, executed_at=9, quantum_ms=6)
    done = put(out.job, JobState.POSTPROCESSING, 9)
    last = put(done.job, JobState.COMPLETED, 10, finished_at=10)
    resumed.observe([], [replace(charge, end=9), billed, out, done, last], 10)
    assert resumed.usage_ms("A", 10) == 12
    again = Auditor(Settings(), snapshot)
    again.observe([PutBackend("m", False, 2, True)], [], 5)
    second = [other(each, "k", seq=6) for each in (NEW, RUN, READY, EXEC)]
    with pytest.raises(BrokenInvariant, match="^P9"):
        again.observe([], [replace(each, at=5) for each in second], 5)


def test_the_state_itself_is_checked_too() -> None:
    world = World()
    world.submit("J", "A", (0, 50, 0), 0)
    world.run(until=2)
    world.scheduler.state.machines[BACKEND].running.clear()
    with pytest.raises(BrokenInvariant, match="^index"):
        world.scheduler.auditor.check(world.scheduler.state, 2000)


def test_an_auditor_from_a_snapshot_knows_a_run_that_is_over() -> None:
    resumed = Auditor(Settings(), Snapshot(jobs=[POST.job], charges=[CHARGE]))
    resumed.observe([PutBackend("m", False, 2, True)], [DONE], 10)
    assert resumed.jobs["j"].state is JobState.COMPLETED
