"""Coding agents, one file each. An agent is driven inside a workspace and holds nothing of value.

In every workspace the platform lays out, under /lockgate: `brief.md`, `feedback.md`, `plan.json` (edit only),
`last-attempt.patch` (when there was one) and `scratchpad.md`, which survives from attempt to attempt.
"""
