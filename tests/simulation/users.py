"""What users do in a simulated world, as the stock client does it, and what they hold us to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from simulation.books import FINAL, Order, Wish
from simulation.loop import pause

if TYPE_CHECKING:
    from simulation.world import World

BASE = "/api/v1"
PAUSES = (0, 1, 2, 4, 8)  # between the stock client's repetitions after a 5xx
ASKED_MOST = 6


class User:
    """One account."""

    def __init__(self, world: World, number: int, credentials: Any) -> None:
        self.world = world
        self.number = number
        self.credentials = credentials
        self._headers: dict[str, str] = {}
        self._start = -1

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """One request, signed in."""
        process = self.world.process
        if self._start != self.world.count.starts:
            await self.sign_in()
        payload = b"" if body is None else json.dumps(body).encode()
        status, answer = await process.ask(method, path, {**self._headers, **headers}, payload)
        if status == 401:
            await self.sign_in()
            status, answer = await process.ask(method, path, {**self._headers, **headers}, payload)
        assert status != 500, f"{method} {path}: {answer}"
        if status == 503:
            assert answer["errors"][0]["message"], answer
            assert answer["error"]["code"] == answer["errors"][0]["code"]
        return status, answer

    async def sign_in(self) -> None:
        form = f"grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey={self.credentials.token}"
        while True:
            status, answer = await self.world.process.ask(
                "POST", "/identity/token", {}, form.encode()
            )
            if status == 200:
                break
            assert status == 503, (status, answer)
            await pause(1)
        self._start = self.world.count.starts
        self._headers = {
            "Authorization": f"Bearer {answer['access_token']}",
            "Service-CRN": self.credentials.instance_crn,
            "IBM-API-Version": "2026-04-15",
        }

    async def insist(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask until the answer is not a 5xx; for requests that may be repeated."""
        while True:
            status, answer = await self.ask(method, path, body)
            if status < 500:
                return status, answer
            await pause(2)

    # ---- jobs and groups -----------------------------------------------------------------------

    async def submit(self, order: Order) -> None:
        """Submit, and repeat after a 5xx, as the stock client does."""
        of = order.of
        body: dict[str, Any] = {
            "program_id": "sampler",
            "backend": of["backend"],
            "params": {"pubs": [[json.dumps(of["script"]), None, 10]], "version": 2},
            "tags": [order.name],
        }
        if of.get("group") is not None:
            wish = self.world.wishes.get(of["group"])
            if wish is None or wish.id is None:
                order.state = "refused"
                return
            body["session_id"] = wish.id
        if "limit_s" in of:
            body["cost"] = of["limit_s"]
        if of.get("private"):
            body["private"] = True
        headers = {}
        if of.get("key"):
            order.key = order.key or self.world.new_key()
            headers["Idempotency-Key"] = order.key
        order.state = "asking"
        for asked in range(ASKED_MOST):
            status, answer = await self.ask("POST", f"{BASE}/jobs", body, **headers)
            if status == 200:
                order.id, order.state = answer["id"], "acknowledged"
                self.world.count.acknowledged += 1
                return
            if status < 500:
                order.state = "refused"
                assert status in (400, 409), (status, answer)
                return
            order.faults += 1
            if asked < len(PAUSES):
                await pause(PAUSES[asked])
        order.state = "told no"

    async def open(self, wish: Wish) -> None:
        """Open a session or a batch."""
        body = {key: wish.of[key] for key in ("backend", "mode", "max_ttl")}
        wish.state = "asking"
        for asked in range(ASKED_MOST):
            status, answer = await self.ask("POST", f"{BASE}/sessions", body)
            if status == 200:
                wish.id, wish.state = answer["id"], "acknowledged"
                return
            if status < 500:
                wish.state = "refused"
                return
            wish.faults += 1
            if asked < len(PAUSES):
                await pause(PAUSES[asked])
        wish.state = "told no"

    async def end_group(self, kind: str, wish: Wish) -> None:
        """Close it, cancel it, or keep it alive."""
        path = f"{BASE}/sessions/{wish.id}"
        if kind == "close":
            status, answer = await self.ask("PATCH", path, {"accepting_jobs": False})
        elif kind == "cancel_group":
            status, answer = await self.ask("DELETE", f"{path}/close")
        else:
            status, answer = await self.ask("POST", f"{path}/keep_alive", {"seconds": 5})
        assert status in (200, 204, 400, 409, 503), (kind, status, answer)
        if kind == "keep_alive" or status == 503:
            return
        status, answer = await self.ask("GET", path)
        assert status == 503 or answer["accepting_jobs"] is False, (kind, answer)

    async def cancel(self, order: Order) -> None:
        """Cancel one job (J18-J22)."""
        status, answer = await self.ask("POST", f"{BASE}/jobs/{order.id}/cancel")
        assert status in (204, 409, 503) or (status == 404 and order.may_be_gone), (status, answer)
        if status == 204:
            shown = await self.look(order)
            assert shown in ("Cancelled", None), f"{order.name} was cancelled, and is {shown}"
        elif status == 409:
            await self.look(order)

    async def delete(self, order: Order) -> None:
        """Delete a job that has ended (J30)."""
        order.may_be_gone = True
        status, answer = await self.ask("DELETE", f"{BASE}/jobs/{order.id}")
        assert status in (204, 400, 503) or (status == 404 and order.may_be_gone), (status, answer)
        order.deleted = order.deleted or status == 204
        order.may_be_gone = order.deleted or status == 503

    async def tag(self, order: Order) -> None:
        """Give it one more tag (J28)."""
        tags = {"tags": [order.name, "seen"]}
        status, answer = await self.ask("PUT", f"{BASE}/jobs/{order.id}/tags", tags)
        assert status in (204, 503) or (status == 404 and order.may_be_gone), (status, answer)

    async def look(self, order: Order) -> str | None:
        """Read a job; what it shows never goes back, and what is Completed has its result."""
        before = order.word
        status, answer = await self.ask("GET", f"{BASE}/jobs/{order.id}")
        if status == 503:
            return None
        if status == 404:
            assert order.may_be_gone, f"{order.name} was acknowledged as {order.id}, and is gone"
            return None
        assert status == 200, (status, answer)
        word = answer["state"]["status"]
        order.shown(word, before)
        if word == "Completed" and not order.result_read:
            status, answer = await self.ask("GET", f"{BASE}/jobs/{order.id}/results")
            if status == 503:
                return str(word)
            if status in (204, 404):
                assert order.may_be_gone or order.of.get("private"), f"{order.name} has no result"
            else:
                assert answer["of"] == order.name, (order.name, answer)
                order.result_read = True
        return str(word)

    # ---- at the end --------------------------------------------------------------------------

    async def jobs(self) -> dict[str, list[str]]:
        """Ids of all jobs that the service shows, by the name that each has as a tag."""
        status, answer = await self.insist("GET", f"{BASE}/jobs?limit=200&exclude_params=true")
        assert status == 200
        assert len(answer["jobs"]) < 200, "there may be more of them"
        found: dict[str, list[str]] = {}
        for job in answer["jobs"]:
            for tag in job.get("tags", []):
                found.setdefault(tag, []).append(job["id"])
        return found

    async def verify(self, order: Order, found: list[str]) -> None:
        """Nothing is lost, nothing is there twice."""
        story = f"{order.name} ({order.state}, {order.faults} faults) has jobs {found}"
        if order.may_be_gone:
            assert found in ([], [order.id]), story
            assert not (found and order.deleted), story
        elif order.state == "acknowledged":
            assert found == [order.id], f"{story}, not just {order.id}"
            assert await self.look(order) in FINAL, story
        elif order.state == "unknown":
            assert len(found) <= 1, story
        else:
            assert not found, story
