"""The documentation as a site: it builds without a warning, and needs nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADS = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(https?:)?//|<link\b[^>]*https?://"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # A proxy that is not there: whatever the build would fetch, it cannot.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", folder],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_every_page_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    built = {it.relative_to(site).with_suffix("") for it in site.rglob("*.html")}
    written = {it.relative_to(ROOT / "docs").with_suffix("") for it in ROOT.glob("docs/**/*.md")}
    assert written <= built
    for page in site.rglob("*.html"):
        assert not LOADS.search(page.read_text(encoding="utf-8")), page
    assert not list(site.rglob("*.py"))


def test_lists_are_lists_on_the_site_too() -> None:
    """A list needs an empty line before it there, which other viewers forgive."""
    found = []
    for page in ROOT.glob("docs/**/*.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        if re.search(r"^(?![-*] |\d+\. | |$).+\n[-*] ", text, re.MULTILINE):
            found.append(page.relative_to(ROOT).as_posix())
    assert found == []


def test_the_service_unit_and_the_container_start_what_there_is() -> None:
    unit = (ROOT / "docs/operate/qdwell.service").read_text(encoding="utf-8")
    container = (ROOT / "docs/operate/Containerfile").read_text(encoding="utf-8")
    assert "bin/qdwell serve --data-dir /var/lib/qdwell" in unit
    assert '"serve", "--data-dir", "/data"' in container
