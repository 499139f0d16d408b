"""What sandboxes promise: a working copy, commands in it, and no way out but the gateway."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from domain.toolchain import BuiltWheel
from domain.trees import Tree
from domain.value import Value


class Completed(Value):
    """One command that ended. `output` is stdout and stderr together, bounded: head and tail are kept."""

    argv: tuple[str, ...]
    exit_code: int
    output: str
    seconds: float
    timed_out: bool = False
    problem: str | None = None
    """Why the platform stopped it (time, disk); None if the command ended by itself."""


class Egress(NamedTuple):
    """A sandbox's only way out: the gateway's listener for it, and what programs inside must know of it.

    `directory` is bound read-only at /run/lockgate: `gateway.sock`, `ca.pem`. Inside, a relay listens on
    127.0.0.1:3128 (RELAY_PORT) and brings every connection to the socket. `environment` has the proxy variables, the
    certificate variables and the placeholders of secrets. `token` stands for every model key.
    """

    directory: Path
    environment: Mapping[str, str]
    token: str


RELAY_PORT = 3128


class Workspace(Protocol):
    """One open sandbox: a working copy at /work and commands that run in it with no route out but its egress."""

    kind: str

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
        """Run one command at /work to its end. `stop` is asked about twice a second; a reason ends the command."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file of the platform's at an absolute path under /work or /lockgate."""

    def read(self, path: str, max_bytes: int = 10_000_000) -> bytes | None:
        """A regular file under /work or /lockgate; None if there is none, or it is no regular file."""

    def collect(self, ignored: Callable[[str, bool], bool] | None = None) -> Tree:
        """Everything under /work but what is new and `ignored` (path, is it a directory), validated.

        Raises AgentError for what is not a tree git should hold.
        """

    def save(self, directory: str, max_bytes: int = 50_000_000) -> bytes | None:
        """A directory under /lockgate as a tar of plain files and directories; None if it is not there, is larger,
        or holds anything else. Data of the agent's: for `restore` in a later sandbox, and for nothing else."""

    def restore(self, directory: str, saved: bytes) -> None:
        """Put what `save` gave back, in a sandbox where the directory does not exist yet."""

    def harvest(self, destination: Path) -> None:
        """What commands added to /work beside the opened tree (packages, builds), as files below `destination`, which
        does not exist yet: a layer for `open`. Data, never run on the host. Raises SandboxError for too much."""

    def close(self) -> None: ...


class Sandbox(Protocol):
    """A kind of sandbox. It refuses to run anything if it cannot isolate it."""

    @property
    def kind(self) -> str:
        """docker or bubblewrap, as evidence says it."""

    def open(
        self,
        tree: Tree,
        *,
        label: str,
        toolchain: Path | None = None,
        mounts: Mapping[str, str] | None = None,
        egress: Egress | None = None,
        layer: Path | None = None,
        image: str | None = None,
    ) -> Workspace:
        """A workspace with `tree` at /work. `mounts`: host path → path inside, read-only.

        `layer`: a harvest, seen at /work under the tree; it is not collected. `image`: for kinds that have images.
        """

    def sweep(self, is_alive: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove workspaces whose opener is gone; returns their labels."""

    def doctor(self) -> str | None:
        """None if it works on this machine, else what is missing and the fix."""


class Toolchains(Protocol):
    """Environments made of published packages alone, cached, mounted read-only. Nothing of them runs on the host."""

    def ensure(
        self,
        requirements: Iterable[str],
        sandbox: Sandbox,
        *,
        dependencies: bool = True,
        python: str | None = None,
        wheels: Mapping[str, bytes] | None = None,
    ) -> Path:
        """A virtual environment with `requirements`, from wheels. Safe to repeat: same lines, same path.

        Lines with hashes are a lock's, and are installed alone; `-c LINE` is a bound. `dependencies=False` installs
        exactly the lines and nothing that they depend on. `wheels`: file name → content of what is installed too.
        """

    def wheel(
        self,
        tree: Tree,
        directory: str,
        sandbox: Sandbox,
        *,
        python: str | None,
        version: str | None,
        may_compute: Collection[str] | None = None,
    ) -> BuiltWheel:
        """The wheel of the project in `directory` of a tree, built in a sandbox without a network. `may_compute`: names
        of packages that its build may ask for beside those that it declares; None: any."""

    def export(
        self, tree: Tree, lock: str, sandbox: Sandbox, *, words: Iterable[str], python: str | None
    ) -> tuple[str, ...]:
        """What a uv.lock wants installed, as requirement lines; `-e DIRECTORY` for projects of the repository."""

    def packages(self, npm: Mapping[str, str]) -> Path:
        """A directory with `node_modules/NAME` for each npm package `NAME@VERSION` → sha512 integrity, unpacked and
        checked; no script of a package is run. Safe to repeat: same packages, same path."""
