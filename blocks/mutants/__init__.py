"""Mutants: a change's lines, each a little wrong, as data. Python only; a good test suite fails on every one of them.

The operators are mutmut's. It is called in a program of its own, python_worker.py, which ends when its time is up:
what it parses was written by an agent.
"""
