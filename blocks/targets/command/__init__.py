"""Releases on any platform by its own commands: `target.py` is the target, `words.py` fills commands in, `calls.py`
runs one and reads its answer, and `platform.py` lets one at a time change something."""
