"""A plain server beside the station, killed and started again all the time.

How long that takes tells a machine that has too much to do from a fault of ours.
"""

import contextlib
import http.client
import subprocess
import sys
import threading
import time
from statistics import median
from typing import NamedTuple

from kits.servers import free_port

PAUSE_S = 3.0
SERVE = (
    "import sys, http.server as h\n"
    "h.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)


class Start(NamedTuple):
    """One start of the plain server: when (monotonic seconds), and how long until it answered."""

    at: float
    took_s: float


class Control:
    """The plain server and whoever starts it again. It is no part of the station, and no fault is meant for it."""

    def __init__(self) -> None:
        self.starts: list[Start] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def stretch(self, since: float, until: float) -> float:
        """How many times longer than at its best a plain server took to come back then; 1 if nothing is known."""
        return stretch(self.starts, since, until)

    def _go(self) -> None:
        port = free_port()
        argv = [sys.executable, "-c", SERVE, str(port)]
        while not self._over.wait(PAUSE_S):
            began = time.monotonic()
            with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/") as server:
                while not self._over.is_set() and not _answers(port):
                    time.sleep(0.02)
                self.starts.append(Start(began, time.monotonic() - began))
                server.kill()


def stretch(starts: list[Start], since: float, until: float) -> float:
    """See `Control.stretch`. Starts that were under way within a few seconds of that time count; their median."""
    near = [one.took_s for one in starts if one.at < until + PAUSE_S and one.at + one.took_s > since - PAUSE_S]
    return max(1.0, median(near) / min(one.took_s for one in starts)) if near else 1.0


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("HEAD", "/")
        connection.getresponse().read()
        return True
    return False
