"""The page at `/docs`: the API description as plain HTML, with nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1d2733; background: #fff }
code, pre { font: 14px/1.4 ui-monospace, monospace }
details { border-top: 1px solid #d5dce4; padding: .4rem 0 }
summary { cursor: pointer }
b.method { display: inline-block; width: 4.5rem; color: #0b5cad }
pre { background: #f4f6f8; padding: .6rem; overflow-x: auto }
@media (prefers-color-scheme: dark) {
  body { color: #dde5ee; background: #12171d }
  pre { background: #1c232b }
  b.method { color: #7db8f5 }
  details { border-color: #333d48 }
}
"""
# Its one style is known by its hash; nothing else is loaded, and nothing runs.
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"


def docs_page(app: FastAPI) -> Callable[[Request], Awaitable[Response]]:
    """Return the route of the page; it is made at the first request and kept."""
    kept: list[str] = []

    async def docs(_: Request) -> Response:
        """Show this description."""
        if not kept:
            kept.append(render(app.openapi()))
        return HTMLResponse(kept[0], headers={"Content-Security-Policy": POLICY})

    return docs


def render(description: dict[str, Any]) -> str:
    """The API description as one HTML page."""
    info = description["info"]
    sections: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            section = operation.get("tags", ["Other"])[0]
            sections.setdefault(section, []).append(_operation(method, path, operation))
    body = "".join(
        f"<h2>{escape(name)}</h2>{''.join(items)}" for name, items in sorted(sections.items())
    )
    schemas = description.get("components", {}).get("schemas", {})
    models = "".join(_model(name, schema) for name, schema in sorted(schemas.items()))
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        "<p>The routes under <code>/api/v1</code> are also under "
        "<code>/experimental/api/v1</code>. Every request but the token exchange and "
        "<code>/healthz</code> carries <code>Authorization: Bearer</code> with an access token, "
        "and <code>Service-CRN</code> with an instance. Machine-readable: "
        "<a href='/openapi.json'>/openapi.json</a>.</p>"
        f"{body}<h2>Models</h2>{models}</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = []
    names = [it["name"] for it in operation.get("parameters", []) if it["in"] == "query"]
    if names:
        parts.append(f"<p>Query: <code>{escape(', '.join(names))}</code></p>")
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        schema = next(iter(content.values()))["schema"]
        parts.append(f"<p>Body</p>{_code(schema.get('properties', schema))}")
    for status, answer in operation["responses"].items():
        refs = [it["schema"].get("$ref", "") for it in answer.get("content", {}).values()]
        names = [ref.rsplit("/", 1)[-1] for ref in refs if ref]
        links = ", ".join(f"<a href='#{escape(it)}'>{escape(it)}</a>" for it in names)
        parts.append(f"<p>{escape(status)}: {links or escape(answer.get('description', ''))}</p>")
    return (
        f"<details><summary><b class='method'>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary', ''))}</summary>{''.join(parts)}</details>"
    )


def _model(name: str, schema: dict[str, Any]) -> str:
    first = (str(schema.get("description", "")).splitlines() or [""])[0]
    return (
        f"<details id='{escape(name)}'><summary><code>{escape(name)}</code> {escape(first)}"
        f"</summary>{_code(schema.get('properties', {}))}</details>"
    )


def _code(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1, sort_keys=True))}</pre>"
