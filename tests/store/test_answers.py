"""The file that says which ids of new jobs were handed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdwell.store.answers import Answers


def test_what_the_file_of_answers_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a death, what it lacks was not answered; after a boot, or without it, nobody knows."""
    path = tmp_path / "answered"
    first = Answers(path)
    assert first.missing(["a", "b"]) == set()
    first.note("a")
    second = Answers(path)
    assert second.missing(["a", "b"]) == {"b"}
    for n in range(20_000):
        second.note(f"n{n}")
    assert path.stat().st_size < 200_000
    assert Answers(path).missing(["n19999", "c"]) == {"c"}
    monkeypatch.setattr("qdwell.store.answers._BOOT", tmp_path / "no boot")
    assert Answers(path).missing(["c"]) == set()
    for each in (first, second):
        each.close()
