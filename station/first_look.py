"""What `lockgate up` says of the default workshop: its sandboxes, and what is wrong with its ledger.

The supervisor looks as it starts, for it has imported the workshop: `up` would import it for seconds, to print a line.
"""

import contextlib
import json
from pathlib import Path

from blocks.home import home
from domain.errors import LockgateError


def take() -> list[str]:
    """Look now. Safe to repeat."""
    from blocks.workshop import workshop
    from tasks.releasing import checkpoint

    shop = workshop("default")
    with contextlib.suppress(LockgateError):
        shop.claim_store()  # so that another machine can tell that it has the same
    no_docker = shop.docker.doctor() if shop.sandboxes == "auto" and shop.sandbox.kind != "docker" else None
    problems: tuple[str, ...]
    try:
        problems = checkpoint.compare(shop).problems  # such as that an older copy was put back
    except LockgateError as err:
        problems = (str(err),)
    sandboxes = f"sandboxes    {shop.sandbox.kind}{f'  (docker is not used: {no_docker})' if no_docker else ''}"
    return [sandboxes, *(f"LEDGER       {problem}" for problem in problems)]


def keep() -> None:
    """Look, and keep it for the `up` that waits; nothing if that fails: then `up` looks itself, and says why."""
    _kept().unlink(missing_ok=True)
    with contextlib.suppress(Exception):
        _kept().write_text(json.dumps(take()))


def taken() -> list[str]:
    """What the supervisor saw as it started. Raises as `take` if it saw nothing."""
    return list(json.loads(_kept().read_text())) if _kept().exists() else take()


def _kept() -> Path:
    return home() / "run" / "first-look"
