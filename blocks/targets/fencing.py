"""Who may act on an environment: the holder of its newest token.
https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
"""

import contextlib
from pathlib import Path

from blocks.host.files import write_atomically
from domain.errors import Fenced


def fenced(file: Path, token: int | None, environment: str) -> None:
    """Note that `token` acts now. Raises Fenced if a newer one did. None: nobody's turn, as after a reboot.

    The caller has the target locked.
    """
    if token is None:
        return
    newest = 0
    with contextlib.suppress(FileNotFoundError, ValueError):
        newest = int(file.read_text())
    if token < newest:
        raise Fenced(f"a newer run has taken over environment {environment!r}: nothing more is done there by this one")
    if token > newest:
        write_atomically(file, str(token).encode())
