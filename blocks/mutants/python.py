"""Mutants of Python, made by python_worker.py: a process of its own, with an end."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from blocks.host.run import run
from domain.mutation import Made, MadeOf, made_of

MAX_SOURCE = 1_000_000
"""Characters of all files together; a change that is larger is not read by a person either."""


_WORKER = str(Path(__file__).with_name("python_worker.py"))


def mutants_of(sources: Mapping[str, tuple[str, str]], timeout_s: float) -> Made:
    """The mutants of what changed from base to head, the most telling first. `sources`: path → (base, head).

    What could not be parsed is said in `problem`; that the time was up, in `is_late`. Safe to repeat.
    """
    if sum(len(head) for _, head in sources.values()) > MAX_SOURCE:
        return Made(problem=f"the changed files have more than {MAX_SOURCE:,} characters")
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    asked = json.dumps(sources).encode()
    done = run([sys.executable, "-I", _WORKER], env=environment, timeout_s=timeout_s, stdin=asked)
    if done.code is None:
        return Made(is_late=True)
    try:
        files = [MadeOf.model_validate_json(line) for line in done.out.splitlines()]
    except ValidationError:
        return Made(problem="the program that makes mutants printed something else")
    made = made_of(files)
    missing = next((path for path in sources if path not in made.lines), None)
    if missing is not None:
        return made._replace(problem=f"{missing}: it cannot be parsed (exit code {done.code})")
    return made
