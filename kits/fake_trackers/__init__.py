"""Trackers on loopback, for tests and rehearsals: docs/fake-trackers.md.

`server.py` is what they share: HTTP, tokens, faults, the clock, and state in SQLite; a tracker is one file on it.
"""

from kits.fake_trackers.jira import FakeJira
from kits.fake_trackers.linear import FakeLinear

__all__ = ["FakeJira", "FakeLinear"]
