"""Lockgate itself, started for a test or a benchmark: a whole station in a home of its own (`station`, with `preloaded`
for its commands), and a gateway in a thread. The only kits that import more than `domain`; the station starts none.
"""
