"""Virtual environments of wheels, made by uv. Wheels are unpacked, never run: no build backend, no `.pth`."""

import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

from pydantic import Field, SecretStr
from uv import find_uv_bin

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.toolchains import npm as npm_packages
from blocks.toolchains import requirements as requirement_lines
from domain.errors import InputError, SandboxError
from domain.ports import Sandbox
from domain.value import digest_of

_PASSED_ON = (
    "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "NETRC",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "UV_CACHE_DIR", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
    "UV_INDEX_STRATEGY", "UV_KEYRING_PROVIDER", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT", "UV_OFFLINE", "UV_EXCLUDE_NEWER", "UV_CONCURRENT_DOWNLOADS", "UV_CONFIG_FILE",
    "UV_PYTHON_INSTALL_DIR", "UV_PYTHON_INSTALL_MIRROR", "UV_PYTHON_DOWNLOADS",
)  # fmt: skip
"""What uv gets of the worker's environment; with UV_INDEX_<NAME>_USERNAME and _PASSWORD."""

# Compiles in a sandbox and hands the result out as one archive: the environment is read-only in there. With -I -S not
# even the sandbox runs a `.pth` file or a package, so what comes out is made of the sources alone.
_COMPILE = """
import compileall, pathlib, sys, tarfile
packages, archive = pathlib.Path(sys.argv[1]), pathlib.Path("/lockgate/compiled.tar")
sys.pycache_prefix = "/work/compiled"
compileall.compile_dir(packages, quiet=2, workers=2, maxlevels=30)
top = pathlib.Path(sys.pycache_prefix, *packages.parts[1:])
try:
    with tarfile.open(archive, "w") as tar:
        for file in top.rglob("*.pyc"):
            tar.add(file, str(file.relative_to(top).parent / "__pycache__" / file.name))
except OSError:
    archive.unlink()
"""
_MAX_COMPILED_BYTES = 1_000_000_000


def _npm_registry() -> SecretStr:
    variables = (os.environ.get(name) for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"))
    return SecretStr(next(filter(None, variables), "https://registry.npmjs.org/"))


class WheelToolchains(LockgateBlock):
    """Environments by their requirements, kept below `root`; two workers that want the same make it once."""

    _block_type_name = "Lockgate wheel toolchains"
    _block_type_slug = "lockgate-wheels"
    _description = "Virtual environments made of wheels alone, cached, mounted read-only into sandboxes."

    root: Path = Field(default_factory=lambda: home() / "toolchains", description="Directory of the environments")
    index_url: SecretStr | None = Field(None, description="Package index, with credentials where it needs them")
    python: str | None = Field(None, description="Python version or path; default: the interpreter of the worker")
    npm_registry: SecretStr = Field(
        default_factory=_npm_registry, description="npm registry, with credentials where it needs them"
    )
    timeout_s: float = Field(900, gt=0, description="Longest installation")

    def ensure(self, requirements: Iterable[str], sandbox: Sandbox, *, dependencies: bool = True) -> Path:
        """A virtual environment with `requirements`. Safe to repeat: same lines, same path, also after a crash.

        `dependencies=False` installs exactly the lines and nothing that they depend on.
        Raises InputError for lines that are no plain requirements and where uv cannot install them as wheels.
        """
        wanted = requirement_lines.read(requirements)
        environment = self.root.absolute() / self._key(wanted.lines, dependencies)
        done = environment.with_suffix(".complete")
        with self._locked(environment):
            if not done.exists() or not (environment / "bin" / "python").exists():
                done.unlink(missing_ok=True)
                shutil.rmtree(environment, ignore_errors=True)
                self._make(environment, wanted, dependencies)
                _compile(environment, sandbox)
                done.write_text("\n".join(wanted.lines) + "\n")
        return environment

    def packages(self, npm: Mapping[str, str]) -> Path:
        """A directory with `node_modules/NAME` for each `NAME@VERSION`, or `NAME@npm:OTHER@VERSION`, → integrity.

        Only what is named is there, unpacked, and nothing of it was run. Safe to repeat: same packages, same path.
        Raises InputError for what is not pinned, not there, or not what was pinned.
        """
        wanted = npm_packages.read(npm)
        key = digest_of([[*package[:3], package.sha512.hex()] for package in wanted])
        directory = self.root.absolute() / "npm" / key[:24]
        with self._locked(directory):
            if not directory.exists():
                making = directory.with_suffix(".making")
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir()
                try:
                    npm_packages.install(wanted, making, self.npm_registry.get_secret_value(), self.timeout_s)
                    making.chmod(0o755)
                    making.rename(directory)
                finally:
                    shutil.rmtree(making, ignore_errors=True)
        return directory

    def _key(self, lines: tuple[str, ...], dependencies: bool = True) -> str:
        index = self.index_url.get_secret_value() if self.index_url else None
        python = self.python or f"{_interpreter()} {platform.python_version()}"
        return digest_of([lines, python, sysconfig.get_platform(), index, *([] if dependencies else ["alone"])])[:24]

    @contextlib.contextmanager
    def _locked(self, environment: Path) -> Iterator[None]:
        """One worker at a time makes an environment; the lock dies with its process."""
        try:
            environment.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = open(environment.with_suffix(".lock"), "w")  # noqa: SIM115 (closed below)
        except OSError as err:
            raise SandboxError(f"{self.root} cannot be used for toolchains: {err}") from err
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make(self, environment: Path, wanted: requirement_lines.Requirements, dependencies: bool) -> None:
        # At its final path: the scripts of an environment name their interpreter. uv asks the new interpreter about
        # itself once, before there is a package in it; from then on only sandboxes run it.
        self._uv(["venv", "--no-project", "--python", self.python or _interpreter(), str(environment)], environment)
        if not wanted.lines:
            return
        untouched = _skeleton(environment)
        lines = environment.with_suffix(".txt")
        lines.write_text("\n".join(wanted.lines) + "\n")
        words = ["pip", "install", "--only-binary", ":all:", "--no-compile-bytecode"]
        words += ["--require-hashes"] if wanted.hashed else []
        words += [] if dependencies else ["--no-deps"]
        self._uv([*words, "--python", str(environment / "bin" / "python"), "-r", str(lines)], environment)
        if _skeleton(environment) != untouched:
            shutil.rmtree(environment, ignore_errors=True)
            raise InputError("a wheel replaces the environment's interpreter or pyvenv.cfg: name another package")

    def _uv(self, words: list[str], environment: Path) -> None:
        variables = {name: value for name, value in os.environ.items() if name in _PASSED_ON or _is_login(name)}
        if self.index_url:
            variables["UV_DEFAULT_INDEX"] = self.index_url.get_secret_value()
        try:
            done = subprocess.run(
                [find_uv_bin(), "--no-progress", "--color", "never", *words],
                env={**variables, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                cwd="/",  # no settings of a project that happens to be around
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self.timeout_s,
                umask=0o022,  # another user reads it in the sandbox
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise SandboxError(f"uv {words[0]} took longer than {self.timeout_s:g} s: is the index slow?") from err
        except OSError as err:
            raise SandboxError(f"uv cannot be run: {err}. Install the wheel uv again") from err
        if done.returncode:
            shutil.rmtree(environment, ignore_errors=True)
            said = "\n".join(done.stdout.decode(errors="replace").strip().splitlines()[-12:])
            if _UNREACHABLE.search(said):
                raise SandboxError(f"the package index cannot be reached: {self._redacted(said)}")
            raise InputError(
                f"the requirements cannot be installed: {self._redacted(said)}\n"
                "Only wheels are installed: check names, versions, and that each has a wheel for this Python"
            )

    def _redacted(self, text: str) -> str:
        return text.replace(self.index_url.get_secret_value(), "[index]") if self.index_url else text


_UNREACHABLE = re.compile(r"error sending request|dns error|tcp connect|timed? ?out|\b50[234] ", re.IGNORECASE)
"""What uv says of a network that is down: trouble that passes, unlike a requirement that does not exist."""


def _interpreter() -> str:
    """The interpreter below the worker's own virtual environment."""
    return str(Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}"))


def _is_login(name: str) -> bool:
    return name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD"))


def _skeleton(environment: Path) -> dict[str, bytes | str]:
    """What decides which interpreter runs and what a sandbox mounts for it."""
    interpreters = {str(path): os.readlink(path) for path in environment.glob("bin/python*") if path.is_symlink()}
    return {**interpreters, "pyvenv.cfg": (environment / "pyvenv.cfg").read_bytes()}


def _compile(environment: Path, sandbox: Sandbox) -> None:
    """Byte-compile in a sandbox, so that test runs start faster. What does not compile, or is too much, stays source.

    Raises SandboxError where the interpreter does not start in there.
    """
    packages = next(environment.glob("lib/python3*/site-packages"))
    workspace = sandbox.open({}, label=f"toolchain {environment.name}", toolchain=environment)
    try:
        command = [str(environment / "bin" / "python"), "-I", "-S", "-c", _COMPILE, str(packages)]
        made = workspace.run(command, timeout_s=600)
        if made.problem:
            return
        if made.exit_code:
            raise SandboxError(f"the toolchain's Python does not run in a sandbox: {made.output[-2000:]}")
        compiled = workspace.read("/lockgate/compiled.tar", _MAX_COMPILED_BYTES)
    finally:
        workspace.close()
    if compiled:
        _unpack(compiled, packages)


def _unpack(compiled: bytes, packages: Path) -> None:
    """Compiled files beside their sources, nothing else, and over nothing: one that a wheel brought may be a hard link
    into uv's cache."""
    inside = packages.resolve()
    with tarfile.open(fileobj=BytesIO(compiled)) as archive:
        for member in archive:
            target = packages / member.name
            source = target.parent.parent / f"{target.name.rsplit('.', 2)[0]}.py"
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or target.parent.name != "__pycache__" or target.suffix != ".pyc":
                continue
            if not source.resolve().is_relative_to(inside) or not source.is_file() or os.path.lexists(target):
                continue
            if not target.parent.is_dir():
                target.parent.mkdir()
                target.parent.chmod(0o755)
            if target.parent.is_symlink():
                continue
            target.write_bytes(content.read())
            target.chmod(0o644)
