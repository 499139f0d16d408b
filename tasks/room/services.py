"""Services beside what runs in a sandbox: each command starts with its servers, and they end with it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from domain.errors import InputError
from domain.ports import Completed, Workspace
from domain.services import KNOWN, Service
from domain.trees import Tree

_PROGRAM = "/lockgate/platform/services"
_FAILED = 96
"""Exit code of the program where a server does not start."""
_START_S = 60.0


class ServedWorkspace:
    """A workspace whose commands find the project's services on their own loopback."""

    def __init__(self, inner: Workspace, services: Mapping[str, Service]) -> None:
        self._inner = inner
        self.kind = inner.kind
        self._uses = sorted({service.use for service in services.values()})
        self._env = {name: value for service in services.values() for name, value in service.environment.items()}
        inner.write(_PROGRAM, Path(__file__).with_name("inside_services.sh").read_bytes())

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
        """As the workspace's own. Raises InputError if a server cannot be started."""
        done = self._inner.run(
            ["sh", _PROGRAM, *self._uses, "--", *argv],
            timeout_s=timeout_s + _START_S,
            env={**self._env, **(env or {})},
            stdin=stdin,
            on_output=on_output,
            stop=stop,
        )
        use = next((use for use in self._uses if f"no service {use}:" in done.output), None)
        if done.exit_code == _FAILED and use:
            raise InputError(
                f"{KNOWN[use].title} cannot be started in the sandbox: {done.output[-600:].strip()}. Where it is not "
                f"installed, install the package {KNOWN[use].package}, or name an image that has it"
            )
        return done.model_copy(update={"argv": tuple(argv)})

    def write(self, path: str, content: bytes) -> None:
        self._inner.write(path, content)

    def read(self, path: str, max_bytes: int = 10_000_000) -> bytes | None:
        return self._inner.read(path, max_bytes)

    def collect(self, ignored: Callable[[str, bool], bool] | None = None) -> Tree:
        return self._inner.collect(ignored)

    def save(self, directory: str, max_bytes: int = 50_000_000) -> bytes | None:
        return self._inner.save(directory, max_bytes)

    def restore(self, directory: str, saved: bytes) -> None:
        self._inner.restore(directory, saved)

    def harvest(self, destination: Path) -> None:
        self._inner.harvest(destination)

    def close(self) -> None:
        self._inner.close()
