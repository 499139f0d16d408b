"""One open docker sandbox: a directory on the host, and a container for each command over it."""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from blocks.sandboxes import docker_exec, hostile, openers
from blocks.sandboxes.docker_containers import RunnerContainer, WorkspaceContainers
from blocks.sandboxes.transcript import Transcript
from blocks.sandboxes.working_copy import Contents, WorkingCopy, WorkspaceBounds, refuse_full_disk
from domain.errors import SandboxError
from domain.ports import Completed

BACKGROUND = ThreadPoolExecutor(max_workers=4, thread_name_prefix="lockgate-docker")
"""Starts containers that are likely to be wanted soon."""


def furnish(directory: Path, owner: hostile.Owner | None) -> None:
    """Make what containers mount of `directory`, which is signed, otherwise empty, and the worker's alone."""
    for name in ("work", "lockgate", "scratch"):
        hostile.make_directory(directory / name, owner)


class DockerWorkspace(WorkingCopy):
    """A working copy, and commands in containers of their own with no route out but their egress."""

    kind = "docker"

    def __init__(
        self,
        directory: Path,
        label: str,
        bounds: WorkspaceBounds,
        contents: Contents,
        containers: WorkspaceContainers,
        owner: hostile.Owner | None,
        waiting: str | None = None,
    ) -> None:
        """Take over a furnished directory. `waiting`: a container of the pool that has it mounted already."""
        super().__init__(directory, bounds, contents, owner, containers.spec.path)
        egress = contents.egress
        self._containers = containers
        self._user = f"{containers.spec.uid}:{containers.spec.gid}"
        self._commands = 0
        self._lock = threading.Lock()
        self._closed = False
        self.is_under_way = threading.Event()
        """Set when the first command has ended, or none will come."""
        openers.sign(directory, label)
        lowers = self._lay_out()
        if waiting is None:
            containers.mount_work(lowers)
            if egress:
                containers.start_relay(egress.directory)
        self._next: Future[RunnerContainer] | None = Future()
        try:
            self._next.set_result(containers.hold(waiting) if waiting else containers.start_runner())
        except SandboxError:
            if waiting is None:
                raise
            self._next = None  # it died while it waited, with its engine for example

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
        """Run one command at /work, in a container of its own. When this returns, nothing of it runs any more.

        `on_output` gets what it prints by whole lines, bounded and with control characters escaped, in this thread.
        `stop` is asked about twice a second; a reason ends the command and is its `problem`.
        Raises SandboxError if the sandbox or the engine breaks, or the host's disk is full.
        """
        if self._closed or not self.directory.exists():
            raise SandboxError("the workspace is closed: open another one")
        refuse_full_disk(self.directory, self._bounds.free_bytes)
        transcript = Transcript(self._bounds.output_bytes, on_output)
        runner = self._runner()
        try:
            ended = docker_exec.supervise(
                self._containers.engine,
                runner.container,
                argv,
                user=self._user,
                env={**self._env, **(env or {})},
                timeout_s=timeout_s,
                stdin=stdin,
                transcript=transcript,
                check=lambda: self._check() or (stop() if stop else None),
            )
        finally:
            BACKGROUND.submit(self._containers.remove, runner)  # it is dead already
        self.is_under_way.set()
        self._start_next()
        problem = ended.problem or self._check()
        return Completed(
            argv=tuple(argv),
            exit_code=137 if ended.exit_code is None else ended.exit_code,
            output=transcript.text,
            seconds=round(ended.seconds, 3),
            timed_out=ended.timed_out,
            problem=problem,
        )

    def close(self) -> None:
        """Remove the workspace, its containers and its volume. Safe to repeat."""
        with self._lock:
            self._closed = True
            self.is_under_way.set()
            coming, self._next = self._next, None
        try:
            if coming:
                with contextlib.suppress(SandboxError):
                    self._containers.remove(coming.result())
            self._containers.close()
        finally:
            remove(self.directory)
            if self._held:
                self._held.release()

    def _runner(self) -> RunnerContainer:
        with self._lock:
            coming, self._next = self._next, None
            self._commands += 1
        return coming.result() if coming else self._containers.start_runner()

    def _start_next(self) -> None:
        """Who gave two commands is likely to give a third: its container starts meanwhile."""
        with self._lock:
            if self._commands > 1 and not self._next and not self._closed:
                self._next = BACKGROUND.submit(self._containers.start_runner)


def remove(directory: Path) -> None:
    """Remove a workspace's directory once no container has it. Safe to repeat."""
    with contextlib.suppress(OSError):  # the kernel's own, and root's where the worker is not
        os.rmdir(directory / "scratch" / "work")
    with hostile.disk_errors(directory):
        hostile.remove(directory)
