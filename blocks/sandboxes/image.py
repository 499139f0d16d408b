"""The base image of docker sandboxes, packed from this machine's own packages: no registry, no download, no root.

It has a shell and the usual commands, git, Python, and Node where it is installed; what documentation, headers and
translations take is left out. The same packages give the same tar, so the tag is the digest of its content.
"""

import hashlib
import io
import os
import platform
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from blocks.host.docker import Engine
from domain.errors import InputError, SandboxError

REPOSITORY = "lockgate-base"
AGENT_ID, PLATFORM_ID = 10001, 10002
"""uid and gid of commands, and of the platform's own processes beside them: no signal, no ptrace in between."""

WANTED = (
    "bash", "ca-certificates", "coreutils", "curl", "dash", "diffutils", "findutils", "git", "grep", "gzip", "hostname",
    "libc-bin", "less", "make", "mawk", "media-types", "netbase", "nodejs", "npm", "openssl", "patch", "procps",
    "python3", "python3-venv", "sed", "tar", "tzdata", "unzip", "util-linux", "xz-utils",
)  # fmt: skip
"""Packages that go in where they are installed, with what they depend on."""
NEEDED = ("sh", "env", "cat", "git", "python3")
"""Programs without which there is no image."""
_LEFT_OUT = {"debconf", "dpkg", "git-man", "init-system-helpers", "liberror-perl", "perl", "perl-base"}
"""Dependencies that only maintainer scripts, manuals and `git add --interactive` want."""
_SKIPPED = re.compile(
    r"/(etc|dev|proc|sys|run|tmp|var|boot|home|root)(/|$)|/usr/(include|games|src|local)(/|$)"
    r"|/usr/share/(doc|man|info|locale|lintian|bug|bash-completion|zsh|fish|gitweb|perl5|git-core/contrib)(/|$)"
    r"|/usr/lib/systemd(/|$)|/usr/lib/node_modules(/|$)|/\.\.?$"
)
_ETC = ("ca-certificates", "ssl/certs", "ssl/openssl.cnf", "mime.types", "protocols", "services")
_ETC_FILES = {
    "passwd": f"root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:{AGENT_ID}:{AGENT_ID}::/tmp/home:/bin/sh\n"
    f"platform:x:{PLATFORM_ID}:{PLATFORM_ID}::/:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
    "group": f"root:x:0:\nagent:x:{AGENT_ID}:\nplatform:x:{PLATFORM_ID}:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def build(engine: Engine, say: Callable[[str], None]) -> str:
    """Make the base image unless the engine has it; its name. `say` gets a line for each step.

    Raises InputError on a machine without dpkg or without a program that is needed.
    """
    packages = _closure()
    say(f"packing {len(packages)} installed packages: {' '.join(packages)}")
    with tempfile.TemporaryFile() as file:
        digest, size = _pack(packages, file)
        name = f"{REPOSITORY}:{digest[:12]}"
        if engine.image(name) is None:
            say(f"importing {size >> 20} MB as {name}")
            file.seek(0)
            engine.import_image(file, name, [f"USER {AGENT_ID}:{AGENT_ID}", "ENV PATH=/usr/bin:/bin", "WORKDIR /work"])
        else:
            say(f"{name} is there already")
    engine.tag(name, f"{REPOSITORY}:latest")
    return name


def _closure() -> list[str]:
    """Names of the installed packages that go in, sorted."""
    if not shutil.which("dpkg-query"):
        raise InputError(
            "the base image is packed from Debian packages, and this machine has no dpkg: "
            "name an image in the docker sandbox's settings instead"
        )
    needs: dict[str, list[list[str]]] = {}
    providers: dict[str, str] = {}
    form = "${Package}\t${db:Status-Status}\t${Depends}, ${Pre-Depends}\t${Provides}\n"
    for line in _dpkg("--show", f"--showformat={form}").splitlines():
        name, status, depends, provides = line.split("\t")
        if status != "installed":
            continue
        needs[name] = [[_name(choice) for choice in group.split("|")] for group in depends.split(",") if group.strip()]
        providers.update({_name(provided): name for provided in provides.split(",") if provided.strip()})
    chosen: set[str] = set()
    waiting = [name for name in WANTED if name in needs]
    while waiting:
        name = waiting.pop()
        if name in chosen or name in _LEFT_OUT:
            continue
        chosen.add(name)
        for group in needs[name]:
            installed = (choice if choice in needs else providers.get(choice) for choice in group)
            waiting += [choice for choice in installed if choice][:1]
    return sorted(chosen)


def _name(relation: str) -> str:
    return re.split(r"[ (:]", relation.strip())[0]


def _dpkg(*words: str) -> str:
    done = subprocess.run(["dpkg-query", *words], capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", **_PATH})
    if done.returncode:
        raise SandboxError(f"dpkg-query does not answer: {done.stderr.strip()[-300:]}")
    return done.stdout


_PATH = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


def _pack(packages: Iterable[str], file: IO[bytes]) -> tuple[str, int]:
    """Write the tar; its SHA-256 and its size in bytes."""
    paths = set(_files(packages))
    if missing := [name for name in NEEDED if not {f"usr/bin/{name}", f"bin/{name}"} & paths]:
        raise InputError(f"the base image needs {', '.join(missing)}: apt-get install git python3, then build again")
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        made: dict[tuple[int, int], str] = {}
        folders: set[str] = set()
        for path in sorted(paths):
            for above in reversed(list(Path(path).parents)[:-1]):
                if str(above) not in folders:
                    folders.add(str(above))
                    _add(tar, str(above), tarfile.DIRTYPE, 0o755)
            _add_file(tar, path, made)
        for name, text in _ETC_FILES.items():
            _add(tar, f"etc/{name}", tarfile.REGTYPE, 0o644, text.encode())
        for name, mode in {
            "dev": 0o755,
            "work": 0o755,
            "lockgate": 0o755,
            "proc": 0o555,
            "sys": 0o555,
            "run": 0o755,
            "tmp": 0o1777,
        }.items():
            _add(tar, name, tarfile.DIRTYPE, mode)
    size = file.tell()
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest(), size


def _files(packages: Iterable[str]) -> Iterator[str]:
    """Paths without a leading slash, their directories resolved: Debian lists /bin/sh, which lies in /usr/bin."""
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.lexists(f"/{name}"):
            yield name
    for line in sorted(set(_dpkg("--listfiles", *packages).splitlines())):
        if not line.startswith("/") or _SKIPPED.match(line) or not os.path.lexists(line):
            continue
        path = os.path.join(os.path.realpath(os.path.dirname(line)), os.path.basename(line))
        if os.path.isdir(path) and not os.path.islink(path):
            continue
        yield path[1:]
        folder, _, program = path.rpartition("/")
        compiled = f"{folder}/__pycache__/{program[:-3]}.cpython-{''.join(platform.python_version_tuple()[:2])}.pyc"
        if path.endswith(".py") and os.path.isfile(compiled):
            yield compiled[1:]
    for folder, _, names in os.walk("/usr/lib/node_modules/npm"):  # npm updates itself over what its package lists
        yield from (os.path.join(folder, name)[1:] for name in names)
    for link in sorted(Path("/etc/alternatives").glob("*")):
        target = os.path.realpath(link)
        if target.startswith("/usr/bin/") and os.path.islink(f"/usr/bin/{link.name}") and link.name in ("awk", "nawk"):
            yield from (str(link)[1:], f"usr/bin/{link.name}")
    for top in _ETC:
        if os.path.isfile(f"/etc/{top}"):
            yield f"etc/{top}"
        for folder, _, names in os.walk(f"/etc/{top}"):
            yield from (os.path.join(folder, name)[1:] for name in names)


def _add_file(tar: tarfile.TarFile, path: str, made: dict[tuple[int, int], str]) -> None:
    info = os.lstat(f"/{path}")
    if stat.S_ISLNK(info.st_mode):
        _add(tar, path, tarfile.SYMTYPE, 0o777, link=os.readlink(f"/{path}"))
    elif stat.S_ISDIR(info.st_mode):
        _add(tar, path, tarfile.DIRTYPE, 0o755)
    elif stat.S_ISREG(info.st_mode) and info.st_mode & 0o004:
        first = made.setdefault((info.st_dev, info.st_ino), path)
        if first != path:
            _add(tar, path, tarfile.LNKTYPE, info.st_mode & 0o755, link=first)
            return
        # byte code is valid for the modification time of its source, which is that of the package
        _add(tar, path, tarfile.REGTYPE, info.st_mode & 0o755, Path(f"/{path}").read_bytes(), when=int(info.st_mtime))


def _add(
    tar: tarfile.TarFile,
    path: str,
    kind: bytes,
    mode: int,
    content: bytes = b"",
    *,
    link: str = "",
    when: int = 0,
) -> None:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.size, entry.mtime, entry.linkname = kind, mode, len(content), when, link
    tar.addfile(entry, io.BytesIO(content))
