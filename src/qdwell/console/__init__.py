"""The web console: pages made on the server, which work without scripts and are alive with them.

Read `app` first (every page in one table), then `site` (what each page is given), `signin` (who may
look), and one page, such as `jobs`. Pictures are SVG that we write ourselves: `svg` is the writer,
`plots`, `circuits`, `coupling`, and `timeline_svg` draw. Scripts and styles are in `static/`, the
pages in `templates/`; nothing is built, and nothing is loaded from anywhere else.
"""

from qdwell.console.app import add

__all__ = ["add"]
