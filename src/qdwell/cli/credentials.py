"""The lines that point the stock client at this server, and the files that hold them.

A bare `QiskitRuntimeService()` needs six settings, and needs them together: without `IAM_URL` it
sends the private token to a public cloud, and without the `GLOBAL_*` ones it finds no instance.

`DIR/server.json` is what the last server of a folder said about itself (its URL, its plans, and its
database), so that commands work whether or not it runs. `DIR/credentials.env` has the first
account's lines.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qdwell.config import Config, Plan, Storage, plan_of
from qdwell.errors import ConfigError, StoreUnavailable
from qdwell.store.places import Place

CREDENTIALS_FILE = "credentials.env"
SERVER_FILE = "server.json"
_API_PATH = "/experimental/api/v1"  # the stock client leaves a URL alone if it says "experimental"
_CATALOG_PATH = "/catalog"
_WARNING = (
    "Set all of them together, before Python starts. A client that lacks IAM_URL sends the token\n"
    "to the public cloud instead of to this server."
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a data folder remembers of its server."""

    url: str  #: the origin that users reach, without an end slash
    plans: Mapping[str, Plan]  #: the plans its config file has
    store: Storage = field(default_factory=Storage)  #: where it keeps its state
    issuer: str | None = None  #: the identity provider of its people

    def place(self, data_dir: Path) -> Place:
        """The store of the server, for the commands beside it."""
        return Place(data_dir, self.store.database_url, self.store.blobs, self.store.blob_options)


def settings_for(url: str, *, token: str, instance_crn: str) -> dict[str, str]:
    """The environment of the stock client, by name."""
    return {
        "QISKIT_IBM_TOKEN": token,
        "QISKIT_IBM_URL": url + _API_PATH,
        "QISKIT_IBM_INSTANCE": instance_crn,
        "IAM_URL": url,
        "GLOBAL_SEARCH_URL": url,
        "GLOBAL_CATALOG_URL": url + _CATALOG_PATH,
    }


def render(settings: Mapping[str, str]) -> str:
    """The settings as lines for a shell, under the warning; `source` and `eval` both take them."""
    head = "".join(f"# {line}\n" for line in _WARNING.splitlines())
    return head + "".join(f"export {name}={shlex.quote(it)}\n" for name, it in settings.items())


def write_credentials(data_dir: Path, settings: Mapping[str, str]) -> Path:
    """Write `DIR/credentials.env`, whole or not at all, readable by its owner only."""
    return _replace(data_dir / CREDENTIALS_FILE, render(settings))


def read_credentials(data_dir: Path) -> str:
    """The lines of the first account, with the URL that the server has now.

    Raises:
        StoreUnavailable: the folder has none, because no server has been started on it, another
            server made the first account, or the file is gone; or they cannot be read.
    """
    path = data_dir / CREDENTIALS_FILE
    if not path.exists():
        if (data_dir / SERVER_FILE).exists():
            raise StoreUnavailable(
                f"the first account's lines are not in {data_dir}; `qdwell account list` names the "
                "accounts, and `qdwell token create NAME` prints new lines for one"
            )
        raise StoreUnavailable(
            f"there are no credentials in {data_dir}; "
            f"start a server on it first: qdwell serve --data-dir {data_dir}"
        )
    lines = _with_url(path, read_server(data_dir).url)
    if lines is None:
        raise StoreUnavailable(f"{path} is damaged; `qdwell token create` prints a whole one")
    return lines


def write_server(data_dir: Path, facts: ServerFacts) -> None:
    """Remember what the server of this folder is reached by, and renew `credentials.env`."""
    plans = {name: _given(it) for name, it in facts.plans.items()}
    written = {"url": facts.url, "plans": plans, "store": asdict(_anywhere(facts.store))}
    written |= {"issuer": facts.issuer or ""}
    _replace(data_dir / SERVER_FILE, json.dumps(written, indent=2) + "\n")
    # A server on a free port has a new URL each time; the token stays. A file that its owner has
    # changed beyond recognition is left alone.
    path = data_dir / CREDENTIALS_FILE
    lines = _with_url(path, facts.url) if path.exists() else None
    if lines is not None:
        _replace(path, lines)


def read_server(data_dir: Path) -> ServerFacts:
    """What the last server of this folder was reached by.

    Raises:
        StoreUnavailable: no server has been started on this folder.
    """
    path = data_dir / SERVER_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return ServerFacts(
            url=str(facts["url"]),
            plans=_plans(facts["plans"]),
            store=Storage(**facts.get("store", {})),
            issuer=facts.get("issuer") or None,
        )
    except FileNotFoundError:
        raise StoreUnavailable(
            f"no server has been started on {data_dir}; "
            f"start one first: qdwell serve --data-dir {data_dir}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise StoreUnavailable(f"{path} is damaged; start the server again to renew it") from error


def _anywhere(storage: Storage) -> Storage:
    """The same place, for a command that is begun in another folder than the server was."""
    if storage.blobs is None or "://" in storage.blobs:
        return storage
    return replace(storage, blobs=str(Path(storage.blobs).absolute()))


def _given(plan: Plan) -> dict[str, Any]:
    """The settings of a plan that are set."""
    return {name: it for name, it in asdict(plan).items() if it is not None}


def _plans(written: Any) -> dict[str, Plan]:
    """The plans as they were written; earlier releases wrote the names alone."""
    if isinstance(written, list):
        return {str(name): Plan() for name in written}
    return {name: plan_of(name, it) for name, it in written.items()}


def public_url(config: Config, bound_url: str) -> str:
    """The URL to tell users: the configured one, else the bound one, made dialable."""
    if config.server.public_url is not None:
        return config.server.public_url
    for wildcard, loopback in (("//0.0.0.0", "//127.0.0.1"), ("//[::]", "//[::1]")):
        bound_url = bound_url.replace(wildcard, loopback)
    return bound_url.rstrip("/")


def ready_folder(data_dir: Path) -> Path:
    """Make the data folder if need be; nobody else may look into it.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError("--data-dir", f"{data_dir} cannot be made: {error.strerror}") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise ConfigError("--data-dir", f"{data_dir} cannot be written")
    return data_dir


def _with_url(path: Path, url: str) -> str | None:
    """The lines of a credentials file, moved to another URL; None if it has no token in it."""
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals and not line.startswith("#"):
            values[name.strip()] = value.strip().strip("'\"")
    token, instance = values.get("QISKIT_IBM_TOKEN"), values.get("QISKIT_IBM_INSTANCE")
    if not token or not instance:
        return None
    return render(settings_for(url, token=token, instance_crn=instance))


def _replace(path: Path, text: str) -> Path:
    try:
        return _replaced(path, text)
    except OSError as error:  # a full disk's own words name no file
        raise StoreUnavailable(f"{path} cannot be written: {error.strerror}") from error


def _replaced(path: Path, text: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
