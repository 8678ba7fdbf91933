"""Which server, with which token: arguments, saved accounts, the environment, a credentials file.

They are looked at in this order, and the first one that names a server wins:

1. `url` and `token` given to the service;
2. the saved account `name`, or the file `filename`, if one was given;
3. `QDWELL_URL`, `QDWELL_TOKEN`, `QDWELL_INSTANCE`, and then the same of `QISKIT_IBM_...`: what
   `qdwell env` prints serves this client and the stock one;
4. the file that `QDWELL_CREDENTIALS` names;
5. the saved default account;
6. `qdwell-data/credentials.env` or `var/qdwell/credentials.env` below the working directory, where
   `qdwell serve` and `make serve` put them; only if it is the user's own and nobody else reads it.

Saved accounts are in `~/.qdwell/accounts.json`, readable by their owner only.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qdwell.client.errors import AccountNotFoundError, IBMInputValueError, InvalidAccountError

CHANNELS = ("qdwell", "ibm_quantum_platform", "ibm_cloud", "ibm_quantum", "local")
DEFAULT_NAME = "default"
NEARBY = ("qdwell-data/credentials.env", "var/qdwell/credentials.env")
_API_PATH = re.compile(r"(/experimental)?(/api/v\d+)?/*$")


@dataclass(frozen=True, slots=True)
class Account:
    """What it takes to reach an instance."""

    url: str  #: origin of the server
    token: str
    instance: str | None = None  #: CRN or name; None: the only one there is
    channel: str = "qdwell"

    def __repr__(self) -> str:
        return f"Account(url={self.url!r}, token='...', instance={self.instance!r})"

    def shown(self) -> dict[str, str | None]:
        """Its settings, as `active_account` tells them."""
        return asdict(self)


def origin(url: str) -> str:
    """The server's own address; the path of the API is left off if it was given with it."""
    return _API_PATH.sub("", url.strip())


def made(url: str, token: str, instance: str | None, channel: str | None) -> Account:
    """An account of these settings.

    Raises:
        InvalidAccountError: one of them is missing or unknown.
    """
    if not url or not token:
        missing = "url" if not url else "token"
        raise InvalidAccountError(
            f"The {missing} is missing; `qdwell env --data-dir DIR` prints all settings."
        )
    if channel is not None and channel not in CHANNELS:
        raise InvalidAccountError(f"channel must be one of {', '.join(CHANNELS)}, not {channel!r}.")
    return Account(origin(url), token, instance or None, channel or "qdwell")


def found(
    *,
    url: str | None = None,
    token: str | None = None,
    instance: str | None = None,
    channel: str | None = None,
    name: str | None = None,
    filename: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Account:
    """The account that these arguments and the surroundings mean; see the head of this file.

    Raises:
        AccountNotFoundError: there is none.
        InvalidAccountError: there is one, and it cannot be used.
    """
    env = os.environ if environment is None else environment
    if url and token:
        return made(url, token, instance, channel)
    base = _base(name, filename, env)
    if base is None:
        raise AccountNotFoundError(
            "No server is known. Give url and token, or set the environment with "
            '`eval "$(qdwell env --data-dir DIR)"`, or save an account with '
            "QiskitRuntimeService.save_account(url=..., token=...)."
        )
    return made(
        url or base.url, token or base.token, instance or base.instance, channel or base.channel
    )


def _base(name: str | None, filename: str | None, env: Mapping[str, str]) -> Account | None:
    if filename is not None and Path(filename).suffix == ".env":
        return from_env_file(Path(filename).expanduser())
    if name is not None or filename is not None:
        path = accounts_file(filename)
        accounts = saved(filename)
        wanted = name or DEFAULT_NAME
        if wanted not in accounts:
            known = ", ".join(sorted(accounts)) or "none"
            raise AccountNotFoundError(f"There is no account {wanted!r} in {path}; saved: {known}.")
        return accounts[wanted]
    account = from_environment(env)
    if account is None and env.get("QDWELL_CREDENTIALS"):
        account = from_env_file(Path(env["QDWELL_CREDENTIALS"]).expanduser())
    if account is None:
        account = saved().get(DEFAULT_NAME)
    if account is None:
        account = next((from_env_file(p) for p in map(Path, NEARBY) if _is_ours(p)), None)
    return account


def from_environment(env: Mapping[str, str]) -> Account | None:
    """The account that the environment names, if it names a server and a token."""
    for prefix in ("QDWELL", "QISKIT_IBM"):
        url, token = env.get(f"{prefix}_URL"), env.get(f"{prefix}_TOKEN")
        if url and token:
            return made(url, token, env.get(f"{prefix}_INSTANCE"), None)
    return None


def from_env_file(path: Path) -> Account:
    """The account of a file of `export NAME=value` lines, as `qdwell serve` writes it.

    Raises:
        AccountNotFoundError: there is no such file.
        InvalidAccountError: it does not name a server and a token.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AccountNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    import shlex

    values = {}
    for line in text.splitlines():
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals and not line.startswith("#"):
            values[name.strip()] = "".join(shlex.split(value))
    account = from_environment(values)
    if account is None:
        raise InvalidAccountError(f"{path} does not name a server and a token.")
    return account


def _is_ours(path: Path) -> bool:
    """Whether a file is there, is the user's own, and is closed to others."""
    try:
        facts = path.stat()
    except OSError:
        return False
    return facts.st_uid == os.getuid() and not facts.st_mode & (stat.S_IRWXG | stat.S_IRWXO)


# ---- saved accounts ------------------------------------------------------------------------------


def accounts_file(filename: str | None = None) -> Path:
    """Where accounts are saved."""
    return Path(filename).expanduser() if filename else Path.home() / ".qdwell" / "accounts.json"


def saved(filename: str | None = None) -> dict[str, Account]:
    """All saved accounts by name.

    Raises:
        InvalidAccountError: the file is damaged.
    """
    path = accounts_file(filename)
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {name: Account(**row) for name, row in table.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidAccountError(f"{path} cannot be read: {error}.") from error


def save(
    account: Account,
    name: str | None = None,
    *,
    filename: str | None = None,
    overwrite: bool = False,
) -> None:
    """Save an account; the one named `default` is taken when nobody names one.

    Raises:
        IBMInputValueError: there is one of this name, and it may not be overwritten.
    """
    accounts = saved(filename)
    name = name or DEFAULT_NAME
    if name in accounts and not overwrite:
        raise IBMInputValueError(f"There is an account {name!r} already; say overwrite=True.")
    _write(accounts_file(filename), {**accounts, name: account})


def delete(name: str | None = None, *, filename: str | None = None) -> bool:
    """Delete a saved account; False if there is none of this name."""
    accounts = saved(filename)
    if accounts.pop(name or DEFAULT_NAME, None) is None:
        return False
    _write(accounts_file(filename), accounts)
    return True


def _write(path: Path, accounts: Mapping[str, Account]) -> None:
    """Replace the file whole; nobody but its owner can read it at any moment."""
    import tempfile

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({name: asdict(account) for name, account in accounts.items()}, file, indent=2)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
