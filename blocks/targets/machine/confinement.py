"""The file view of a release: its tree, its data, its toolchain, the system's programs, and nothing else of the host.

It has a network of its own, see network.py, unless it is to keep the host's.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from blocks.host import accounts, confine, processes, seccomp
from blocks.host.confine import Bind
from blocks.host.memory import in_memory
from domain.errors import SandboxError, TargetError

APP, DATA = "/app", "/data"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ETC = ("resolv.conf", "hosts", "passwd", "group", "nsswitch.conf", "ssl", "pki", "ca-certificates", "localtime",
        "services", "mime.types", "alternatives", "ld.so.cache")  # fmt: skip
TMP_BYTES = 256 << 20
OUTPUT_BYTES = 64_000
_BEGINS_WITHIN_S = 30.0
NOTHING: Mapping[str, str] = MappingProxyType({})


class ConfinedFiles(NamedTuple):
    """Descriptors of a confined program: its environment, and the filter of its system calls."""

    environment: int
    calls: int


class ConfinedEnd(NamedTuple):
    """One command that ended. `output`: the last 64 kB of stdout and stderr; `exit_code` None: it took too long."""

    exit_code: int | None
    output: str


def run(
    command: Sequence[str],
    binds: Sequence[Bind],
    environment: Mapping[str, str],
    *,
    network: bool,
    timeout_s: float,
    descriptors: Sequence[int] = (),
    files: Mapping[str, str] = NOTHING,
) -> ConfinedEnd:
    """Run a command to its end; it dies with us. Raises TargetError if it cannot be started."""
    with attached(command, binds, environment, network=network, descriptors=descriptors, files=files) as process:
        return ended(process, time.monotonic() + timeout_s)


@contextlib.contextmanager
def attached(
    command: Sequence[str],
    binds: Sequence[Bind],
    environment: Mapping[str, str],
    *options: str,
    network: bool,
    descriptors: Sequence[int] = (),
    files: Mapping[str, str] = NOTHING,
) -> Iterator[subprocess.Popen[bytes]]:
    """A command at work, with its output in a pipe. It dies with us, and is killed at the end of the context.

    `options`: more of bwrap's, before the mounts. `network`: the host's. `files`: path inside → text.
    Raises TargetError if it cannot be started.
    """
    with _account() as account:  # open until the end: who goes in does so after it was started
        with _sealed(environment) as sealed, _written(files) as written:
            argv = _argv(
                command, binds, sealed, network=network, options=(*options, *_options(written)), account=account
            )
            try:
                process = subprocess.Popen(
                    argv,
                    env={"PATH": _SYSTEM_PATH},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(*sealed, *descriptors, *written.values()),
                    start_new_session=True,
                )
            except OSError as err:
                raise TargetError(f"{argv[0]} could not be started: {err}") from err
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def ended(process: subprocess.Popen[bytes], deadline: float) -> ConfinedEnd:
    """How a command ended; it is killed at the deadline, in seconds of the monotonic clock."""
    assert process.stdout is not None  # noqa: S101
    tail, pipe = b"", process.stdout.fileno()
    while (left := deadline - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            if not (chunk := os.read(pipe, 65536)):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(left)
                break
            tail = (tail + chunk)[-OUTPUT_BYTES:]
    if late := process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return ConfinedEnd(None if late else process.wait(), tail.decode(errors="replace"))


def wrapped(command: Sequence[str], binds: Sequence[Bind]) -> list[str]:
    """The command line of a command that gets no network and no environment, for who starts and ends it himself."""
    argv = _argv(command, binds, None, network=False)
    return ["/usr/bin/env", "-i", f"PATH={_SYSTEM_PATH}", *argv]


def start(
    command: Sequence[str],
    binds: Sequence[Bind],
    environment: Mapping[str, str],
    *,
    network: bool,
    mark: str,
    log: Path,
    descriptors: Sequence[int] = (),
    files: Mapping[str, str] = NOTHING,
) -> None:
    """Start a service that outlives us; `processes.marked(mark)` finds it. Its output is appended to `log`."""
    with _sealed(environment) as sealed, _written(files) as written, _account() as account:
        # the mark comes as a variable because that is the one word of its command line bwrap does not care about
        options = ["--setenv", "LOCKGATE_RELEASE", mark, *_options(written)]
        # the relay that stands above it is the first process: without it, nothing of the release is left
        options += [] if network else ["--as-pid-1"]
        argv = _argv(command, binds, sealed, network=network, options=options, account=account, dies_with_us=False)
        given = [*sealed, *descriptors, *written.values()]
        processes.start(argv, {"PATH": _SYSTEM_PATH}, log, Path("/"), given)
        deadline = time.monotonic() + _BEGINS_WITHIN_S
        while account and not processes.within(mark) and time.monotonic() < deadline and processes.is_running(mark):
            time.sleep(0.02)  # on its way in, it still needs the account


@contextlib.contextmanager
def _account() -> Iterator[int | None]:
    """Whom the kernel charges for what it takes; None: us."""
    try:
        with accounts.account(processes.RELEASE_UID) as descriptor:
            yield descriptor
    except SandboxError as err:
        raise TargetError(str(err)) from err


@contextlib.contextmanager
def _written(files: Mapping[str, str]) -> Iterator[dict[str, int]]:
    """Files that are in no directory of the host's: path inside → descriptor."""
    with contextlib.ExitStack() as stack:
        yield {path: stack.enter_context(_held(text.encode())) for path, text in files.items()}


def _options(written: Mapping[str, int]) -> list[str]:
    return [word for path, fd in written.items() for word in ("--perms", "0444", "--ro-bind-data", str(fd), path)]


@contextlib.contextmanager
def _sealed(environment: Mapping[str, str]) -> Iterator[ConfinedFiles]:
    """What bwrap reads from descriptors. The environment: in no command line, in no file, and not in force for the
    programs before bwrap, where LD_PRELOAD would run on the host. The system call filter: that of sandboxes."""
    for name, value in environment.items():
        if not name.isidentifier() or not name.isascii() or "\0" in value:
            raise TargetError(f"environment variable {name!r} has no usable name or value: use letters, digits and _")
    words = (word for name, value in environment.items() for word in ("--setenv", name, value))
    try:
        program = seccomp.program()
    except SandboxError as err:
        raise TargetError(str(err)) from err
    options = b"".join(word.encode(errors="surrogateescape") + b"\0" for word in words)
    with _held(options) as arguments, _held(program) as calls:
        yield ConfinedFiles(arguments, calls)


@contextlib.contextmanager
def _held(content: bytes) -> Iterator[int]:
    descriptor = in_memory(content)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _argv(
    command: Sequence[str],
    binds: Sequence[Bind],
    sealed: ConfinedFiles | None,
    *,
    network: bool,
    options: Sequence[str] = (),
    account: int | None = None,
    dies_with_us: bool = True,
) -> list[str]:
    """The whole command line."""
    as_user: list[str] = []
    try:
        if os.geteuid() != 0:
            start = confine.start()
        else:
            sources, limits = [bind.source for bind in binds], ("prlimit", "--nproc=4096", "--core=0")
            start = confine.start_from_root(sources, processes.RELEASE_UID, account=account, limits=limits)
            as_user = ["--uid", "65534", "--gid", "65534"]
    except SandboxError as err:
        raise TargetError(str(err)) from err
    return [
        *(*start.words, *confine.isolated(network=network, dies_with_us=dies_with_us), *as_user),
        *(("--args", str(sealed.environment), "--seccomp", str(sealed.calls)) if sealed else ()),
        *(*confine.system(_ETC, TMP_BYTES), *options),
        *confine.bound(bind._replace(source=start.place(bind.source)) for bind in binds),
        *confine.closed(APP if any(bind.target == APP for bind in binds) else "/"),
        *command,
    ]


def toolchain_mounts(toolchain: Path, keep_out: Path) -> list[Bind]:
    """The virtual environment and the interpreter it was made from, where both believe to be.

    Raises TargetError if the interpreter's directory would show `keep_out` too.
    """
    python = toolchain / "bin" / "python"
    if not python.exists():
        raise TargetError(f"{toolchain} is no virtual environment: it has no bin/python")
    mounts = {str(toolchain): Bind(toolchain.resolve(), str(toolchain))}
    hop = python
    while hop.is_symlink():
        hop = hop.parent / os.readlink(hop)
        prefix = Path(os.path.normpath(hop)).parent.parent
        if prefix.is_relative_to("/usr") or prefix in (Path("/"), toolchain):
            continue
        if keep_out.resolve().is_relative_to(prefix.resolve()):
            raise TargetError(f"the interpreter of {toolchain} lies in {prefix}, which also holds {keep_out}: move one")
        mounts[str(prefix)] = Bind(prefix.resolve(), str(prefix))
        mounts[str(prefix.resolve())] = Bind(prefix.resolve(), str(prefix.resolve()))
    return list(mounts.values())


def base_environment(toolchain: Path) -> dict[str, str]:
    """What every release finds, and may set otherwise."""
    return {
        "PATH": f"{toolchain}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108  # its own
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def problem() -> str | None:
    """None if a release can be confined on this machine, else what is wrong and the fix."""
    try:
        ended = run(["/bin/sh", "-c", "exit 0"], [], {"PATH": _SYSTEM_PATH}, network=False, timeout_s=10)
    except TargetError as err:
        return str(err)
    if ended.exit_code == 0:
        return None
    said = ended.output.strip().splitlines()[-1:] or [f"exit code {ended.exit_code}"]
    return f"releases cannot be confined here: {said[0]}; allow user namespaces (sysctl user.max_user_namespaces)"
