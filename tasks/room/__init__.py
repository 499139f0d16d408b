"""A room: a sandbox for one piece of work, with what the project requires in it. `room.py` opens every one of them,
`requirements.py` and `own_requirements.py` say what is installed, `services.py` starts servers that tests need,
`desk.py` is what an agent finds there, `memory.py` what it leaves for later tasks, and `redaction.py` takes secrets out
of what leaves."""
