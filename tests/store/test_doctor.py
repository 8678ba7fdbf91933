"""The doctor: each kind of harm is found, in either database, and a sound store is sound."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conformance.stores.world import NOW, World, steps
from qdwell.config import Config
from qdwell.core.decisions import PutBackendState
from qdwell.core.events import BackendMode
from qdwell.core.group import GroupState
from qdwell.core.job import JobState
from qdwell.engine import checkup
from qdwell.errors import StoreTooNew
from qdwell.store import Store, open_store
from qdwell.store.doctor import examine
from qdwell.store.shelves import FolderShelf
from store.conftest import damage
from store.test_portable import faults, place, place_of, store, world

__all__ = ["place", "place_of", "store", "world"]  # fixtures


def test_a_store_in_use_is_sound(world: World) -> None:
    """The records by themselves, and a scheduler that wakes up on them."""
    assert faults(world.store) == []
    config = Config()
    found = [it.what for it in checkup.examine(config, world.store)]
    assert found == ["has jobs or sessions waiting, and the config has it not"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("UPDATE jobs SET state = 'completed' WHERE id = 'job1'", "no result"),
        ("DELETE FROM job_blobs WHERE job = 'job1'", "has no input"),
        ("UPDATE jobs SET quantum_ms = 5 WHERE id = 'job2'", "0 ms by its charges (P8)"),
        ("DELETE FROM events WHERE subject = 'job1'", "has no story (P6)"),
        ("UPDATE events SET state_after = 'executed' WHERE state_after = 'ready'", "(P6)"),
        ("UPDATE groups SET usage_ms = 7", "used 7 ms by its record"),
    ],
)
def test_harm_is_found(world: World, harm: str, said: str) -> None:
    """By hand, as a bug or an operator would do it; the schema lets it pass."""
    owner = {"instance": world.a, "backend": "qpu", "kind": "job", "charged": True}
    with world.store.database.writing() as connection:
        from qdwell.store.tables import charges

        row = {"id": "c", "job": "job2", "group": None, "start": NOW, "end": NOW + 2}
        connection.execute(charges.insert().values(**owner, **row))
        if "quantum" in harm:
            connection.exec_driver_sql("DELETE FROM charges")
            connection.execute(charges.insert().values(**owner, **{**row, "end": NOW}))
        connection.exec_driver_sql(
            harm.replace(
                "state = 'completed'",
                f"state = 'completed', running_at = {NOW + 1}, finished_at = {NOW + 2}",
            )
        )
    assert any(said in it for it in faults(world.store)), faults(world.store)


def test_damaged_and_lost_and_left_over_files_are_found(world: World) -> None:
    """A file with another content, one that is gone, and one that nobody needs."""
    shelf = world.store.blobs.shelf
    assert isinstance(shelf, FolderShelf)
    one, two = (shelf.path(key) / key for key in sorted(shelf.keys()))
    one.write_bytes(one.read_bytes()[:-1] + b"?")
    two.unlink()
    shelf.write("ab" * 32, b"left over")
    found = list(examine(world.store))
    assert sum("not what its name says" in it.what for it in found) == 1
    assert sum("its file is not in" in it.what for it in found) == 1
    assert [it.what[:7] for it in found if it.harmless] == ["1 files"]
    quick = [it.what for it in examine(world.store, read_files=False)]
    assert not any("not what its name says" in it for it in quick)


def test_two_sessions_on_one_machine_at_once_are_found(world: World) -> None:
    """P9, over the whole past."""
    from qdwell.store.tables import charges

    with world.store.database.writing() as connection:
        for n, (start, end) in enumerate([(NOW, NOW + 10), (NOW + 9, None)]):
            connection.execute(
                charges.insert().values(
                    id=f"w{n}",
                    instance=world.a,
                    backend="qpu",
                    kind="session",
                    group=f"g{n}",
                    start=start,
                    end=end,
                    charged=True,
                )
            )
    assert any("P9" in it for it in faults(world.store))


def charge(world: World, name: str, start: int, end: int | None, **more: Any) -> None:
    """Write a charge past every guard."""
    from qdwell.store.tables import charges

    row = {"id": name, "job": name, "group": None, "kind": "job", "charged": True, **more}
    row |= {"instance": world.a, "backend": "qpu", "start": start, "end": end}
    with world.store.database.writing() as connection:
        connection.execute(charges.insert().values(**row))


def harm(world: World, *statements: str) -> None:
    with world.store.database.writing() as connection:
        for each in statements:
            connection.exec_driver_sql(each)


def lost_raw(world: World) -> None:
    """A job that was executed, and whose raw data is gone."""
    job = world.submit()
    world.store.commit(steps(job, JobState.EXECUTED), NOW)


def dead_group(world: World) -> None:
    """A job that waits in a session that was closed behind its back."""
    group = world.open()
    world.submit(world.new_job(group=group.id))
    world.change(group, GroupState.CLOSED, closed_at=NOW + 10, accepting=False)


def strange_group(world: World) -> None:
    """A job in a session of another instance."""
    group = world.open(world.new_group(instance=world.b))
    harm(world, f"UPDATE jobs SET group_id = '{group.id}' WHERE id = 'job1'")


def overlapping_runs(world: World) -> None:
    """Two jobs in one QPU at once, the first of which has not even left."""
    charge(world, "one", NOW, None)
    charge(world, "two", NOW + 5, NOW + 6)


def job_in_a_session(world: World) -> None:
    """A foreign job in the QPU within a session's window."""
    charge(world, "window", NOW, NOW + 50, job=None, group="g", kind="session")
    charge(world, "short", NOW + 1, NOW + 2)
    charge(world, "one", NOW + 49, NOW + 60)


def stale_lease(world: World) -> None:
    """A machine that is leased to a job that is done: nobody would ever get it."""
    record = PutBackendState("qpu", BackendMode.ONLINE, "", "job2", 1, NOW, False, None, None, NOW)
    world.store.commit([record], NOW)


def small_blob(world: World) -> None:
    """A blob in the database that is not what its name says."""
    from qdwell.store.tables import blobs

    with world.store.database.writing() as connection:
        connection.execute(blobs.update().where(blobs.c.size == 5).values(content=b"smell"))


def numbers(world: World) -> None:
    """The next job would get a number that another one has."""
    harm(world, "UPDATE server SET last_seq = 0")


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (lost_raw, "was executed and has no raw data"),
        (dead_group, "is not final in a session or batch that is closed"),
        (strange_group, "is of another instance or backend"),
        (overlapping_runs, "job two held it before job one let it go (P1"),
        (job_in_a_session, "job one held it before session g let it go"),
        (stale_lease, "is leased to job job2, which is not in it (P1)"),
        (small_blob, "its content is not what its name says"),
        (numbers, "says that 0 is the last number"),
    ],
    ids=lambda it: getattr(it, "__name__", None),
)
def test_more_harm_is_found(world: World, done: Callable[[World], None], said: str) -> None:
    """What commits refuse and a hand can do."""
    done(world)
    assert any(said in it for it in faults(world.store)), faults(world.store)


def test_who_held_it_for_no_time_is_no_harm(world: World) -> None:
    """A job that is lost in the instant of its grant, and the next one from that instant on."""
    charge(world, "one", NOW, NOW + 5)
    charge(world, "two", NOW, NOW)
    assert not [it for it in faults(world.store) if "held it before" in it]


def sqlite_store(folder: Path) -> Path:
    """A closed SQLite store with some rows; its file."""
    with closing(open_store(folder)) as opened:
        made = World(opened)
        for _ in range(50):
            made.finished(params=b"p" * 5_000)
    return folder / "qdwell.db"


def findings(folder: Path) -> list[str]:
    with closing(open_store(folder)) as opened:
        return [it.what for it in examine(opened)]


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    """SQLite's own check, over every page."""
    path = sqlite_store(tmp_path)
    damage(path)
    store: Store
    with closing(open_store(tmp_path)) as store:
        (first, *_) = store.database.ailments()
        assert first.where == str(path)


def test_rows_that_refer_to_nothing_are_found(tmp_path: Path) -> None:
    """A job whose instance was deleted by hand, with the checks off."""
    path = sqlite_store(tmp_path)
    with closing(sqlite3.connect(path)) as hand:
        hand.execute("PRAGMA foreign_keys = OFF")
        hand.execute("DELETE FROM job_blobs WHERE role = 'params'")
        hand.execute("DELETE FROM instances WHERE name IN (SELECT name FROM instances LIMIT 1)")
        hand.commit()
    assert any("refers to no row of instances" in it for it in findings(tmp_path))


def test_a_store_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    """It is not examined by rules that it may not have."""
    path = sqlite_store(tmp_path)
    with closing(sqlite3.connect(path)) as hand:
        hand.execute("UPDATE alembic_version SET version_num = '9999'")
        hand.commit()
    with pytest.raises(StoreTooNew):
        open_store(tmp_path)
