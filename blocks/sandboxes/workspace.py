"""One open bubblewrap sandbox: a directory on the host, and the commands confined to it."""

import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blocks.host import accounts, process_memory, relay, seccomp
from blocks.host.confine import Bind
from blocks.host.memory import in_memory
from blocks.sandboxes import confinement, hostile
from blocks.sandboxes.confinement import EXCHANGE, NOBODY, WORK, Overlay
from blocks.sandboxes.processes import supervise
from blocks.sandboxes.transcript import Transcript
from blocks.sandboxes.working_copy import Contents, WorkingCopy, WorkspaceBounds, refuse_full_disk
from domain.errors import SandboxError
from domain.ports import Completed


class BubblewrapWorkspace(WorkingCopy):
    """A working copy, and commands in namespaces of their own with no route out but their egress."""

    kind = "bubblewrap"

    def __init__(self, directory: Path, bounds: WorkspaceBounds, contents: Contents) -> None:
        """Fill `directory`, which is signed, else empty, the worker's alone. `contents.held` is released with it."""
        super().__init__(directory, bounds, contents, (NOBODY, NOBODY) if os.geteuid() == 0 else None, "/usr/bin:/bin")
        egress = contents.egress
        self._binds = [Bind(directory / "etc" / name, f"/etc/{name}") for name in confinement.ETC_FILES]
        self._binds += [Bind(directory / "lockgate", EXCHANGE, True), *contents.binds]
        self._launcher: list[str] = []
        if egress:
            self._launcher, own = confinement.relay_of(directory, egress.directory)
            self._binds += own
        self._binds = list(dict.fromkeys(self._binds))
        self._overlay: Overlay | None = None
        self._is_idle = threading.Lock()
        self._account: int | None = None
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
        if lowers := self._lay_out():
            self._overlay = Overlay(tuple(lowers), work, self.directory / "scratch", WORK)
        else:
            self._binds.append(Bind(work, WORK, True))

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

    def _check_memory(self, first: int | None) -> str | None:
        limit = self._bounds.caps.memory
        if first is None or not process_memory.is_over(first, limit):
            return None
        return f"the command took more than {limit >> 20} MB of memory"
