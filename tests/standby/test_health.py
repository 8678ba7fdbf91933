"""What a follower's /healthz says: 200 only while requests can be passed on to a leader."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from console.university import free_port
from pgserver import Server
from standby.servers import Standby, until, written_config

pytestmark = pytest.mark.timeout(300)


def health(server: Standby) -> tuple[int, str, str | None]:
    answer = httpx.get(f"{server.url}/healthz", timeout=30, trust_env=False)
    body = answer.json()
    return answer.status_code, body["status"], body.get("reason")


def test_a_follower_that_cannot_reach_its_leader_is_not_well(
    tmp_path: Path, postgres: Server
) -> None:
    """The leader's `peer_url` is the follower's own address: it asks itself, and finds out.

    The leader is well all the same; and when it has ended, the follower leads, and is well.
    """
    config = written_config(tmp_path, postgres.database())
    port = free_port()
    misled = tmp_path / "misled.toml"
    peer = f'[server]\npeer_url = "http://127.0.0.1:{port}"\n'
    misled.write_text(peer + config.read_text())
    with ExitStack() as stack:
        leader = Standby(tmp_path / "one", misled)
        stack.callback(leader.end)
        follower = Standby(tmp_path / "two", config, arguments=("--port", str(port)))
        stack.callback(follower.end)
        assert health(leader) == (200, "ok", None)
        status, word, reason = health(follower)
        assert (status, word) == (503, "unreachable")
        assert reason is not None
        assert "does not" in reason
        leader.signal(signal.SIGTERM)
        until(lambda: health(follower)[1] == "ok", "a new leader", 60, follower.log)
        assert health(follower) == (200, "ok", None)


def test_a_follower_says_so_while_its_leader_is_silent(tmp_path: Path, postgres: Server) -> None:
    """A paused leader takes connections and answers none; until the follower leads, it is 503."""
    config = written_config(tmp_path, postgres.database())
    with ExitStack() as stack:
        leader = Standby(tmp_path / "one", config)
        stack.callback(leader.end)
        follower = Standby(tmp_path / "two", config)
        stack.callback(follower.end)
        assert health(follower) == (200, "standby", None)
        leader.signal(signal.SIGSTOP)
        seen = []

        def leads() -> bool:
            seen.append(health(follower))
            return seen[-1][1] == "ok"

        until(leads, "a new leader", 60, follower.log)
        words = [word for _, word, _ in seen]
        assert "unreachable" in words, seen
        silent = seen[words.index("unreachable") :]  # it may have answered before it stopped
        assert all(status == 503 for status, word, _ in silent if word != "ok"), seen
