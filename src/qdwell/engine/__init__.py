"""Acts. The loop decides through the core, commits to the store, and then lets workers do it.

The path through this folder, for a first reading: `engine` (what the API asks), `loop` (a turn:
decide, commit, act), `actions` (what each decision starts), `dispatch` (how it gets to a worker)
and `reports` (what comes of it), `runs` (work in progress), `stations` (a backend's workers),
`pools`, `workers`, `frames`, `forkserver`, and `child` (what runs inside a worker).

Nothing is imported here: a worker has no use for the server's half.
"""
