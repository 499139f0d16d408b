"""Virtual environments of wheels, made by uv. Wheels are unpacked, never run: no build backend, no `.pth`."""

import contextlib
import csv
import fcntl
import hashlib
import os
import platform
import re
import shutil
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import Field, SecretStr
from uv import find_uv_bin

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.host.run import run
from blocks.package_index import indexes, is_known, netrc, split_login
from blocks.toolchains import build
from blocks.toolchains import npm as npm_packages
from blocks.toolchains import requirements as requirement_lines
from domain.detect.build_system import build_system, version_of
from domain.detect.indexes import PUBLIC
from domain.detect.reading import View
from domain.errors import InputError, SandboxError
from domain.ports import Sandbox
from domain.toolchain import BuiltWheel
from domain.trees import Tree
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
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
"""Where a proxy signs with its own authority, only these know it; without any, uv has its own."""

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
    indexes: tuple[str, ...] = Field(
        (), description="Names of package-index blocks, asked in this order before `index_url`"
    )
    python: str | None = Field(None, description="Python version or path; default: the interpreter of the worker")
    npm_registry: SecretStr = Field(
        default_factory=_npm_registry, description="npm registry, with credentials where it needs them"
    )
    timeout_s: float = Field(900, gt=0, description="Longest installation")

    def ensure(
        self,
        requirements: Iterable[str],
        sandbox: Sandbox,
        *,
        dependencies: bool = True,
        python: str | None = None,
        wheels: Mapping[str, bytes] | None = None,
    ) -> Path:
        """A virtual environment with `requirements`. Safe to repeat: same lines, same path, also after a crash.

        Lines with hashes are a lock's: exactly they are installed, and nothing that they depend on. `-c LINE` bounds
        what others ask for. `dependencies=False` installs exactly the lines. `python`: which one, such as 3.12 or
        >=3.10. `wheels`: file name → content, installed as they are; the index is not asked for their names.
        Raises InputError for lines that are no plain requirements, where uv cannot install them as wheels, and where
        this machine has no such Python.
        """
        wanted = requirement_lines.read(requirements)
        interpreter = self._interpreter(python)
        environment = self.root.absolute() / self._key(wanted.lines, dependencies, interpreter, wheels)
        done = environment.with_suffix(".complete")
        with self._locked(environment):
            if not done.exists() or not (environment / "bin" / "python").exists():
                done.unlink(missing_ok=True)
                shutil.rmtree(environment, ignore_errors=True)
                self._make(environment, wanted, dependencies, interpreter, wheels or {})
                _compile(environment, sandbox)
                done.write_text("\n".join(wanted.lines) + "\n")
        return environment

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
        """The wheel of the project in `directory` of a tree, built in a sandbox without a network, from build
        requirements that are wheels. `version`: what it is built as, where version control tells its version.
        `may_compute`: names that its build backend may ask for beside those that [build-system] has; None: any.

        Raises InputError if nothing says how it is built, and if it cannot be built.
        """
        view = View(tree, directory)
        system = build_system(view)
        if system is None:
            raise InputError(f"{directory or 'the project'} has no [build-system] in pyproject.toml and no setup.py")
        return build.wheel(
            tree,
            directory,
            system,
            version_of(view, version),
            sandbox,
            lambda requires: self.ensure(requires, sandbox, python=python),
            may_compute,
        )

    def export(
        self, tree: Tree, lock: str, sandbox: Sandbox, *, words: Iterable[str], python: str | None
    ) -> tuple[str, ...]:
        """What a uv.lock wants installed, as requirement lines with hashes; `-e DIRECTORY` for projects of the same
        repository. uv exports it, in a sandbox. `words`: options of `uv export`.

        Raises InputError for a lock that uv refuses.
        """
        return tuple(build.exported(tree, lock, words, sandbox, self.ensure((), sandbox, python=python)).splitlines())

    def knows_index(self, url: str) -> bool:
        """Whether packages are taken from this address, however it is spelled."""
        variables = (os.environ.get(name, "") for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX"))
        own = [word for text in variables for word in text.split()]
        own += [self.index_url.get_secret_value()] if self.index_url else []
        return is_known(url, (*PUBLIC, *own)) or is_known(url, [one.url for one in indexes(self.indexes)])

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

    def _key(
        self,
        lines: tuple[str, ...],
        dependencies: bool = True,
        interpreter: str | None = None,
        wheels: Mapping[str, bytes] | None = None,
    ) -> str:
        index = self.index_url.get_secret_value() if self.index_url else None
        python = self.python or f"{_interpreter()} {platform.python_version()}"
        more = [] if dependencies else ["alone"]
        more += [f"index {one.url}" for one in indexes(self.indexes)]
        if interpreter not in (None, self.python or _interpreter()):
            more.append(f"python {interpreter}")
        more += [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in sorted((wheels or {}).items())]
        return digest_of([lines, python, sysconfig.get_platform(), index, *more])[:24]

    def _interpreter(self, python: str | None) -> str:
        """The interpreter for a wish: the one of the block, the worker's own if it will do, else one of the machine."""
        if self.python or not python or _will_do(python):
            return self.python or _interpreter()
        words = [find_uv_bin(), "--no-progress", "--color", "never", "python", "find", "--no-project", python]
        environment = {**_variables(), "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}
        done = run(words, env=environment, timeout_s=120)
        if done.code is None:
            raise SandboxError("uv python find took longer than 120 s: is this machine's disk slow?")
        if done.code or not done.out.strip():
            wanted = python if python[0].isdigit() else "VERSION"
            raise InputError(
                f"this machine has no Python {python}, which the project asks for (the worker runs "
                f"{platform.python_version()}): install one, such as by `uv python install {wanted}`, or name another "
                "under `python`"
            )
        return done.out.decode().strip()

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

    def _make(
        self,
        environment: Path,
        wanted: requirement_lines.Requirements,
        dependencies: bool,
        interpreter: str,
        wheels: Mapping[str, bytes],
    ) -> None:
        # At its final path: the scripts of an environment name their interpreter. uv asks that interpreter about itself
        # before each installation, outside of a sandbox. So whatever an earlier one brought that would run as it starts
        # is put aside until the last one is done; from then on only sandboxes run it.
        self._uv(["venv", "--no-project", "--python", interpreter, str(environment)], environment)
        untouched = _skeleton(environment)
        with tempfile.TemporaryDirectory(prefix="installing-", dir=environment.parent) as directory:
            aside: dict[Path, Path] = {}
            for words in _installations(Path(directory), wanted, dependencies, wheels):
                install = ["pip", "install", "--only-binary", ":all:", "--no-compile-bytecode"]
                self._uv([*install, "--python", str(environment / "bin" / "python"), *words], environment)
                if _skeleton(environment) != untouched:
                    shutil.rmtree(environment, ignore_errors=True)
                    raise InputError("a wheel replaces the environment's interpreter or pyvenv.cfg: name another one")
                for path in _started_with(environment):
                    aside[path] = Path(directory, f"aside-{len(aside)}")
                    path.rename(aside[path])
            for path, kept in aside.items():
                kept.rename(path)
        if taken := _taken(environment, wheels):
            shutil.rmtree(environment, ignore_errors=True)
            raise InputError(f"the wheel of an own project replaces {taken}: install it under another name")

    def _uv(self, words: list[str], environment: Path) -> None:
        variables = _variables() | {name: value for name, value in os.environ.items() if _is_login(name)}
        private = [(one.url, one.login) for one in indexes(self.indexes)]
        if self.index_url:
            public = split_login(self.index_url.get_secret_value())
            variables["UV_DEFAULT_INDEX"] = public[0]
        if private:
            # a name that one of them has is never asked of the next: nobody can publish it there and be taken instead
            variables["UV_INDEX"] = " ".join([*(url for url, _ in private), variables.get("UV_INDEX", "")]).strip()
            variables["UV_INDEX_STRATEGY"] = "first-index"
        try:
            with netrc([*private, *([public] if self.index_url else [])]) as logins:
                if logins:
                    variables["NETRC"] = logins
                done = run(
                    [find_uv_bin(), "--no-progress", "--color", "never", *words],
                    env={**variables, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                    cwd="/",  # no settings of a project that happens to be around
                    together=True,
                    timeout_s=self.timeout_s,
                    umask=0o022,  # another user reads it in the sandbox
                )
        except OSError as err:
            raise SandboxError(f"uv cannot be run: {err}. Install the wheel uv again") from err
        if done.code is None:
            raise SandboxError(f"uv {words[0]} took longer than {self.timeout_s:g} s: is the index slow?")
        if done.code:
            shutil.rmtree(environment, ignore_errors=True)
            lines = done.out.decode(errors="replace").strip().splitlines()
            said = "\n".join(line for line in lines[-12:] if not line.startswith(("Using Python ", "warning: ")))
            if _UNREACHABLE.search(said):
                raise SandboxError(f"the package index cannot be reached: {self._redacted(said)}")
            raise InputError(
                f"the requirements cannot be installed: {self._redacted(said)}\n"
                "Only wheels are installed: check names, versions, and that each has a wheel for this Python"
            )

    def _redacted(self, text: str) -> str:
        return text.replace(self.index_url.get_secret_value(), "[index]") if self.index_url else text


def _variables() -> dict[str, str]:
    told = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    return {"UV_SYSTEM_CERTS": "true", **told} if any(map(os.path.exists, _CERTIFICATES)) else told


_UNREACHABLE = re.compile(r"error sending request|dns error|tcp connect|timed? ?out|\b50[234] ", re.IGNORECASE)
"""What uv says of a network that is down: trouble that passes, unlike a requirement that does not exist."""


def _installations(
    directory: Path, wanted: requirement_lines.Requirements, dependencies: bool, wheels: Mapping[str, bytes]
) -> Iterator[list[str]]:
    """Words for `uv pip install`, one installation after another: the lock, what stands beside it, the own wheels."""

    def file(name: str, lines: Iterable[str]) -> str:
        (directory / name).write_text("\n".join(lines) + "\n")
        return str(directory / name)

    own = []
    for name, content in wheels.items():
        (directory / name).write_bytes(content)
        own.append(f"{name.split('-')[0]} @ {(directory / name).as_uri()}")
    if wanted.exact:
        yield ["--require-hashes", "--no-deps", "-r", file("exact.txt", wanted.exact)]
    if wanted.loose:
        pins = [re.sub(r"\s--hash=\S+", "", line) for line in wanted.exact]
        bounds = [*pins, *wanted.constraints]
        words = ["-r", file("loose.txt", wanted.loose), *(["-c", file("bounds.txt", bounds)] if bounds else [])]
        yield [*words, *(["--override", file("own.txt", own)] if own else []), *([] if dependencies else ["--no-deps"])]
    if own:
        yield ["--no-deps", "--reinstall", "-r", file("own.txt", own)]


def _will_do(python: str) -> bool:
    """Whether the worker's own interpreter is what `python` asks for: a version, or specifiers of PEP 440."""
    try:
        wanted = SpecifierSet(f"=={python}.*" if re.fullmatch(r"\d+(\.\d+)?", python) else python)
    except InvalidSpecifier:
        return False
    return wanted.contains(platform.python_version())


def _interpreter() -> str:
    """The interpreter below the worker's own virtual environment."""
    return str(Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}"))


def _is_login(name: str) -> bool:
    return name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD"))


def _skeleton(environment: Path) -> dict[str, bytes | str]:
    """What decides which interpreter runs and what a sandbox mounts for it."""
    interpreters = {str(path): os.readlink(path) for path in environment.glob("bin/python*") if path.is_symlink()}
    return {**interpreters, "pyvenv.cfg": (environment / "pyvenv.cfg").read_bytes()}


def _started_with(environment: Path) -> list[Path]:
    """What runs whenever the interpreter starts: https://docs.python.org/3/library/site.html"""
    names = ("*.pth", "sitecustomize*", "usercustomize*")
    return sorted(path for name in names for path in environment.glob(f"lib/python3*/site-packages/{name}"))


def _taken(environment: Path, wheels: Iterable[str]) -> str | None:
    """A file of another package that own wheels brought too, and otherwise. The records of both tell."""
    own, others = dict[str, str](), dict[str, tuple[str, str]]()
    names = {name.split("-")[0].lower().replace(".", "_") for name in wheels}
    for record in sorted(environment.glob("lib/python3*/site-packages/*.dist-info/RECORD")):
        package = record.parent.name.split("-")[0]
        for path, digest, *_ in filter(None, csv.reader(record.read_text("utf-8", "replace").splitlines())):
            if package.lower().replace(".", "_") in names:
                own[os.path.normpath(path)] = digest
            else:
                others[os.path.normpath(path)] = (digest, package)
    both = sorted(path for path in own.keys() & others.keys() if not own[path] or own[path] != others[path][0])
    return f"{both[0]} of the package {others[both[0]][1]}" if both else None


def _compile(environment: Path, sandbox: Sandbox) -> None:
    """Byte-compile in a sandbox, so that test runs start faster. What does not compile, or is too much, stays source.

    Raises SandboxError if the interpreter does not start in there.
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
