"""The wheel, installed into an empty environment, serves: API, console, and all.

The short test looks into the wheel; the long ones install it, which takes half a minute each.
Packages come from the installer's cache where it has them; where there is neither cache nor
network, a test says so and is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv" / "bin" / "uv"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, timeout=400
    )


def built(folder: Path) -> tuple[str, Path]:
    """The installer, and a wheel of this tree."""
    uv = str(UV) if UV.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("NO uv: the wheel was not tried")
    done = run(uv, "build", "--wheel", "--quiet", "--out-dir", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return uv, wheel


def test_the_wheel_has_all_that_the_console_needs(tmp_path: Path) -> None:
    _, wheel = built(tmp_path)
    inside = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    wanted = {
        it.relative_to(source).as_posix()
        for it in (source / "qdwell").rglob("*")
        if it.is_file() and "__pycache__" not in it.parts
    }
    assert wanted <= inside
    assert "qdwell/console/templates/base.html" in inside


@pytest.fixture
def environment(tmp_path: Path) -> tuple[Path, str, Path]:
    """An empty environment, the installer, and the wheel."""
    uv, wheel = built(tmp_path)
    assert run(uv, "venv", "--python", sys.executable, "venv", cwd=tmp_path).returncode == 0
    return tmp_path / "venv" / "bin", uv, wheel


def install(environment: tuple[Path, str, Path], extra: str) -> Path:
    folder, uv, wheel = environment
    done = run(
        uv, "pip", "install", "--python", folder / "python", f"{wheel}{extra}", cwd=wheel.parent
    )
    if "error sending request" in done.stderr and not os.environ.get("CI"):
        pytest.skip("NO NETWORK: the wheel could not be installed")
    assert done.returncode == 0, done.stderr
    return folder / "qdwell"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_plain_wheel_is_the_client_and_its_commands(
    environment: tuple[Path, str, Path], tmp_path: Path
) -> None:
    qdwell = install(environment, "")
    assert "qdwell login" not in run(qdwell, "--help", cwd=tmp_path).stderr
    done = run(qdwell, "jobs", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "No server is known" in done.stderr
    told = run(environment[0] / "python", "-c", "import qdwell; qdwell.Session", cwd=tmp_path)
    assert told.returncode == 0, told.stderr


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_wheel_in_an_empty_environment_serves(
    environment: tuple[Path, str, Path], tmp_path: Path
) -> None:
    qdwell = install(environment, "[server]")
    (tmp_path / "one.toml").write_text('[[backends]]\nname = "aer_simulator"\n')
    command = [qdwell, "serve", "--port", "0", "--config", "one.toml", "--data-dir", "data"]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = next(line.split()[-1] for line in server.stdout if " serves " in line)
        for path, wanted in (
            ("/healthz", b'"ok"'),
            ("/sign-in", b"API token"),
            ("/metrics", b"qdwell_"),
        ):
            with urllib.request.urlopen(url + path, timeout=20) as answer:
                assert wanted in answer.read(), path
        page = urllib.request.urlopen(url + "/sign-in", timeout=20).read().decode()
        style = page.split('rel="stylesheet" href="')[1].split('"')[0]
        with urllib.request.urlopen(url + style, timeout=20) as answer:
            assert b"--accent" in answer.read()
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert server.returncode == 0
