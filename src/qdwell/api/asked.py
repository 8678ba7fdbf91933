"""A request as the routes that are asked most often see it.

The framework searches a request's headers again for each look at one of them, and a submission
looks at ten. Here the first look makes a table.
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request


class Tabled(Headers):
    """Headers by name. Of a repeated one the first counts, as with the framework's."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._table = dict(reversed(raw))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a header, in whatever case it is asked for."""
        value = self._table.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __getitem__(self, key: str) -> str:
        return self._table[key.lower().encode("latin-1")].decode("latin-1")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower().encode("latin-1") in self._table


class Asked(Request):
    """A request with `Tabled` headers; else as the framework's."""

    _tabled: Tabled | None = None

    @property
    def headers(self) -> Headers:
        """All headers."""
        if self._tabled is None:
            self._tabled = Tabled(self.scope["headers"])
        return self._tabled
