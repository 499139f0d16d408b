"""One open bubblewrap sandbox: a directory on the host, and the commands confined to it."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from blocks.sandboxes import confinement, hostile, openers, seccomp, trees
from blocks.sandboxes.confinement import EXCHANGE, NOBODY, WORK, Bind, Caps
from blocks.sandboxes.processes import supervise
from blocks.sandboxes.transcript import Transcript
from domain.errors import SandboxError
from domain.ports import Completed, Tree
from domain.trees import shown


class Bounds(NamedTuple):
    """What one workspace may take."""

    caps: Caps
    tree: trees.Limits
    disk_bytes: int
    disk_files: int
    free_bytes: int
    """Nothing runs while the host's disk has less."""
    output_bytes: int


class BubblewrapWorkspace:
    """A working copy at /work, files to exchange at /lockgate, and commands with no route out."""

    kind = "bubblewrap"

    def __init__(
        self, directory: Path, tree: Tree, label: str, bounds: Bounds, toolchain: Path | None, binds: Sequence[Bind]
    ) -> None:
        """Furnish `directory`, which is empty and the worker's alone."""
        self.directory = directory
        self._tree = tree
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
        own = [Bind(directory / "etc" / name, f"/etc/{name}") for name in confinement.ETC_FILES]
        own += [Bind(directory / "work", WORK, True), Bind(directory / "lockgate", EXCHANGE, True)]
        self._binds = [*own, *dict.fromkeys(binds)]
        openers.sign(directory, label)
        self._furnish()

    def _furnish(self) -> None:
        if self._owner:  # nobody's group passes through, and nobody else
            os.chown(self.directory, 0, NOBODY)
            self.directory.chmod(0o710)
        for name in ("etc", "work", "lockgate"):
            (self.directory / name).mkdir()
            (self.directory / name).chmod(0o755)
        for name, text in confinement.ETC_FILES.items():
            (self.directory / "etc" / name).write_text(text)
            (self.directory / "etc" / name).chmod(0o644)
        if self._owner:
            os.chown(self.directory / "work", *self._owner)
            os.chown(self.directory / "lockgate", *self._owner)
        trees.plant(self.directory / "work", self._tree, self._owner)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run one command at /work, with a /tmp of its own. When this returns, nothing of it runs any more.

        `on_output` gets what it prints by whole lines, bounded and with control characters escaped, in this thread.
        Raises SandboxError where the sandbox breaks or the host's disk is full.
        """
        if not self.directory.exists():
            raise SandboxError("the workspace is closed: open another one")
        refuse_full_disk(self.directory, self._bounds.free_bytes)
        transcript = Transcript(self._bounds.output_bytes, on_output)
        program = seccomp.program()
        filter_fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            os.write(filter_fd, program)
            os.lseek(filter_fd, 0, os.SEEK_SET)
            ended = supervise(
                lambda status_fd: confinement.confined(
                    argv,
                    binds=self._binds,
                    env={**self._env, **(env or {})},
                    caps=self._bounds.caps,
                    status_fd=status_fd,
                    filter_fd=filter_fd,
                    as_root=self._owner is not None,
                ),
                pass_fds=[filter_fd],
                timeout_s=timeout_s,
                stdin=stdin,
                transcript=transcript,
                check=self._check,
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
        """Write a file under /work or /lockgate. Raises AgentError where the agent put something in its way."""
        top, parts = self._place(path)
        hostile.put(top, parts, content, self._owner)

    def read(self, path: str, max_bytes: int = 10_000_000) -> bytes | None:
        """A regular file under /work or /lockgate, or None. Raises AgentError where it is over `max_bytes`."""
        top, parts = self._place(path)
        return hostile.get(top, parts, max_bytes)

    def collect(self) -> Tree:
        """Everything under /work, validated. Raises AgentError for what is not a tree git should hold."""
        return trees.collect(self.directory / "work", self._tree, self._bounds.tree)

    def close(self) -> None:
        """Remove the workspace. Safe to repeat."""
        with hostile.disk_errors(self.directory):
            hostile.remove(self.directory)

    def _place(self, path: str) -> tuple[Path, list[str]]:
        top, *parts = path.removeprefix("/").split("/")
        if f"/{top}" not in (WORK, EXCHANGE) or not parts or any(part in ("", ".", "..") for part in parts):
            raise SandboxError(f"{shown(path)} is not a plain path under {WORK} or {EXCHANGE}")
        return self.directory / top, parts

    def _check(self) -> str | None:
        refuse_full_disk(self.directory, self._bounds.free_bytes)
        return hostile.measure(self.directory, self._bounds.disk_bytes, self._bounds.disk_files)


def refuse_full_disk(directory: Path, free_bytes: int) -> None:
    """Raises SandboxError while the disk of `directory` has less than `free_bytes` or no inode left."""
    with hostile.disk_errors(directory):
        disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < free_bytes or (disk.f_files and not disk.f_favail):
        raise SandboxError(
            f"the disk is full at {directory}: {free_bytes >> 20} MB must be free. Free some, then resume"
        )
