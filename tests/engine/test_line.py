"""Users take turns at a pool's workers, and no one of them can have all."""

from __future__ import annotations

from qdwell.engine.line import Line
from qdwell.engine.pools import Task


def task(owner: str, n: int) -> Task:
    return Task(
        {"n": f"{owner}{n}"}, [], on_frame=lambda _: None, on_lost=lambda: None, owner=owner
    )


def names(line: Line, at_work: list[Task]) -> list[str]:
    """What is taken, one after the other, by workers that do not end."""
    found = []
    while (taken := line.take(at_work)) is not None:
        at_work = [*at_work, taken]
        found.append(str(taken.head["n"]))
    return found


def test_users_take_turns_and_keep_their_own_order() -> None:
    """A thousand tasks of one user are before none of another's."""
    line = Line(share=3)
    for n in range(5):
        line.add(task("a", n))
    line.add(task("b", 0))
    assert names(line, []) == ["a0", "b0", "a1", "a2"]  # a has its share


def test_one_user_never_has_all_workers() -> None:
    """The share is kept even while nobody else waits, so that whoever comes finds a worker."""
    line = Line(share=2)
    busy = [task("a", 0), task("a", 1)]
    line.add(task("a", 2))
    assert line.take(busy) is None
    assert line.room(busy, 1) == 0
    line.add(task("b", 0))
    assert names(line, busy) == ["b0"]


def test_without_a_share_the_order_of_the_core_stands() -> None:
    """A machine's order is the scheduler's alone."""
    line = Line()
    for owner, n in (("a", 0), ("b", 0), ("a", 1)):
        line.add(task(owner, n))
    gone = next(iter(line))
    line.remove(gone)
    assert names(line, []) == ["b0", "a1"]
    assert not line
