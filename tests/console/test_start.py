"""The lines of *Get started* run as they are pasted, with the token in its place."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx


def blocks(page: str) -> list[str]:
    return [html.unescape(it) for it in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]


def run(code: str, home: Path) -> str:
    path = home / "pasted.py"
    path.write_text(code)
    done = subprocess.run(
        [sys.executable, path], env={**os.environ, "HOME": str(home)}, cwd=home,
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_new_user_pastes_runs(served: Any, tmp_path: Path) -> None:
    with httpx.Client(base_url=served.url) as http:
        assert http.post("/sign-in", data={"token": served.token}).status_code == 303
        pasted = blocks(http.get("/start").text)
        python = [it for it in pasted if "import" in it]
        assert len(python) == 2
        run(python[0].replace("TOKEN", served.token), tmp_path)
        counts = run(python[1], tmp_path)
        assert counts.startswith("{'")
        job_id = http.get("/jobs").text.split('<a href="/jobs/')[1].split('"')[0]
        fetched = blocks(http.get(f"/jobs/{job_id}").text)[0]
        printed = run(fetched, tmp_path)  # with the account that was saved above
        assert printed == "DONE\n"


def test_the_stock_clients_lines_are_those_of_qdwell_env(served: Any) -> None:
    with httpx.Client(base_url=served.url) as http:
        http.post("/sign-in", data={"token": served.token})
        (lines,) = (it for it in blocks(http.get("/start").text) if "export IAM_URL" in it)
    from qdwell.cli.credentials import settings_for

    wanted = settings_for(served.url, token="TOKEN", instance_crn=served.instance)
    shown = dict(line.removeprefix("export ").split("=", 1) for line in lines.splitlines())
    assert shown == wanted
