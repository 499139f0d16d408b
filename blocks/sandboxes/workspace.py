"""One open bubblewrap sandbox: a directory on the host, and the commands confined to it."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from blocks.host import accounts, process_memory, relay, seccomp
from blocks.host.memory import in_memory
from blocks.sandboxes import archives, confinement, hostile, layers, merged, openers, trees
from blocks.sandboxes.confinement import EXCHANGE, NOBODY, WORK, Bind, Caps, Overlay
from blocks.sandboxes.processes import supervise
from blocks.sandboxes.transcript import Transcript
from domain.errors import AgentError, SandboxError
from domain.ports import Completed, Egress
from domain.trees import Tree, shown


class Bounds(NamedTuple):
    """What one workspace may take."""

    caps: Caps
    tree: trees.Limits
    disk_bytes: int
    disk_files: int
    free_bytes: int
    """Nothing runs while the host's disk has less."""
    output_bytes: int


class Furniture(NamedTuple):
    """What one workspace is opened with."""

    tree: Tree
    held: layers.Held | None
    """The tree in the cache, as the layer below /work; None: it is copied."""
    layer: Path | None
    toolchain: Path | None
    binds: tuple[Bind, ...]
    egress: Egress | None


class BubblewrapWorkspace:
    """A working copy at /work, files to exchange at /lockgate, and commands with no route out but their egress."""

    kind = "bubblewrap"

    def __init__(self, directory: Path, label: str, bounds: Bounds, furniture: Furniture) -> None:
        """Furnish `directory`, which is empty and the worker's alone. `furniture.held` is released with it."""
        self.directory = directory
        self._tree, self._held, self._layer, toolchain, binds, egress = furniture
        self._bounds = bounds
        self._owner = (NOBODY, NOBODY) if os.geteuid() == 0 else None
        self._env = {
            "HOME": confinement.HOME,
            "TMPDIR": confinement.TMP,
            "PATH": f"{toolchain}/bin:/usr/bin:/bin" if toolchain else "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if toolchain:
            self._env["VIRTUAL_ENV"] = str(toolchain)
        if self._layer:
            self._env |= confinement.kept(self._env["PATH"])
        self._binds = [Bind(directory / "etc" / name, f"/etc/{name}") for name in confinement.ETC_FILES]
        self._binds += [Bind(directory / "lockgate", EXCHANGE, True), *binds]
        self._launcher: list[str] = []
        if egress:
            self._env |= egress.environment
            self._launcher, own = confinement.relay_of(directory, egress.directory)
            self._binds += own
        self._binds = list(dict.fromkeys(self._binds))
        self._overlay: Overlay | None = None
        self._below: merged.Below | None = None
        self._left_out = layers.roots(self._layer, self._tree) if self._layer else set()
        self._is_idle = threading.Lock()
        self._account: int | None = None
        openers.sign(directory, label)
        self._furnish(with_relay=egress is not None)

    def _furnish(self, *, with_relay: bool) -> None:
        if self._owner:  # nobody's group passes through, and nobody else
            os.chown(self.directory, 0, NOBODY)
            self.directory.chmod(0o710)
        for name in ("etc", "work", "lockgate", "scratch"):
            hostile.make_directory(self.directory / name, None if name == "etc" else self._owner)
        for name, text in confinement.ETC_FILES.items():
            (self.directory / "etc" / name).write_text(text)
            (self.directory / "etc" / name).chmod(0o644)
        if with_relay:
            program = self.directory / Path(confinement.RELAY).name
            shutil.copyfile(relay.__file__, program)
            program.chmod(0o644)
        work = self.directory / "work"
        if self._held:
            lowers = (*([self._layer] if self._layer else []), self._held.directory)
            self._overlay = Overlay(lowers, work, self.directory / "scratch", WORK)
            self._below = merged.Below(self._tree, self._layer)
            return
        self._binds.append(Bind(work, WORK, True))
        trees.plant(work, self._tree, self._owner)
        if self._layer:
            self._copy_beside(self._layer, work)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        on_output: Callable[[str], None] | None = None,
        stop: Callable[[], str | None] | None = None,
    ) -> Completed:
        """Run one command at /work, with a /tmp of its own. When this returns, nothing of it runs any more.

        `on_output` gets what it prints by whole lines, bounded and with control characters escaped, in this thread.
        `stop` is asked about twice a second; a reason ends the command and is its `problem`.
        Raises SandboxError if the sandbox breaks, the host's disk is full, or another command runs in it.
        """
        if not self.directory.exists():
            raise SandboxError("the workspace is closed: open another one")
        if not self._is_idle.acquire(blocking=False):  # one upper layer in two mounts is undefined
            raise SandboxError("a command is running in this workspace: open another one")
        try:
            return self._run(argv, timeout_s, {**self._env, **(env or {})}, stdin, on_output, stop)
        finally:
            self._is_idle.release()

    def _run(
        self,
        argv: Sequence[str],
        timeout_s: float,
        env: Mapping[str, str],
        stdin: bytes | None,
        on_output: Callable[[str], None] | None,
        stop: Callable[[], str | None] | None,
    ) -> Completed:
        refuse_full_disk(self.directory, self._bounds.free_bytes)
        transcript = Transcript(self._bounds.output_bytes, on_output)
        program = seccomp.program()
        if self._owner and self._account is None:
            self._account = accounts.opened(NOBODY)
        filter_fd = in_memory(program)
        try:
            ended = supervise(
                lambda status_fd: confinement.confined(
                    argv,
                    home=self.directory,
                    binds=self._binds,
                    overlay=self._overlay,
                    env=env,
                    caps=self._bounds.caps,
                    launcher=self._launcher,
                    status_fd=status_fd,
                    filter_fd=filter_fd,
                    as_root=self._owner is not None,
                    account=self._account,
                ),
                pass_fds=[filter_fd],
                timeout_s=timeout_s,
                stdin=stdin,
                transcript=transcript,
                check=lambda first: self._check() or self._check_memory(first) or (stop() if stop else None),
            )
        finally:
            os.close(filter_fd)
        problem = ended.problem or self._check()
        if ended.exit_code is None and not problem:
            raise SandboxError(f"the sandbox broke before its command ended: {transcript.text.strip()}")
        return Completed(
            argv=tuple(argv),
            exit_code=137 if ended.exit_code is None else ended.exit_code,
            output=transcript.text,
            seconds=round(ended.seconds, 3),
            timed_out=ended.timed_out,
            problem=problem,
        )

    def write(self, path: str, content: bytes) -> None:
        """Write a file under /work or /lockgate. Raises AgentError if the agent put something in its way."""
        top, parts = self._place(path)
        if self._below and top.name == "work":
            merged.put(top, parts, content, self._owner, self._below)
        else:
            hostile.put(top, parts, content, self._owner)

    def read(self, path: str, max_bytes: int = 10_000_000) -> bytes | None:
        """A regular file under /work or /lockgate, or None. Raises AgentError if it is over `max_bytes`."""
        top, parts = self._place(path)
        if self._below and top.name == "work":
            return merged.get(top, parts, max_bytes, self._below)
        return hostile.get(top, parts, max_bytes)

    def collect(self, ignored: Callable[[str, bool], bool] | None = None) -> Tree:
        """Everything under /work but what is new and `ignored` (path, is it a directory), validated.

        Raises AgentError for what is not a tree git should hold.
        """
        work, below = self.directory / "work", self._below is not None
        return trees.collect(work, self._tree, self._bounds.tree, below=below, left_out=self._left_out, ignored=ignored)

    def save(self, directory: str, max_bytes: int = 50_000_000) -> bytes | None:
        """A directory under /lockgate as a tar; None if it is not there, larger, or holds more than plain files."""
        return archives.pack(self.directory / "lockgate", self._exchanged(directory), max_bytes)

    def restore(self, directory: str, saved: bytes) -> None:
        """Put what `save` gave back. Raises AgentError if it is not what `save` gives, or something is there."""
        entries, parts = archives.unpack(saved), self._exchanged(directory)
        with hostile.disk_errors(self.directory):
            made = Path(tempfile.mkdtemp(prefix="restored-", dir=self.directory))
            try:
                archives.plant(made, entries, self._owner)
                hostile.put_directory(self.directory / "lockgate", parts, made, self._owner)
            finally:
                hostile.remove(made)

    def harvest(self, destination: Path) -> None:
        """What commands added to /work beside the opened tree, as files below `destination`, which does not exist yet.

        Raises SandboxError if it takes more than a workspace may.
        """
        with hostile.disk_errors(destination):
            destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
            try:
                self._copy_beside(self.directory / "work", made)
                if self._owner:
                    os.chown(made, *self._owner)
                made.chmod(0o755)
                os.rename(made, destination)
            except BaseException:
                hostile.remove(made)
                raise

    def close(self) -> None:
        """Remove the workspace. Safe to repeat."""
        if self._account is not None:
            os.close(self._account)
            self._account = None
        try:
            with hostile.disk_errors(self.directory):
                hostile.remove(self.directory)
        finally:
            if self._held:
                self._held.release()

    def _place(self, path: str) -> tuple[Path, list[str]]:
        top, *parts = path.removeprefix("/").split("/")
        if f"/{top}" not in (WORK, EXCHANGE) or not parts or any(part in ("", ".", "..") for part in parts):
            raise SandboxError(f"{shown(path)} is not a plain path under {WORK} or {EXCHANGE}")
        return self.directory / top, parts

    def _exchanged(self, path: str) -> list[str]:
        top, parts = self._place(path)
        if top.name != "lockgate":
            raise SandboxError(f"{shown(path)} is not a directory under {EXCHANGE}")
        return parts

    def _copy_beside(self, source: Path, destination: Path) -> None:
        left_out = self._left_out if source != self._layer else set()
        disk_bytes, disk_files = self._bounds.disk_bytes, self._bounds.disk_files
        try:
            layers.copy(
                source,
                destination,
                self._tree,
                self._owner,
                max_bytes=disk_bytes,
                max_files=disk_files,
                left_out=left_out,
            )
        except AgentError as err:
            raise SandboxError(f"what setup left cannot be kept: {err}") from err

    def _check(self) -> str | None:
        refuse_full_disk(self.directory, self._bounds.free_bytes)
        written = [self.directory / "work", self.directory / "lockgate"]
        return hostile.measure(written, self._bounds.disk_bytes, self._bounds.disk_files)

    def _check_memory(self, first: int | None) -> str | None:
        limit = self._bounds.caps.memory
        if first is None or not process_memory.is_over(first, limit):
            return None
        return f"the command took more than {limit >> 20} MB of memory"


def refuse_full_disk(directory: Path, free_bytes: int) -> None:
    """Raises SandboxError while the disk of `directory` has less than `free_bytes` or no inode left."""
    with hostile.disk_errors(directory):
        disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < free_bytes or (disk.f_files and not disk.f_favail):
        raise SandboxError(
            f"the disk is full at {directory}: {free_bytes >> 20} MB must be free. Free some, then resume"
        )
