"""A course at the beginning of its hour: everybody's program submits at the same moment."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from e2e.gated import class_of
from security import payloads
from security.conftest import BASE
from security.served import ONE_MACHINE, served

STUDENTS = 200
EACH = 3
HASTY_MAX = 2  # submissions per minute of every fourth student's plan
CONFIG = f"[plans.hasty]\nsubmissions_per_minute = {HASTY_MAX}\n" + ONE_MACHINE
BODY = {
    "program_id": "sampler",
    "backend": "machine",
    "params": payloads.tagged(payloads.sampler([payloads.bell(), None, 1])),
}
WAIT_S = 400  # of one answer, on a machine that is busy with others' tests, too


@dataclass
class Student:
    """One token, and what was answered."""

    name: str
    headers: dict[str, str]
    accepted: list[str] = field(default_factory=list)
    refused: list[httpx.Response] = field(default_factory=list)


async def sign_in(http: httpx.AsyncClient, name: str, settings: Mapping[str, str]) -> Student:
    token = {"apikey": settings["QISKIT_IBM_TOKEN"]}
    answer = await http.post("/identity/token", data=token)
    assert answer.status_code == 200, answer.text
    bearer = f"Bearer {answer.json()['access_token']}"
    headers = {"Authorization": bearer, "IBM-API-Version": "2026-04-15"}
    return Student(name, headers | {"Service-CRN": settings["QISKIT_IBM_INSTANCE"]})


async def submit(http: httpx.AsyncClient, who: Student, number: int) -> None:
    body = json.dumps(BODY | {"tags": [f"{who.name}-{number}"]})
    answer = await http.post(f"{BASE}/jobs", content=body, headers=who.headers)
    if answer.status_code == 200:
        who.accepted.append(answer.json()["id"])
    else:
        who.refused.append(answer)


async def check_all_there(http: httpx.AsyncClient, who: Student) -> None:
    """What was accepted is listed once and runs to its end; what was refused is not there."""
    for job in who.accepted:
        while True:  # the server holds each question
            answer = await http.get(f"{BASE}/jobs/{job}", headers=who.headers)
            assert answer.status_code == 200, answer.text
            if (status := answer.json()["state"]["status"]) not in ("Queued", "Running"):
                break
        assert status == "Completed"
    listed = (await http.get(f"{BASE}/jobs?limit=200", headers=who.headers)).json()
    assert sorted(it["id"] for it in listed["jobs"]) == sorted(who.accepted)
    assert listed["count"] == len(who.accepted)
    tags = [tag for it in listed["jobs"] for tag in it["tags"]]
    assert len(set(tags)) == len(tags) == len(who.accepted)


async def an_hour_begins(url: str, everyone: Mapping[str, Mapping[str, str]]) -> list[Student]:
    limits = httpx.Limits(max_connections=STUDENTS)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=WAIT_S, trust_env=False
    ) as http:
        students = await asyncio.gather(
            *(sign_in(http, name, settings) for name, settings in everyone.items())
        )
        await asyncio.gather(
            *(submit(http, who, number) for number in range(EACH) for who in students)
        )
        await asyncio.gather(*(check_all_there(http, who) for who in students))
    return students


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_two_hundred_tokens_submit_at_once(tmp_path: Path) -> None:
    """Each is answered 200 or a clear 429; nothing is lost or doubled, and the server is well."""
    with served(tmp_path, CONFIG) as server:
        plans = {f"s{n}": "hasty" if n % 4 == 0 else "default" for n in range(STUDENTS)}
        everyone = class_of(tmp_path, server.folder, plans)
        students = asyncio.run(an_hour_begins(server.url, everyone))
        for who in students:
            most = HASTY_MAX if int(who.name[1:]) % 4 == 0 else EACH
            assert (len(who.accepted), len(who.refused)) == (most, EACH - most), who
            for answer in who.refused:
                assert answer.status_code == 429, answer.text
                assert int(answer.headers["retry-after"]) >= 1
                (error,) = answer.json()["errors"]
                assert str(HASTY_MAX) in error["message"]
        ids = Counter(job for who in students for job in who.accepted)
        assert len(ids) == ids.total() == STUDENTS * EACH - STUDENTS // 4
        log = server.log.read_text()
        assert "Traceback" not in log
        assert "request failed" not in log
