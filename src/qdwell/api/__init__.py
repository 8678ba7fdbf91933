"""The HTTP face: the Runtime dialect, token exchange, discovery, and administration.

`app.build` shows every route; `server.serve` runs them with a store and an engine in one process.
"""
