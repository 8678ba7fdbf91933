"""How commands ask a server and show what it says: an account, one door, tables or JSON.

Tables are for people and go to the width of the terminal; `--json` is for programs and never
changes with it. What is asked for goes to standard output, and everything else to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from qdwell.client.accounts import Account
    from qdwell.client.service import QiskitRuntimeService
    from qdwell.client.transport import Transport

PAGE = 200
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AccountName = Annotated[
    str | None,
    typer.Option(
        "--account", envvar="QDWELL_ACCOUNT", metavar="NAME", help="A saved account, by its name."
    ),
]


class Door:
    """One server, for one account; what every command of a user needs."""

    def __init__(self, account: str | Account | None) -> None:
        from qdwell import __version__
        from qdwell.client import accounts
        from qdwell.client.transport import Transport

        if account is None or isinstance(account, str):
            account = accounts.found(name=account)
        self.account = account
        self._transport = Transport(
            self.account.url,
            self.account.token,
            self.account.instance,
            application=f"qdwell-cli-{__version__}",
            patience_s=5.0,
        )

    @property
    def transport(self) -> Transport:
        """The connection."""
        return self._transport

    def get(self, path: str, **query: object) -> Any:
        """The JSON of an answer; a query of None is left out, a list is repeated."""
        return self._send("GET", path, query=query)

    def change(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask for a change."""
        return self._send(method, path, body=body)

    def text(self, path: str, **query: str | None) -> str:
        """The text of an answer."""
        from qdwell.client.transport import Request

        pairs = tuple((name, value) for name, value in query.items() if value is not None)
        return self._transport.send(Request("GET", path, query=pairs)).body.decode()

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        import orjson

        from qdwell.client.transport import Request

        pairs: list[tuple[str, str]] = []
        for name, value in (query or {}).items():
            if isinstance(value, bool):
                pairs.append((name, "true" if value else "false"))
            elif isinstance(value, list | tuple):
                pairs += [(name, str(it)) for it in value]
            elif value is not None:
                pairs.append((name, str(value)))
        content = None if body is None else orjson.dumps(body)
        request = Request(method, path, content, tuple(pairs), read_s=90.0)
        return self._transport.send(request).json()

    def pages(self, path: str, key: str, most: int, **query: object) -> list[dict[str, Any]]:
        """The entries of a list, newest first, `most` at most."""
        found: list[dict[str, Any]] = []
        while len(found) < most:
            size = min(PAGE, most - len(found))
            page = self.get(path, limit=size, offset=len(found), **query)
            found += page[key]
            if not page[key] or len(found) >= page["count"]:
                break
        return found

    def service(self) -> QiskitRuntimeService:
        """The whole client, which takes longer to load."""
        from qdwell.client.service import QiskitRuntimeService
        from qdwell.client.transport import PATIENCE_S

        it, transport = self.account, self._transport
        service = QiskitRuntimeService(
            url=it.url, token=it.token, instance=it.instance, transport=transport
        )
        transport.patience_s = PATIENCE_S  # it is there: a job that is waited for may outlive it
        return service


def print_json(value: Any) -> None:
    """Print a value as JSON, keys in their order."""
    import orjson

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table for people; `empty` on standard error if it has no row.

    Heads that end in `>` are of numbers, to the right.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        right = head.endswith(">")
        table.add_column(head.removesuffix(">"), justify="right" if right else "left", no_wrap=True)
    count = 0
    for row in rows:
        table.add_row(*(it if isinstance(it, Text) else Text(str(it)) for it in row))
        count += 1
    if not count:
        typer.echo(empty, err=True)
        return
    # Without a terminal nothing is cut to a width that nobody sees.
    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=400)
    console.print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line; those without a value are left out."""
    shown = [(name, str(value)) for name, value in facts if value not in (None, "", [])]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        typer.echo(f"{name:<{width}}  {value}")


def state_text(word: str) -> Any:
    """A state in its colour."""
    from rich.text import Text

    colours = {
        "Completed": "green", "online": "green", "Running": "blue", "active": "blue",
        "Queued": "yellow", "open": "yellow", "paused": "yellow", "Failed": "red",
        "offline": "red",
    }  # fmt: skip
    return Text(word, style=colours.get(word, ""))


def local(stamp: str | None) -> str:
    """An instant of the wire as the reader's own clock shows it."""
    if stamp is None:
        return "-"
    from datetime import datetime

    return f"{datetime.fromisoformat(stamp).astimezone():%Y-%m-%d %H:%M:%S}"


def seconds(value: float | None) -> str:
    """Charged time."""
    return "-" if value is None else f"{value:,.3f}"
