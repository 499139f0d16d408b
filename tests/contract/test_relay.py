"""The relay by itself: what it may hold, and what waits."""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

from tests.contract.users import until

RELAY = Path(__file__).parents[2] / "blocks" / "host" / "relay.py"
MOST, WAYS, CALLERS = 140, 40, 60


def test_more_connections_than_it_may_hold_wait_and_are_served_later(tmp_path: Path) -> None:
    """Each way costs a descriptor of the same number: without one to accept by, it would turn in circles."""
    with socket.create_server(("127.0.0.1", 0), backlog=CALLERS) as server:
        port = server.getsockname()[1]
        listening = [socket.create_server(("127.0.0.1", 0), backlog=CALLERS) for _ in range(WAYS)]
        words = [f"fd:{each.fileno()}=127.0.0.1:{port}" for each in listening]
        relay = subprocess.Popen(
            [sys.executable, "-I", "-S", str(RELAY), *words],
            pass_fds=[each.fileno() for each in listening],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, MOST)),
        )
        try:
            at = [each.getsockname()[1] for each in listening]
            callers = [socket.create_connection(("127.0.0.1", at[n % WAYS]), 30) for n in range(CALLERS)]
            for number, each in enumerate(callers):
                each.sendall(b"%02d" % number)
            server.settimeout(30)
            could = (MOST - WAYS - 64) // 2
            first = _taken(server, could)
            until(
                lambda: Path(f"/proc/{relay.pid}/stat").read_text().split()[2] == "S"
            )  # it waits, and turns no circles
            assert len(os.listdir(f"/proc/{relay.pid}/fd")) < MOST - 16
            for number, each in first.items():
                callers[number].close()
                each.close()
            second = _taken(server, could)
            assert len(first) == len(second) == could and not set(first) & set(second)
        finally:
            relay.kill()
            relay.wait()
            for each in listening:
                each.close()


def _taken(server: socket.socket, count: int) -> dict[int, socket.socket]:
    """Connections that came through, by the number that each caller said."""
    lines = [server.accept()[0] for _ in range(count)]
    return {int(each.recv(2)): each for each in lines}
