"""A Python that has imported what blocks need, once. Each text runs in a fork of it, as in a process of its own."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Preloaded:
    """Starts with the first text. What a text changes in its process is gone with it."""

    def __init__(self, env: Mapping[str, str], project: Path) -> None:
        self._env = env
        self._project = project
        self._process: subprocess.Popen[str] | None = None

    def run(self, text: str) -> str:
        """What it prints. Fails with all of that if it does not end well."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                env=self._env, cwd=self._project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, f"the Python of {self._env['LOCKGATE_HOME']} is gone"
        exit_code, printed = json.loads(said)
        assert exit_code == 0, printed
        return str(printed)

    def close(self) -> None:
        """Safe to repeat."""
        if self._process is not None:
            self._process.communicate(timeout=60)
            self._process = None


def main() -> None:
    """Reads texts, a line of JSON each, and answers `[exit code, what was printed]`."""
    from station import settings

    settings.use()
    import blocks.workshop  # noqa: F401 (with it comes every block and Prefect)
    import flows.briefs  # noqa: F401

    gc.freeze()  # else each fork looks through all of this when it ends
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as printed:
            # a fork has this thread alone: another could hold a lock for ever
            assert threading.active_count() == 1, threading.enumerate()
            child = os.fork()
            if child == 0:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
                names: dict[str, Any] = {"__name__": "__main__"}
                exec(json.loads(line), names)
                return  # and ends as every Python does
            _, status = os.waitpid(child, 0)
            printed.seek(0)
            print(json.dumps([os.waitstatus_to_exitcode(status), printed.read()]), flush=True)


if __name__ == "__main__":
    main()
