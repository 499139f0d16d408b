"""Trackers whose tickets become runs: `tracker.py` is their one client, and a file a tracker what it says."""
