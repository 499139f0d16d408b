"""One command in a runner from start to end: drained, timed, watched, and dead with its container when it returns."""

import contextlib
import select
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from blocks.host.docker import Engine
from blocks.sandboxes.confinement import WORK
from blocks.sandboxes.docker_stream import Stream, open_stream
from blocks.sandboxes.processes import CHECK_EVERY_S, DEATH_S, SandboxedEnd
from blocks.sandboxes.transcript import Transcript
from domain.errors import SandboxError

_SOON_S = 0.005
_OUT_OF_MEMORY = "the command took more memory than it may"


def command_line(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """`argv` with exactly `env`. A shell starts it, so a program that is not there is exit code 127."""
    return ["env", "-i", *(f"{name}={value}" for name, value in env.items()), "sh", "-c", 'exec "$@"', "sh", *argv]


def supervise(
    engine: Engine,
    container: str,
    argv: Sequence[str],
    *,
    user: str,
    env: Mapping[str, str],
    timeout_s: float,
    stdin: bytes | None,
    transcript: Transcript,
    check: Callable[[], str | None],
) -> SandboxedEnd:
    """Run `argv` at /work in `container`, which is killed with all that runs in it, whatever is raised here.

    Callbacks run in the caller's thread. `check` gives a reason to stop; it is asked every CHECK_EVERY_S, less often
    where it takes long itself.
    """
    try:
        run = _Run(engine, container, transcript, memoryview(stdin or b""))
        with contextlib.closing(run.start(command_line(argv, env), user)) as stream:
            return run.to_the_end(stream, timeout_s, check)
    finally:
        engine.kill(container)


class _Run:
    def __init__(self, engine: Engine, container: str, transcript: Transcript, stdin: memoryview) -> None:
        self._engine = engine
        self._container = container
        self._transcript = transcript
        self._stdin = stdin
        self._exec = ""
        self._started = time.monotonic()
        self._exit_code: int | None = None

    def start(self, line: list[str], user: str) -> Stream:
        with self._engine.errors("run a command"):
            try:
                made = self._engine.api.exec_create(
                    self._container, line, stdin=bool(self._stdin), user=user, workdir=WORK
                )
            except ValueError as err:  # a null byte in an argument
                raise SandboxError(f"the command cannot be run: {err}") from err
        self._exec = str(made["Id"])
        return open_stream(self._engine, f"/exec/{self._exec}/start", {"Detach": False, "Tty": False})

    def to_the_end(self, stream: Stream, timeout_s: float, check: Callable[[], str | None]) -> SandboxedEnd:
        deadline, next_check = self._started + timeout_s, self._started + CHECK_EVERY_S
        problem, timed_out, pause = None, False, _SOON_S
        is_open = True
        while True:
            now = time.monotonic()
            if now >= deadline:
                problem, timed_out = f"stopped after {timeout_s:g} s", True
                break
            if now >= next_check:
                if not self._is_running():
                    break  # what holds its output open outlived it
                if problem := check():
                    break
                next_check = time.monotonic() + max(CHECK_EVERY_S, 5 * (time.monotonic() - now))
            if is_open:
                is_open = self._move(stream, min(deadline, next_check) - now)
            elif not self._is_running():
                break
            else:  # it closed its output, or the engine has not noticed yet that it ended
                select.select([], [], [], max(0.0, min(pause, deadline - now, next_check - now)))
                pause = min(2 * pause, CHECK_EVERY_S)
        problem = problem or self._fate()
        self._engine.kill(self._container)
        self._drain(stream)
        self._transcript.finish()
        return SandboxedEnd(self._exit_code, time.monotonic() - self._started, timed_out, problem)

    def _move(self, stream: Stream, wait_s: float) -> bool:
        """Take what was printed, give what is to be typed; False at the end of its output."""
        writable: list[Any] = []
        if not stream.has_frame:
            to_write = [stream] if self._stdin else []
            readable, writable, _ = select.select([stream], to_write, [], max(0.0, wait_s))
            if not readable and not writable:
                return True
        else:
            readable = [stream]
        try:
            if writable:
                self._type(stream)
            if readable:
                data = stream.take()
                if data is None:
                    return False
                self._transcript.feed(data)
        except ConnectionResetError:
            # What was sent had come; the engine closed with typed bytes unread, as their command had ended. Whether it
            # is the engine itself that went is asked of it next, in any case.
            return False
        except OSError as err:
            raise SandboxError(f"the engine went away while a command ran: {err}. Is dockerd running?") from err
        return True

    def _type(self, stream: Stream) -> None:
        try:
            self._stdin = self._stdin[stream.send(self._stdin[: 1 << 16]) :]
            if not self._stdin:
                stream.send_end()
        except (BrokenPipeError, ConnectionResetError):  # nobody reads it
            self._stdin = self._stdin[:0]

    def _is_running(self) -> bool:
        """Whether the command itself runs. Learns its exit code when it does not."""
        if self._exit_code is not None:
            return False
        with self._engine.errors("say how a command is"):
            state = self._engine.api.exec_inspect(self._exec)
        if state["Running"]:
            return True
        self._exit_code = state["ExitCode"]
        return False

    def _fate(self) -> str | None:
        """Why a command ended that did not end by itself; None if it did."""
        self._is_running()
        with self._engine.errors("say how a container is"):
            state = self._engine.api.inspect_container(self._container)["State"]
        if state["Running"]:
            return None
        if state["OOMKilled"]:
            return _OUT_OF_MEMORY
        raise SandboxError("the sandbox broke before its command ended: its container is gone. Is dockerd well?")

    def _drain(self, stream: Stream) -> None:
        """What was printed before the end and is still on its way."""
        until = time.monotonic() + DEATH_S
        self._stdin = self._stdin[:0]
        while time.monotonic() < until:
            if not self._move(stream, until - time.monotonic()):
                return
        raise SandboxError("a container did not die when it was killed: look for a hung disk on this machine")
