"""Runs a platform's own commands and reads what they answer. What does not fit together is no answer."""

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError, model_validator

from blocks.host import processes
from blocks.host.run import end_group
from domain.errors import TargetError
from domain.health import Clean
from domain.rollout import Numbers
from domain.value import Value

_KEPT_BYTES = 64_000
"""Of what a command prints, on stdout and on stderr, the end is kept."""

_GRACE_S = 2.0
_SHOWN_CHARACTERS = 500


class Totals(Value):
    """What one release answered to users since `{since}`."""

    requests: int = Field(ge=0)
    errors: int = Field(ge=0)
    p95_ms: float | None = Field(None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _errors_are_requests(self) -> "Totals":
        if self.errors > self.requests:
            raise ValueError(f"{self.errors} errors of {self.requests} requests")
        return self

    @property
    def numbers(self) -> Numbers:
        return Numbers(requests=self.requests, errors=self.errors, p95_ms=self.p95_ms)


class CommandAnswer(Value):
    """The last line that a command prints on stdout, as one JSON object."""

    ok: bool = Field(strict=True, description="Whether it was done; exit code 0 says the same")
    problem: str | None = Field(None, description="Why not; needed where ok is false")
    revision: str | None = Field(None, pattern=r"^[A-Za-z0-9]+$", description="current: which release has the traffic")
    artifact: str | None = Field(None, min_length=1, max_length=300, description="prepare, current: digest of an image")
    address: str | None = Field(None, pattern=r"^https?://[^\s/]+$", description="address: where a release answers")
    new: Totals | None = Field(None, description="numbers: of the release asked for")
    old: Totals | None = Field(None, description="numbers: of the one before it")

    @model_validator(mode="after")
    def _a_problem_is_said(self) -> "CommandAnswer":
        if self.ok == bool(self.problem):
            raise ValueError("ok true comes without a problem, ok false with one")
        return self


class CommandRun(NamedTuple):
    """One command that ended. `exit_code` None: it took too long and was killed."""

    argv: Sequence[str]
    exit_code: int | None
    out: str
    err: str
    seconds: float

    def answer(self, clean: Clean) -> CommandAnswer:
        """What it says. Raises TargetError if exit code and JSON do not say the same, or nothing is said."""
        name = Path(self.argv[0]).name
        if self.exit_code is None:
            raise TargetError(f"{name} did not end within {self.seconds:.0f} s and was killed{self._tail(clean)}")
        line = next((line for line in reversed(self.out.splitlines()) if line.strip()), "")
        try:
            answer = CommandAnswer.model_validate(json.loads(line))
        except (ValueError, RecursionError) as err:
            why = _why(err) if isinstance(err, ValidationError) else "it is not one JSON object"
            shown = clean(line)[:_SHOWN_CHARACTERS]
            said = f"the last line on stdout is no answer ({clean(why)}): {shown!r}" if line else "nothing on stdout"
            raise TargetError(f"{name} ended with exit code {self.exit_code} and {said}{self._tail(clean)}") from None
        if answer.ok != (self.exit_code == 0):
            raise TargetError(
                f"{name} says ok {str(answer.ok).lower()} and ends with exit code {self.exit_code}: "
                f"one of them is wrong{self._tail(clean)}"
            )
        problem = clean(answer.problem)[:_SHOWN_CHARACTERS] if answer.problem else None
        artifact = clean(answer.artifact) if answer.artifact else None
        return answer.model_copy(update={"problem": problem, "artifact": artifact})

    def _tail(self, clean: Clean) -> str:
        said = clean(self.err).strip()[-_SHOWN_CHARACTERS:]
        return f"; stderr: {said}" if said else ""


def mark_of(folder: Path) -> str:
    """The word by which commands that change this environment are found again."""
    return "lockgate-command-" + sha256(os.fsencode(folder.resolve())).hexdigest()[:32]


def run(argv: Sequence[str], environment: Mapping[str, str], folder: Path, timeout_s: float, mark: str) -> CommandRun:
    """Run a command in `folder` to its end. What it leaves in the background goes on, and is not waited for.

    Raises TargetError if it cannot be started. It is found by `mark` should its worker be killed.
    """
    begun = time.monotonic()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", '"$@"; exit $?', mark, *argv],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as err:
        raise TargetError(f"{argv[0]} could not be started: {err}") from err
    with contextlib.closing(_Pipes(process)) as pipes:
        pipes.read_until(begun + timeout_s)
        if in_time := process.poll() is not None:
            pipes.read_what_is_there()
        else:
            end_group(process.pid, _GRACE_S)
            process.wait()
    return CommandRun(argv, process.returncode if in_time else None, *pipes.texts, time.monotonic() - begun)


def wait_for_older(mark: str, timeout_s: float) -> bool:
    """Let a command end whose worker was killed, or kill it after `timeout_s`; whether there was one."""
    deadline, waited = time.monotonic() + timeout_s, False
    while there := processes.marked(mark):
        waited = True
        if time.monotonic() > deadline:
            for process in there:
                end_group(process.pid, _GRACE_S)
        time.sleep(0.1)
    return waited


class _Pipes:
    """stdout and stderr of a process, read without ever waiting for who inherited them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout and process.stderr  # noqa: S101
        self._files = (process.stdout, process.stderr)
        self._kept = {file.fileno(): b"" for file in self._files}
        self._open = set(self._kept)
        self._order = tuple(self._kept)
        self._ended = os.pidfd_open(process.pid)

    def read_until(self, deadline: float) -> None:
        """Until the process ends, or the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            ready = select.select([*self._open, self._ended], [], [], left)[0]
            self._take(ready)
            if self._ended in ready:
                return

    def read_what_is_there(self) -> None:
        """Who inherited them may write for ever: what fits into the pipes is what the process itself can have left."""
        for _ in range(2 * 1_048_576 // 65_536):
            if not (ready := select.select([*self._open], [], [], 0)[0]):
                return
            self._take(ready)

    def _take(self, ready: Sequence[int]) -> None:
        for pipe in self._open & set(ready):
            if chunk := os.read(pipe, 65_536):
                self._kept[pipe] = (self._kept[pipe] + chunk)[-_KEPT_BYTES:]
            else:
                self._open.discard(pipe)

    @property
    def texts(self) -> tuple[str, str]:
        out, err = (_whole_lines(self._kept[pipe]).decode(errors="replace") for pipe in self._order)
        return out, err

    def close(self) -> None:
        os.close(self._ended)
        for file in self._files:
            file.close()


def _whole_lines(kept: bytes) -> bytes:
    """Without a first line that was cut: half a secret is not known as one."""
    return kept if len(kept) < _KEPT_BYTES else kept.partition(b"\n")[2]


def _why(err: ValidationError) -> str:
    """The reasons, without the input: that is shown cleaned."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in err.errors())
