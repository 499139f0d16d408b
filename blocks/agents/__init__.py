"""Coding agents, one file each. An agent is driven inside a workspace and holds nothing of value.

In every workspace the platform lays out, under /lockgate: `brief.md`, `feedback.md`, `plan.json` (edit only),
`last-attempt.patch` (when there was one), `scratchpad.md`, which survives from attempt to attempt, and `memory.md`,
which survives tasks. An agent that writes `help.md` asks a person. `driver.py` has what all that call models share: a
new one says in its own file how its program is installed, called and read.
"""
