"""One sandboxed command from start to end: drained, timed, watched, and gone when it returns."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from blocks.sandboxes.transcript import Transcript
from domain.errors import SandboxError

CHECK_EVERY_S = 0.5
DEATH_S = 15.0
"""A killed namespace that is still there after this long is a broken kernel or disk."""
START_S = 30.0


class SandboxedEnd(NamedTuple):
    """How it ended. `exit_code` is None if the sandbox broke before its command did."""

    exit_code: int | None
    seconds: float
    timed_out: bool
    problem: str | None


def supervise(
    command_line: Callable[[int], Sequence[str]],
    *,
    pass_fds: Sequence[int],
    timeout_s: float,
    stdin: bytes | None,
    transcript: Transcript,
    check: Callable[[int | None], str | None],
) -> SandboxedEnd:
    """Run the bwrap command line made for a --json-status-fd, and wait until its namespace is empty.

    Callbacks run in the caller's thread. `check` gets the id of the namespace's first process, where it is known, and
    gives a reason to stop; it is asked every CHECK_EVERY_S, less often where it takes long itself. Whatever is raised
    here or in a callback, nothing is left running.
    """
    run = _Run(command_line, pass_fds, stdin, transcript)
    try:
        return run.to_the_end(timeout_s, check)
    finally:
        run.end()


class _Run:
    def __init__(
        self,
        command_line: Callable[[int], Sequence[str]],
        pass_fds: Sequence[int],
        stdin: bytes | None,
        transcript: Transcript,
    ) -> None:
        self._started = time.monotonic()
        self._status = b""
        self._stdin = memoryview(stdin or b"")
        self._transcript = transcript
        self._init: int | None = None
        self._init_pid: int | None = None
        self._selector = selectors.DefaultSelector()
        self._status_fd, bwraps_status = os.pipe()
        self._out, bwraps_out = os.pipe()
        bwraps_in, self._in = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1)
        try:
            self._bwrap = subprocess.Popen(
                command_line(bwraps_status),
                stdin=bwraps_in,
                stdout=bwraps_out,
                stderr=bwraps_out,
                pass_fds=(bwraps_status, *pass_fds),
                start_new_session=True,
                env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
                cwd="/",
                umask=0o022,
            )
        except BaseException as err:
            self._close()
            if isinstance(err, OSError | ValueError):  # no memory, a null byte in an argument
                raise SandboxError(f"the sandbox did not start: {err}") from err
            raise
        finally:
            for fd in (bwraps_status, bwraps_out, bwraps_in):
                os.close(fd)

    def to_the_end(self, timeout_s: float, check: Callable[[int | None], str | None]) -> SandboxedEnd:
        deadline, next_check = self._started + timeout_s, self._started + CHECK_EVERY_S
        problem, timed_out, give_up = None, False, float("inf")
        self._learn_init()
        self._watch()
        while self._is_open(self._out) or self._is_open(self._status_fd):
            now = time.monotonic()
            if problem is None and now >= deadline:
                problem, timed_out = f"stopped after {timeout_s:g} s", True
                self._kill()
            elif problem is None and now >= next_check:
                problem = check(self._init_pid)
                next_check = time.monotonic() + max(CHECK_EVERY_S, 5 * (time.monotonic() - now))
                if problem:
                    self._kill()
            if give_up == float("inf") and (problem or not self._is_open(self._status_fd)):
                give_up = now + DEATH_S
            if now > give_up:
                raise SandboxError("a sandbox did not die when it was killed: look for a hung disk on this machine")
            wake = give_up if problem else min(deadline, next_check, give_up)
            for key, _ in self._selector.select(max(0.0, wake - now)):
                key.data()
        self._await_death()
        self._transcript.finish()
        return SandboxedEnd(self._exit_code(), time.monotonic() - self._started, timed_out, problem)

    def _learn_init(self) -> None:
        """Hold on to the namespace's first process: when it is gone, so is everything in there."""
        until = time.monotonic() + START_S
        self._selector.register(self._status_fd, selectors.EVENT_READ)
        while b"\n" not in self._status and self._selector.select(max(0.0, until - time.monotonic())):
            data = os.read(self._status_fd, 4096)
            if not data:
                break
            self._status += data
        self._selector.unregister(self._status_fd)
        line, found, _ = self._status.partition(b"\n")
        if found:
            with contextlib.suppress(ProcessLookupError):  # over already
                self._init = os.pidfd_open(pid := json.loads(line)["child-pid"])
                self._init_pid = pid

    def _watch(self) -> None:
        self._selector.register(self._out, selectors.EVENT_READ, self._drain)
        self._selector.register(self._status_fd, selectors.EVENT_READ, self._listen)
        if self._stdin:
            os.set_blocking(self._in, False)
            self._selector.register(self._in, selectors.EVENT_WRITE, self._type)

    def _is_open(self, fd: int) -> bool:
        return fd in self._selector.get_map()

    def _drain(self) -> None:
        data = os.read(self._out, 1 << 18)
        if data:
            self._transcript.feed(data)
        else:
            self._selector.unregister(self._out)

    def _listen(self) -> None:
        data = os.read(self._status_fd, 4096)
        self._status += data
        if not data:
            self._selector.unregister(self._status_fd)

    def _type(self) -> None:
        try:
            self._stdin = self._stdin[os.write(self._in, self._stdin[: 1 << 16]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._stdin = self._stdin[:0]
        if not self._stdin:
            self._selector.unregister(self._in)
            os.close(self._in)
            self._in = -1

    def _kill(self) -> None:
        if self._init is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
        else:
            self._bwrap.kill()

    def _await_death(self) -> None:
        self._bwrap.wait(DEATH_S)
        if self._init is not None:
            with selectors.DefaultSelector() as waiting:
                waiting.register(self._init, selectors.EVENT_READ)
                if not waiting.select(DEATH_S):
                    raise SandboxError("processes of a sandbox outlived it: look for a hung disk on this machine")

    def _exit_code(self) -> int | None:
        codes = [json.loads(line).get("exit-code") for line in self._status.splitlines()]
        return codes[-1] if codes else None

    def end(self) -> None:
        """Kill what still runs, close what is open."""
        try:
            if self._bwrap.poll() is None:
                self._kill()
                self._bwrap.kill()
                self._await_death()
        finally:
            self._close()

    def _close(self) -> None:
        self._selector.close()
        for fd in (self._status_fd, self._out, self._in, self._init):
            if fd is not None and fd >= 0:
                os.close(fd)
