"""The first program inside a trial: `python -I -S -c SOURCE CHANNEL PORT LINES PROCESSES BYTES COMMAND ARGUMENT ...`.

It opens sockets in the trial's own network, hands them out through the channel, and becomes the command. So the
platform listens and asks in there, and the command can do neither out here. Nothing of the release has run before they
are handed out. Limits are set in here, where the kernel counts the trial's own processes alone. It needs the standard
library alone.
"""

import os
import resource
import signal
import socket
import sys


def main(channel: str, port: str, lines: str, processes: str, most_bytes: str, *command: str) -> None:
    """PORT: a listener on 127.0.0.1 for the database, 0: none; LINES: sockets to ask the service through; PROCESSES and
    BYTES of memory that each of them writes: the most that there may be."""
    with socket.socket(fileno=int(channel)) as out:
        sockets = [socket.create_server(("127.0.0.1", int(port)), backlog=128)] if int(port) else []
        sockets += [socket.socket() for _ in range(int(lines))]
        socket.send_fds(out, [b"!"], [each.fileno() for each in sockets])
        for each in sockets:
            each.close()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and the command would inherit that
        signal.signal(number, signal.SIG_DFL)
    for limit, most in ((resource.RLIMIT_NPROC, int(processes)), (resource.RLIMIT_DATA, int(most_bytes))):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    os.execvp(command[0], command)  # noqa: S606 (that is the point)


if __name__ == "__main__":
    main(*sys.argv[1:])
