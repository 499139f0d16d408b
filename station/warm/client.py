"""The command of a flow run: `python -I -S client.py RUN_FOLDER [PATIENCE_S]`.

It imports little, for its own start counts. It asks the zygote for a fork, and stands for it: signals go there, the
exit code comes from there. If it dies, the kernel kills the fork (`lifeline`). Without a zygote, or where that one is
stale or does not answer in time, it becomes the run itself. A fork runs only once it is told to: there are never two.
"""

import os
import signal
import socket
import sys

PATIENCE_S = 5.0
"""So long may the zygote take. A fork takes a few hundredths of a second; a zygote that was stopped never answers."""
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Never returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # until there is somebody to send them to
    connection, fork = ask(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else PATIENCE_S)
    if connection is None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        os.execv(sys.executable, [sys.executable, "-m", "station.warm.flow_run"])  # noqa: S606 - no shell is wanted
    for number in FORWARDED:
        signal.signal(number, lambda caught, _: send(fork, caught))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    end_as(connection.makefile("rb").readline())


def ask(folder: str, patience_s: float) -> "tuple[socket.socket | None, int]":
    """The connection over which the fork's end is told, and the fork as a file descriptor; None if there is none."""
    connection = socket.socket(socket.AF_UNIX)
    watched, lifeline = os.pipe()  # nothing is ever written: it ends when this process does
    place = os.open(folder, os.O_PATH)
    try:
        connection.settimeout(patience_s)
        connection.connect(f"/proc/self/fd/{place}/zygote.sock")  # short: such a path has at most 107 bytes
        if connection.recv(1) != b"w":  # only then: what lies unread keeps our output open after we are gone
            raise OSError("it is stale")
        socket.send_fds(connection, [b"r"], [0, 1, 2, watched])
        request = b"\0".join([os.fsencode(os.getcwd()), *(k + b"=" + v for k, v in os.environb.items())])
        connection.sendall(len(request).to_bytes(4, "big") + request)
        answer, forks, _, _ = socket.recv_fds(connection, 1, 1)
        if answer == b"w" and forks:
            connection.sendall(b"g")  # now it runs; had we given up, it would have ended
            connection.settimeout(None)
            os.close(watched)
            return connection, forks[0]
    except OSError:
        pass
    finally:
        os.close(place)
    connection.close()
    os.close(watched)
    os.close(lifeline)
    return None, -1


def send(fork: int, number: int) -> None:
    """Forward a signal, to that process and no other that has its pid by now."""
    try:
        signal.pidfd_send_signal(fork, number)
    except ProcessLookupError:
        return  # it has ended: its exit code is under way


def end_as(said: bytes) -> None:
    """End as the fork did. Nothing was said where its keeper was killed, and the fork with it."""
    how, _, number = said.decode().partition(" ")
    if how == "exit":
        os._exit(int(number))
    killed_by = int(number) if how == "signal" else signal.SIGKILL
    if killed_by not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(killed_by, signal.SIG_DFL)
    os.kill(os.getpid(), killed_by)
    os._exit(128 + killed_by)  # a signal that ends nothing by default


if __name__ == "__main__":
    main()
