"""The client's side of the gateway's control socket: a listener is there for as long as somebody holds it.

Without pydantic and Prefect: a process that does nothing else stays small.
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blocks.host.sockets import connect
from domain.errors import GatewayAway, GatewayError, InputError

log = logging.getLogger("lockgate.gateway")
AGAIN_S = 0.2
FIX = "start it with `lockgate up`, or see run/gateway.log under the home"


class GatewayLine:
    """A connection to the control socket."""

    def __init__(self, root: Path, timeout_s: float) -> None:
        try:
            self.socket = connect(root, "control.sock", timeout_s)
        except OSError as err:
            raise GatewayAway(f"the gateway does not answer at {root / 'control.sock'} ({err}): {FIX}") from err
        self._file = self.socket.makefile("rb")

    def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        try:
            self.socket.sendall(json.dumps(what).encode() + b"\n")
            told = json.loads(self._file.readline() or "null")
        except (OSError, ValueError) as err:
            raise GatewayAway(f"the gateway broke off: {err}") from err
        if not isinstance(told, dict):
            raise GatewayAway("the gateway hung up")
        if "error" in told:
            raise (InputError if told["kind"] == "InputError" else GatewayError)(told["error"])
        return told

    def wait_for_end(self) -> None:
        """Until the gateway hangs up, or `close`."""
        self.socket.settimeout(None)
        with contextlib.suppress(OSError, ValueError):
            self._file.readline()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self.socket.close()


class Kept:
    """One listener, registered again at each gateway that comes after the one that had it."""

    def __init__(self, root: Path, name: str, passport: Mapping[str, Any], timeout_s: float) -> None:
        self._root, self._timeout_s = root, timeout_s
        self._asked: dict[str, Any] = {"do": "admit", "id": name, "passport": dict(passport)}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._line = GatewayLine(root, timeout_s)
        try:
            told = self._line.ask(self._asked)
        except BaseException:
            self._line.close()
            raise
        self.token = str(told["token"])
        self.environment: Mapping[str, str] = told["environment"]
        self._asked |= {"token": self.token, "placeholders": told["placeholders"]}
        self._thread = threading.Thread(target=self._keep, name=f"gateway-{name[:8]}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give it up; what it decided is in the ledger then, if the gateway is there."""
        self._ended.set()
        with self._lock, contextlib.suppress(OSError):
            self._line.socket.shutdown(socket.SHUT_WR)
        self._thread.join(self._timeout_s)
        self._line.close()

    def _keep(self) -> None:
        while True:
            self._line.wait_for_end()
            if self._ended.is_set():
                return
            log.warning("the gateway is gone: nothing leaves the sandbox until it is back")
            while not self._again():
                if self._ended.wait(AGAIN_S):
                    return

    def _again(self) -> bool:
        try:
            line = GatewayLine(self._root, self._timeout_s)
        except GatewayError:
            return False
        try:
            line.ask(self._asked)
        except (GatewayError, InputError) as err:
            log.warning("the gateway that is back does not take the sandbox: %s", err)
            line.close()
            return False
        with self._lock:
            self._line.close()
            self._line = line
            if self._ended.is_set():
                with contextlib.suppress(OSError):
                    line.socket.shutdown(socket.SHUT_WR)
        return True


@contextlib.contextmanager
def a_directory(root: Path) -> Iterator[Path]:
    """An empty directory of one listener, removed in the end. The lock on it says that its client lives."""
    if not root.is_dir():
        raise GatewayError(f"there is no gateway at {root}: {FIX}")
    (root / "listeners").mkdir(mode=0o700, exist_ok=True)
    directory = root / "listeners" / secrets.token_hex(8)
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)  # whatever the umask is: programs in the sandbox have another user
    held = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)
