"""Whom the kernel charges for what a confined command takes of it: inotify instances, pending signals, message queues,
processes, locked memory.

All of a root worker's sandboxes have one user id, for they share files. But the kernel counts by user namespace, and in
each namespace above by the user who made the one below (https://man7.org/linux/man-pages/man7/user_namespaces.7.html).
So each sandbox gets a namespace around its own that a user without a name has made: a random number out of a range that
nothing else uses. It owns no file and no process, so it needs no lease, and nothing of it is left when the last
process and descriptor are gone.
"""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from domain.errors import SandboxError

FIRST, COUNT = 1_900_000_000, 200_000_000
"""Above what systemd gives away: https://systemd.io/UIDS-GIDS/"""
_INSTANCES = Path("/proc/sys/user/max_inotify_instances")
_PART = 4
"""Of what the user may have of inotify instances, one sandbox gets one part of so many."""


def opened(uid: int) -> int | None:
    """A descriptor of a new namespace in which `uid`, user and group, is all there is; None if this machine's root
    has too few user ids. Only for root. Raises SandboxError if it cannot be made."""
    if not _are_there():
        return None
    maker = FIRST + secrets.randbelow(COUNT)
    argv = ["setpriv", f"--reuid={maker}", f"--regid={maker}", "--clear-groups", "unshare", "--user", "cat"]
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    try:
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd="/"
        ) as made:
            assert made.stdin and made.stdout and made.stderr  # noqa: S101
            made.stdin.write(b"\n")
            made.stdin.flush()
            if made.stdout.read(1) != b"\n":  # it answers once it is inside
                raise SandboxError(f"a user namespace cannot be made: {made.stderr.read().decode().strip()}")
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{made.pid}/{name}").write_text(f"{uid} {uid} 1\n")
            return os.open(f"/proc/{made.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        raise SandboxError(f"a user namespace cannot be made: {err}") from err


@contextlib.contextmanager
def account(uid: int) -> Iterator[int | None]:
    """The same, for the time of a `with`; None if we are not root, too."""
    descriptor = opened(uid) if os.geteuid() == 0 else None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def entered(descriptor: int | None, uid: int) -> list[str]:
    """What root starts before a command, so that it becomes `uid` without any capability. We hold the descriptor until
    it has: it is named by our /proc, for what a command inherits is open in its sandbox too."""
    if descriptor is None:
        return [*("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
                *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")]  # fmt: skip
    return [*("nsenter", f"--user=/proc/{os.getpid()}/fd/{descriptor}", f"--setgid={uid}", f"--setuid={uid}"),
            *("setpriv", "--no-new-privs", "--inh-caps=-all")]  # fmt: skip


def part_of_ours() -> int:
    """Inotify instances that a sandbox of a user who is not root may have, where all of them are that user's."""
    try:
        return max(1, int(_INSTANCES.read_text()) // _PART)
    except (OSError, ValueError):
        return 32


def limited(script: str) -> list[str]:
    """For a user who is not root: what starts before a command, so that it can take only a part of what the user has.

    `script`: of sh, to be run before it.
    """
    limit = f"{{ echo {part_of_ours()} > {_INSTANCES}; }} 2>/dev/null || :"
    return [*("unshare", "--user", "--map-current-user", "--keep-caps", "--"),
            *("/bin/sh", "-c", f'{script}; {limit}; exec "$@"', "sandbox"),
            *("setpriv", "--ambient-caps=-all", "--inh-caps=-all")]  # fmt: skip


def problem() -> str | None:
    """Why one sandbox here may leave another nothing of what the kernel counts by user; None: it cannot."""
    if os.geteuid() == 0:
        if _are_there():
            return None
        return (
            f"the user ids from {FIRST} on are not there (/proc/self/uid_map), so all sandboxes share what the kernel "
            "gives to one user, inotify instances say: start the container with all user ids of its host"
        )
    return (
        f"all sandboxes are yours, and each has {part_of_ours()} of your inotify instances: run the worker as root, or "
        f"raise user.max_inotify_instances, if more than {_PART} work at a time and watch files"
    )


def _are_there() -> bool:
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= FIRST and first + count >= FIRST + COUNT:
            return True
    return False
