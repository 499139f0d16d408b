"""Whether this very code has made its block types and deployments known to this home's server.

Imports nothing that it reads, so that what is noted is the code that was there before the imports, and none that was
written meanwhile.
"""

import hashlib
from pathlib import Path

from blocks.home import home
from station import settings

CODE = "lockgate_code"
"""Prefect's variable that holds which code the station has. Not the version of a deployment: `prefect deploy --all` by
hand writes another one there."""
READ = ("flows", "tasks", "domain", "blocks")
"""What says how flows and blocks look, and what acts in a run."""


def digest() -> str:
    """Of prefect.yaml, and of all that parameters of flows and fields of blocks depend on."""
    project = settings.PROJECT
    whole = hashlib.sha256(str(project).encode())
    for path in (project / "prefect.yaml", *sorted(file for part in READ for file in (project / part).rglob("*.py"))):
        content = path.read_bytes()
        whole.update(f"\n{path} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def code() -> str:
    """Of all that runs tasks, wherever it lies: two machines of a station have the same."""
    whole = hashlib.sha256()
    for path in sorted(file for part in READ for file in (settings.PROJECT / part).rglob("*.py")):
        content = path.read_bytes()
        whole.update(f"\n{path.relative_to(settings.PROJECT)} {len(content)}\n".encode() + content)
    return whole.hexdigest()[:16]


def is_noted(code: str) -> bool:
    """Whether the code with that digest did it."""
    return _mark().is_file() and _mark().read_text() == code


def note(code: str) -> None:
    """It has."""
    _mark().write_text(code)


def _mark() -> Path:
    return home() / "prefect" / "registered"
