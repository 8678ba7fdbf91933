"""Ids: their form, that they sort by time, and that no two are alike, whoever takes them."""

from __future__ import annotations

import os
import threading

import pytest

from qdwell.store import new_id
from qdwell.store.ids import LETTERS, new_trace, spelt

COUNT = 3_000  # more than what is got from the system at once


def one_by_one(number: int, length: int) -> str:
    return "".join(LETTERS[number >> shift & 31] for shift in range(5 * (length - 1), -1, -5))


@pytest.mark.parametrize("at", [0, 1, 1_795_910_400_000, 2**50 - 1])
def test_an_id_begins_with_its_millisecond(at: int) -> None:
    """So that new rows stay together in the database, and ids sort as they were made."""
    made = new_id(at)
    assert made[:10] == one_by_one(at, 10)
    assert len(made) == 26
    assert set(made) <= set(LETTERS)
    assert new_id(at) < new_id(at + 1) or at == 2**50 - 1


@pytest.mark.parametrize("content", [bytes(10), b"\xff" * 10, bytes(range(1, 11)), b"qdwell rea"])
def test_ten_bytes_are_sixteen_letters(content: bytes) -> None:
    """Five bits a letter, the highest first: ids that were stored before are spelt alike."""
    assert spelt(content) == one_by_one(int.from_bytes(content, "big"), 16)


def test_no_two_threads_are_given_the_same() -> None:
    """The engine's loop and the database's threads make ids at once."""
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into += [new_id(0) for _ in range(COUNT)]

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({it for some in made for it in some}) == 4 * COUNT
    assert len({new_trace() for _ in range(COUNT)}) == COUNT


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_repeats_none_of_ours() -> None:
    """What was got in bulk before a fork would be given out twice."""
    new_id(0), new_trace()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, f"{new_id(0)} {new_trace()}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = set(os.read(read, 1_000).decode().split())
    os.close(read), os.close(write)
    assert len(theirs) == 2
    assert not theirs & {it for _ in range(COUNT) for it in (new_id(0), new_trace())}
