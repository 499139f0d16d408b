"""A Python that has imported what blocks and commands need, once. Each text, and each command, runs in a fork of it, as
in a process of its own."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Preloaded:
    """Starts with the first text. What a text changes in its process is gone with it."""

    def __init__(self, env: Mapping[str, str], project: Path, python: Path) -> None:
        self._env = env
        self._python = python
        self._project = project
        self._process: subprocess.Popen[str] | None = None

    @property
    def is_on(self) -> bool:
        """Whether it has started, and so knows where the server is."""
        return self._process is not None

    def run(self, text: str) -> str:
        """What it prints. Fails with all of that if it does not end well."""
        exit_code, printed, errors = self._ask(text)
        assert exit_code == 0, printed + errors
        return printed

    def lockgate(self, words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """A command, as a user calls it in a folder."""
        return subprocess.CompletedProcess(("lockgate", *words), *self._ask([str(folder), *words]))

    def _ask(self, what: str | list[str]) -> tuple[int, str, str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [str(self._python), "-m", __name__],
                env=self._env, cwd=self._project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, f"the Python of {self._env['LOCKGATE_HOME']} is gone"
        exit_code, printed, errors = json.loads(said)
        return exit_code, printed, errors

    def close(self) -> None:
        """Safe to repeat."""
        if self._process is not None:
            self._process.communicate(timeout=60)
            self._process = None


def main() -> None:
    """Reads texts and commands, a line of JSON each, and answers `[exit code, what was printed, what on stderr]`."""
    given = dict(os.environ)
    from station import settings

    settings.use()
    import blocks.workshop  # noqa: F401 (with it comes every block and Prefect)
    import flows.briefs  # noqa: F401
    import station.bundle
    import station.cli
    import station.submit
    import station.verify  # noqa: F401

    gc.freeze()  # else each fork looks through all of this when it ends
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as errors:
            # a fork has this thread alone: another could hold a lock for ever
            assert threading.active_count() == 1, threading.enumerate()
            child = os.fork()
            if child == 0:
                os.dup2(printed.fileno(), 1)
                os.dup2(errors.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                _do(json.loads(line), given)
                return  # and ends as every Python does
            _, status = os.waitpid(child, 0)
            said = [stream.seek(0) or stream.read() for stream in (printed, errors)]
            print(json.dumps([os.waitstatus_to_exitcode(status), *said]), flush=True)


def _do(what: str | list[str], environment: Mapping[str, str]) -> None:
    if isinstance(what, str):
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(what, names)
        return
    folder, *words = what
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["lockgate", *words]
    from station.cli import main as command

    command()


if __name__ == "__main__":
    main()
