"""Every page opens in under 200 ms with 100,000 jobs in the store.

What is measured is the time on a processor, which does not grow when other tests run beside.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from console.crowded import BACKEND, END, GROUPS, JOBS, MONTH_MS, fill
from qdwell import console
from qdwell.api.app import build
from qdwell.clock import ManualClock
from qdwell.config import Backend, Config
from qdwell.engine.engine import Engine
from qdwell.store import Store, accounts, open_store

LIMIT_MS = 200
CONFIG = Config(backends=(Backend(BACKEND, "scripted"), Backend("spare", "scripted")))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Any]]:
    folder: Path = tmp_path_factory.mktemp("crowded")
    store = open_store(folder)
    first = accounts.first_start(store, END - MONTH_MS)
    other = accounts.create_account(store, "other", "default", END - MONTH_MS)
    assert first is not None
    fill(store, first, other)
    yield store, first
    store.close()


PAGES = {
    "all jobs": "/jobs",
    "far back": "/jobs?page=600",
    "completed": "/jobs?state=completed",
    "failed, of which there are few": "/jobs?state=failed",
    "queued, of which there are none": "/jobs?state=queued",
    "a rare tag": "/jobs?tag=rare",
    "a text in tags": "/jobs?text=rar",
    "a text that is nowhere": "/jobs?text=nowhere",
    "another machine": "/jobs?backend=spare",
    "an old day": "/jobs?after=2026-11-01&before=2026-11-02",
    "a session": f"/jobs?session=group{GROUPS // 2}",
    "one job": f"/jobs/job{JOBS // 2}",
    "sessions": "/sessions",
    "one session": f"/sessions/group{GROUPS // 2}",
    "machines": "/machines",
    "the last minutes": f"/timeline?machine={BACKEND}&span=600000",
    "a day": f"/timeline?machine={BACKEND}&span=86400000",
    "the month": f"/timeline?machine={BACKEND}&span={MONTH_MS}",
    "minutes long ago": (
        f"/timeline?machine={BACKEND}&from={END - MONTH_MS}&to={END - MONTH_MS + 600_000}"
    ),
    "usage": "/instances",
    "members": "/instances/members",
    "tokens": "/instances/tokens",
    "admin": "/admin",
    "all accounts": "/admin/accounts",
    "all instances": "/admin/instances",
    "an instance": "/admin/instances/other",
    "all users": "/admin/users",
    "all tokens": "/admin/tokens",
    "plans": "/admin/plans",
    "a plan": "/admin/plans/default",
    "the audit log": "/admin/audit",
    "start": "/start",
}


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_opens_at_once_with_many_jobs(crowded: Any, name: str) -> None:
    store, who = crowded
    clock = ManualClock(END)
    app = build(CONFIG, store, Engine(CONFIG, store, clock), clock)
    console.add(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://qdwell") as http:
        assert (await http.post("/sign-in", data={"token": who.token})).status_code == 303
        await http.get("/start")  # the templates' base is compiled by the first page
        took: list[float] = []
        while len(took) < 4 and min(took, default=LIMIT_MS) >= LIMIT_MS:
            began = time.process_time_ns()
            answer = await http.get(PAGES[name])
            took.append((time.process_time_ns() - began) / 1e6)
            assert answer.status_code == 200, answer.text[-800:]
    assert min(took) < LIMIT_MS, took


async def test_a_month_is_counted_in_columns_and_no_job_is_left_out(crowded: Any) -> None:
    """Every job is in one column, whether the store is asked or what was kept of it."""
    store, who = crowded
    clock = ManualClock(END)
    app = build(CONFIG, store, Engine(CONFIG, store, clock), clock)
    console.add(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://qdwell") as http:
        await http.post("/sign-in", data={"token": who.token})
        month = f"/timeline?machine={BACKEND}&from={END - MONTH_MS}&to={END}"
        for path, wanted in ((month, JOBS), (month, JOBS), (PAGES["a day"], JOBS * 0.96 / 28)):
            page = (await http.get(path)).text
            began = [int(it.replace(",", "")) for it in re.findall(r"([\d,]+) jobs began", page)]
            assert sum(began) == pytest.approx(wanted, rel=0.01)
            assert "Too many jobs to draw one by one" in page
        few = (await http.get(PAGES["the last minutes"])).text
        assert "jobs began" not in few
        assert "/jobs/job" in few
