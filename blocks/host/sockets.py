"""Unix sockets in directories whose path may be long."""

import os
import socket
from pathlib import Path


def bind(directory: Path, name: str, mode: int) -> socket.socket:
    """A unix socket in place of what was there. Through /proc, because an address has room for 107 bytes (unix(7))."""
    (directory / name).unlink(missing_ok=True)
    held = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(f"/proc/self/fd/{held}/{name}")
        os.chmod(directory / name, mode)
    except OSError:
        bound.close()
        raise
    finally:
        os.close(held)
    return bound


def connect(directory: Path, name: str, timeout_s: float) -> socket.socket:
    """Connected to a unix socket in a directory. Raises OSError if nobody listens."""
    held = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(timeout_s)
        try:
            made.connect(f"/proc/self/fd/{held}/{name}")
        except OSError:
            made.close()
            raise
        return made
    finally:
        os.close(held)
