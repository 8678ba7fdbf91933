"""A small writer of SVG: elements with escaped attributes and text, and nothing to load.

Colours are classes of `static/pictures.css`, so that a picture follows the page's light or dark
theme; one that is saved carries that style with it (`standalone`).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from markupsafe import Markup, escape

Value = str | int | float | None


def tag(name: str, *children: str | Markup, **attributes: Value) -> Markup:
    """One element. `class_` and `stroke_width` become `class` and `stroke-width`; None is left out.

    A child that is a plain string is escaped.
    """
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    inner = "".join(escape(child) for child in children)
    head = f"<{name}{''.join(parts)}"
    # Everything that came in has been escaped above.
    return Markup(f"{head}>{inner}</{name}>" if inner else f"{head}/>")  # noqa: S704


def _text(value: Value) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def rect(x: float, y: float, width: float, height: float, class_: str, title: str = "") -> Markup:
    """A box; `title` is what a pointer or a screen reader is told."""
    inside = [tag("title", title)] if title else []
    return tag(
        "rect", *inside, x=x, y=y, width=max(width, 0.75), height=height, rx=2, class_=class_
    )


def label(x: float, y: float, text: str, class_: str = "ink", anchor: str | None = None) -> Markup:
    """A text."""
    return tag("text", text, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def link(target: str, name: str, *children: Markup, listed: bool = True) -> Markup:
    """Something to click; `name` is read aloud. One that is not `listed` is not a stop for Tab."""
    return tag("a", *children, href=target, aria_label=name, tabindex=None if listed else "-1")


def picture(
    width: float,
    height: float,
    title: str,
    *children: Markup,
    class_: str = "",
    role: str = "img",
) -> Markup:
    """The whole picture, with its description for those who do not see it.

    `role` is `group` for a picture that has links in it.
    """
    return tag(
        "svg",
        tag("title", title),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        class_=f"picture {class_}".strip(),
        role=role,
        aria_label=title,
    )


def standalone(svg: Markup) -> str:
    """The picture as a file of its own: with its style, on white."""
    head, _, rest = str(svg).partition(">")
    backdrop = '<rect width="100%" height="100%" fill="#fff"/>'
    begin = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{begin}{head}><style>{_style()}</style>{backdrop}{rest}\n"


@cache
def standalone_policy() -> str:
    """The content security policy of such a file: its one style, known by its hash."""
    seal = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{seal}'; frame-ancestors 'none'"


@cache
def _style() -> str:
    return resources.files("qdwell.console").joinpath("static", "pictures.css").read_text("utf-8")
