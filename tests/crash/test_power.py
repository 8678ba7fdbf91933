"""Power loss: only what was synced is there, and all that was acknowledged is in it."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from conformance.stores.world import World
from crash.power import Op, Recorder
from qdwell.store import open_store
from qdwell.store.blobs import INLINE_BYTES_MAX

CUTS = 60


def lived(
    folder: Path, recorder: Recorder, synchronous: str | None
) -> list[tuple[int, str, bytes]]:
    """Submit jobs and acknowledge them; for each the moment, its id, and its input."""
    store = open_store(folder)
    if synchronous is not None:
        database: Any = store.database

        def weaken(connection: Any, _record: Any) -> None:
            connection.execute(f"PRAGMA synchronous = {synchronous}")

        database._drop_writer()
        event.listen(database._writer_engine, "connect", weaken)
    world = World(store)
    told = []
    for n in range(24):
        params = bytes([n]) * (INLINE_BYTES_MAX + 1 if n % 6 == 5 else 500)
        job = world.submit(params=params)
        told.append((len(recorder.ops), job.id, params))
    recorder.instance, recorder.finished = world.a, len(recorder.ops)
    store.close()
    return told


def blobs_recorded(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record our own files: their content counts once synced, their name once the folder is."""
    fsync, rename = os.fsync, Path.rename

    def synced(handle: int) -> None:
        fsync(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path.is_dir():
            recorder.ops.append(Op("folder", str(path)))
        else:
            recorder.ops.append(Op("content", str(path), data=path.read_bytes()))

    def renamed(self: Path, target: Path) -> Path:
        found = rename(self, target)
        recorder.ops.append(Op("name", str(self), data=str(target).encode()))
        return found

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)


def blobs_after(recorder: Recorder, moment: int, place: Path) -> None:
    """Write the blob files whose content, name, and folder were synced before the cut."""
    content: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for op in recorder.ops[:moment]:
        if op.kind == "content":
            content[op.path] = op.data
        elif op.kind == "name":
            names[op.data.decode()] = op.path
        elif op.kind == "folder":
            for target in [it for it in names if str(Path(it).parent) == op.path]:
                found = place / Path(target).relative_to(recorder.folder)
                found.parent.mkdir(parents=True, exist_ok=True)
                found.write_bytes(content.get(names.pop(target), b""))


def lost(recorder: Recorder, told: list[Any], place: Path) -> list[str]:
    """What was acknowledged and is not there, over many power cuts."""
    dice = random.Random(7)
    ready = told[0][0]
    missing = []
    moments = [at for at, _, _ in told]
    moments += [dice.randint(ready, recorder.finished) for _ in range(CUTS - len(moments))]
    for number, moment in enumerate(moments):
        there = place / str(number)
        recorder.after(moment, there, dice, kept=dice.choice((0.0, 0.0, 0.5, 1.0)))
        blobs_after(recorder, moment, there)
        try:
            store = open_store(there)
        except Exception as error:
            missing.append(f"cut {moment}: the store does not open: {error}")
            continue
        try:
            for at, job_id, params in told:
                if at <= moment and store.params(recorder.instance, job_id) != params:
                    missing.append(f"cut {moment}: {job_id}, acknowledged at {at}")
        except Exception as error:
            missing.append(f"cut {moment}: {error}")
        store.close()
        shutil.rmtree(there)
    return missing


def recorded(folder: Path) -> Recorder:
    try:
        return Recorder(folder)
    except AttributeError:
        pytest.skip("SQLite is linked into this Python: its file methods cannot be reached")


def test_what_is_acknowledged_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6: over cuts at each acknowledgement and between: all that was told is there."""
    with recorded(tmp_path / "data") as recorder:
        blobs_recorded(recorder, monkeypatch)
        told = lived(tmp_path / "data", recorder, None)
    monkeypatch.undo()
    assert len(told) == 24
    assert lost(recorder, told, tmp_path / "after") == []


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_the_recorder_sees_a_missing_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synchronous: str
) -> None:
    """The test itself: with weaker settings of SQLite, acknowledged jobs are gone."""
    with recorded(tmp_path / "data") as recorder:
        blobs_recorded(recorder, monkeypatch)
        told = lived(tmp_path / "data", recorder, synchronous)
    monkeypatch.undo()
    assert any("acknowledged" in it for it in lost(recorder, told, tmp_path / "after"))
