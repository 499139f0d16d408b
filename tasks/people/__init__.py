"""Asking people, and waiting for them without a process.

`questions.py` asks what a plan leaves open, `ready.py` waits for what merge and release lack, `window.py` waits for an
environment to open; `asking.py` reads answers, and `pager.py` pages a person.
"""
