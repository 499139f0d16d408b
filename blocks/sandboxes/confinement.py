"""The command line of a command in a sandbox. Builds it, runs nothing.

The kernel's part is namespaces without a network, an unprivileged user, no capabilities, no nested user namespaces, a
system call filter, resource limits, and a file system of its own: the host's /usr and a few files of /etc read-only,
size-limited tmpfs, and what is bound in.
"""

import os
import posixpath
import re
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from blocks.host import accounts, confine
from blocks.host.confine import TMP, Bind, Start
from domain.errors import SandboxError
from domain.ports import RELAY_PORT

INSIDE_ID = 1000
"""uid and gid in a sandbox."""
NOBODY = 65534
"""uid and gid on the host that a root worker's sandboxes run as."""
WORK, EXCHANGE = "/work", "/lockgate"
GATEWAY, RELAY = "/run/lockgate", "/run/relay.py"
HOME = TMP + "/home"
KEPT = ".lockgate"
"""Below /work: what a setup fetches for later commands beside packages. It is in the harvest, and never collected."""

_ETC = (
    "alternatives", "ca-certificates", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types",
    "pki/ca-trust/extracted", "pki/tls/cert.pem", "pki/tls/certs", "protocols", "services", "ssl/certs",
    "ssl/openssl.cnf",
)  # fmt: skip
"""What programs need of the host's /etc, and nothing that tells about the host or its users."""

_QUEUES = {"sigpending": 4096, "msgqueue": 204_800}
"""Signals that wait, and bytes of message queues: of what all sandboxes of a user have together, a part."""

ETC_FILES = {
    "passwd": f"root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:{INSIDE_ID}:{INSIDE_ID}::{HOME}:/bin/sh\n"
    f"nobody:x:{NOBODY}:{NOBODY}::/:/usr/sbin/nologin\n",
    "group": f"root:x:0:\nagent:x:{INSIDE_ID}:\nnogroup:x:{NOBODY}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
"""The rest of /etc in a sandbox, by name."""

# The sandbox is the first to go when memory runs out: https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html
_LAST_IN_LINE = "{ echo 1000 > /proc/self/oom_score_adj; } 2>/dev/null || :"


def kept(path: str) -> dict[str, str]:
    """Variables that tell programs where that is; `path`: the PATH without it. pnpm and yarn, which corepack fetches,
    come last on the PATH: nothing there takes the place of a program of the machine's. If a project names no version of
    them, it is the release that Corepack brings the hash of, and not the newest of the day."""
    place = f"{WORK}/{KEPT}"
    return {
        "COREPACK_HOME": f"{place}/corepack",
        "COREPACK_DEFAULT_TO_LATEST": "0",
        "YARN_GLOBAL_FOLDER": f"{place}/yarn",
        "GOMODCACHE": f"{place}/go",
        "CARGO_HOME": f"{place}/cargo",
        "PATH": f"{path}:{place}/bin",
    }


class Overlay(NamedTuple):
    """Host directories that are seen as one: `lowers`, the topmost last, and over them `upper`, which is written.

    `scratch` is the kernel's, in the same mount as `upper`.
    """

    lowers: tuple[Path, ...]
    upper: Path
    scratch: Path
    target: str


class Caps(NamedTuple):
    """Limits of one command: processes together, bytes of memory a process writes, of a file, and of a tmpfs."""

    processes: int
    memory: int
    file: int
    tmpfs: int


def confined(
    argv: Sequence[str],
    *,
    home: Path,
    binds: Iterable[Bind],
    overlay: Overlay | None,
    env: Mapping[str, str],
    caps: Caps,
    launcher: Sequence[str],
    status_fd: int,
    filter_fd: int,
    as_root: bool,
    account: int | None = None,
) -> list[str]:
    """The command line that runs `argv` at /work with exactly `env`, and leaves no process between caller and bwrap.

    `home`: the sandbox's own directory, which its user may pass through. `launcher`: what starts before `argv`, inside.
    `account`: for root, the namespace to which all that it takes of the kernel is charged, see accounts.py.
    """
    binds = sorted(binds, key=lambda bind: bind.target)
    if not as_root:
        start = confine.start()
        start = start._replace(words=[*accounts.limited(_LAST_IN_LINE), *start.words])
    else:
        others = [*(bind.source for bind in binds), *(overlay.lowers if overlay else ())]
        sources = [home, *(source for source in others if not source.is_relative_to(home))]
        start = confine.start_from_root(sources, NOBODY, account=account, first=_LAST_IN_LINE)
    return [
        *(*start.words, *confine.isolated()),
        *("--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "sandbox"),
        *("--json-status-fd", str(status_fd), "--seccomp", str(filter_fd)),
        *(*confine.system(_ETC, caps.tmpfs), "--perms", "0700", "--dir", HOME),
        *confine.bound(bind._replace(source=start.place(bind.source)) for bind in binds),
        *(_laid_over(overlay, start) if overlay else ()),
        *(word for name, value in env.items() for word in ("--setenv", name, value)),
        *(*confine.closed(WORK), *launcher, *_limited(caps), *argv),
    ]


def _laid_over(overlay: Overlay, start: Start) -> list[str]:
    words = [word for lower in overlay.lowers for word in ("--overlay-src", str(start.place(lower)))]
    return [*words, "--overlay", str(start.place(overlay.upper)), str(start.place(overlay.scratch)), overlay.target]


def _limited(caps: Caps) -> list[str]:
    """Set inside: there, the kernel counts the processes of this user namespace alone (Linux 5.14)."""
    # not the address space: Node and Go reserve far more of it than they ever write
    wanted = {"nproc": caps.processes, "data": caps.memory, "fsize": caps.file, "core": 0, **_QUEUES}
    words = []
    for name, value in wanted.items():
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        words.append(f"--{name}={value if hard == resource.RLIM_INFINITY else min(value, hard)}")
    return ["/usr/bin/prlimit", *words, "--"]


def binds_of_toolchain(toolchain: Path) -> list[Bind]:
    """A virtual environment at its own path (environments cannot be moved), and the interpreter it stands on."""
    try:
        settings = (toolchain / "pyvenv.cfg").read_text()
    except OSError as err:
        raise SandboxError(f"the toolchain {toolchain} is not a virtual environment: {err}") from err
    found = re.search(r"^home\s*=\s*(/.*?)\s*$", settings, re.MULTILINE)
    if found is None:
        raise SandboxError(f"the toolchain {toolchain} is not a virtual environment: pyvenv.cfg names no home")
    return [Bind(toolchain, str(toolchain)), *_binds_of_python(Path(found[1]), f"the toolchain {toolchain}")]


def _binds_of_python(bin_directory: Path, who: str) -> list[Bind]:
    """A Python installation at its own path; nothing if it is the system's, which every sandbox has."""
    binds = []
    for prefix in {bin_directory.parent, bin_directory.resolve().parent}:
        if prefix == Path("/") or prefix.is_relative_to("/usr"):
            continue
        if (
            not bin_directory.is_absolute()
            or Path(os.path.expanduser("~")).is_relative_to(prefix)
            or not any(prefix.glob("lib/python3*"))
        ):
            raise SandboxError(f"{who} stands on {bin_directory}, which is not a Python installation of its own")
        binds.append(Bind(prefix, str(prefix)))
    return binds


def relay_of(home: Path, gateway: Path) -> tuple[list[str], list[Bind]]:
    """What starts the relay before a command, and what it needs: the worker's own Python, relay.py in `home`, and the
    gateway's directory for this sandbox."""
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    binds = [Bind(home / Path(RELAY).name, RELAY), Bind(gateway.absolute(), GATEWAY)]
    launcher = [str(python), "-I", "-S", RELAY, f"127.0.0.1:{RELAY_PORT}={GATEWAY}/gateway.sock", "--"]
    return launcher, [*binds, *_binds_of_python(python.parent, "the worker")]


def check_target(target: str) -> str | None:
    """None if something may be bound at `target` in a sandbox, else why not."""
    if not target.startswith("/") or posixpath.normpath(target) != target or "\0" in target:
        return f"{target!r} is not a plain absolute path"
    if target in ("/", "/usr", "/etc", TMP):
        return f"{target} is the sandbox's own"
    for taken in (WORK, EXCHANGE, GATEWAY, RELAY, "/proc", "/dev"):
        if target == taken or target.startswith(taken + "/"):
            return f"{target} lies under {taken}, which is the sandbox's own: keep it elsewhere"
    return None
