"""Decides. Events and the time go in, decisions come out; nothing here reads a clock or does IO.

The path through this folder, for a first reading: `job` and `group` (the two machines, as tables),
`events` (what
can happen), `decisions` (what can be decided), `state` (what is known), `fairshare` and `queue`
(whose turn it is),
`scheduler` (the one door: `Scheduler.decide`), `invariants` (what must always hold).
"""
