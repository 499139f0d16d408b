"""The ground floor: what more than one family needs of this machine. It knows none of them.

`confine.py` builds bubblewrap's command line, `run.py` runs a program to its end, `proc.py` reads /proc.
`processes.py` finds and ends what was started, `docker.py` speaks to a Docker Engine, `files.py` writes files whole,
`listeners.py` reads who listens where.
"""
