"""A server process of its own for a test, and the TLS before it."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

ONE_MACHINE = '[[backends]]\nname = "machine"\nkind = "scripted"\n'


@dataclass
class Served:
    """A server, and where its things are."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def lines(self) -> dict[str, str]:
        """The first account's lines."""
        text = (self.folder / "credentials.env").read_text()
        found = re.findall(r"^export (\w+)='?([^'\n]+)'?$", text, re.MULTILINE)
        return dict(found)


@contextlib.contextmanager
def served(
    folder: Path, config: str = ONE_MACHINE, *arguments: str, **env: str
) -> Iterator[Served]:
    """A server with this config, until the end of the block; it must end well."""
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(config)
    data, log = folder / "data", folder / "log"
    command = [sys.executable, "-m", "qdwell", "serve", "--port", "0", "--data-dir", str(data)]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [*command, "--config", str(folder / "config.toml"), *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        )
    assert process.stdout is not None
    try:
        url = next((it.split()[-1] for it in process.stdout if b" serves http" in it), b"").decode()
        assert url, log.read_text()
        # The first account's lines follow; nobody reads them here, so they must fit into the pipe.
        process.stdout.readline()
        yield Served(process, url, data, log)
        process.terminate()
        assert process.wait(90) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Certificates:
    """An authority of our own, and the files of a server's certificate."""

    authority: trustme.CA
    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "authority.pem"

    @property
    def chain(self) -> Path:
        return self.folder / "chain.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    def issue(self) -> None:
        """Sign a new certificate, as a renewal does, into the same files."""
        made = self.authority.issue_cert("127.0.0.1", "localhost")
        self.chain.write_bytes(b"".join(it.bytes() for it in made.cert_chain_pems))
        self.key.write_bytes(made.private_key_pem.bytes())

    def context(self) -> ssl.SSLContext:
        """What believes it."""
        return ssl.create_default_context(cafile=str(self.bundle))


def certificates(folder: Path) -> Certificates:
    """A new authority and a certificate for loopback, in this folder."""
    made = Certificates(trustme.CA(), folder)
    made.authority.cert_pem.write_to_path(str(made.bundle))
    made.issue()
    return made
