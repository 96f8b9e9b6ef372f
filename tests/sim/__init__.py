"""A cluster of many nodes over a simulated network, engine and clock: real books, merge, outbox, gaps and healing.

`world.py` plays a storm from a seed and asks `history.py` what is right; `traffic.py` counts what many logins cost.
`python3 -m tests.sim` plays big doses of both.
"""
