"""A repository's own projects as wheels, and uv's lock as requirement lines: made in a sandbox without a network."""

import json
import re
from collections.abc import Callable, Collection, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from uv import find_uv_bin

from blocks.toolchains import requirements as requirement_lines
from domain.detect.build_system import BuildSystem
from domain.errors import AgentError, InputError
from domain.ports import Completed, Sandbox, Workspace
from domain.toolchain import BuiltWheel
from domain.trees import Tree

BUILD_S = 1800
_INSIDE = "/lockgate/build.py"
_UV = "/opt/lockgate/uv"
_MAX_WHEEL_BYTES = 500_000_000
_MAX_LINES_BYTES = 20_000_000


def wheel(
    tree: Tree,
    directory: str,
    system: BuildSystem,
    version: str,
    sandbox: Sandbox,
    environment: Callable[[Iterable[str]], Path],
    may_compute: Collection[str] | None,
) -> BuiltWheel:
    """The wheel of the project in `directory`. `environment`: makes one with these requirements. `may_compute`: names
    that the backend may ask for beside those that [build-system] has; None: any.

    Raises InputError if it cannot be built, with the end of what the backend said.
    """
    place = directory or "the project"
    requires = list(system.requires)
    for _ in range(2):
        told = {"backend": system.backend, "path": system.path, "has": _names(requires)}
        workspace = sandbox.open(tree, label=f"build {place}", toolchain=environment(requires))
        try:
            workspace.write(_INSIDE, _script())
            done = workspace.run(
                _below(directory, ["python", _INSIDE, json.dumps(told)]), timeout_s=BUILD_S, env=_pretended(version)
            )
            answer = _answer(workspace, done, place)
            if name := answer.get("wheel"):
                return _taken(workspace, str(name), place)._replace(needs=tuple(sorted(set(_names(requires)))))
        finally:
            workspace.close()
        computed = requirement_lines.read(str(line) for line in answer.get("needs", [])).lines
        others = sorted(set(_names(computed)) - set(_names(requires)) - set(may_compute or ()))
        if others and may_compute is not None:
            raise InputError(
                f"{place} cannot be built: its build backend computes that it needs {', '.join(others)[:300]}, which "
                "base's build did not: write it into `requires` of [build-system], where people see it"
            )
        requires += computed
    raise InputError(
        f"{place} cannot be built: its build backend wants {', '.join(requires)[:300]} and then still more"
    )


def exported(tree: Tree, lock: str, words: Iterable[str], sandbox: Sandbox, environment: Path) -> str:
    """What uv makes of its lock as requirements.txt. `tree`: the files that uv reads. `lock` stands beside the project
    or above it.

    Raises InputError if uv refuses the lock.
    """
    workspace = sandbox.open(tree, label="uv export", toolchain=environment, mounts={find_uv_bin(): _UV})
    try:
        python = str(environment / "bin" / "python")
        argv = [_UV, "--no-cache", "--offline", "--color", "never", "--no-progress", "export", "--frozen"]
        argv += ["--no-header", "--no-annotate", "--no-emit-project", "--python", python]
        argv += ["--output-file", "/lockgate/exported.txt", *words]
        done = workspace.run(argv, timeout_s=300)
        if done.exit_code or done.problem:
            raise InputError(f"{lock} cannot be used: {done.problem or done.output[-1000:].strip()}")
        content = workspace.read("/lockgate/exported.txt", _MAX_LINES_BYTES)
    finally:
        workspace.close()
    return (content or b"").decode("utf-8", "replace")


def _answer(workspace: Workspace, done: Completed, place: str) -> dict[str, Any]:
    if done.exit_code or done.problem:
        said = done.problem or f"exit code {done.exit_code}: {done.output[-1500:].strip()}"
        raise InputError(f"{place} cannot be built in a sandbox{_hint(done.output)}: {said}")
    try:
        answer = json.loads(workspace.read("/lockgate/built.json") or b"null")
    except (ValueError, AgentError):
        answer = None
    if not isinstance(answer, dict):
        raise InputError(f"{place} cannot be built in a sandbox: its build backend left no result")
    return answer


_HINTS = (
    (r"(gcc|cc|g\+\+|clang)['\"]? failed: No such file|unable to execute '?(gcc|cc|x86_64-linux-gnu-gcc)|"
     r"Unknown compiler|No such file or directory: '(gcc|cc|clang)'|CMAKE_C(XX)?_COMPILER",
     "there is no C compiler in it"),
    (r"cargo.*(not found|not installed|No such file)|[Rr]ust toolchain|can't find Rust", "there is no Rust in it"),
    (r"Python\.h: No such file", "there are no headers of Python in it"),
    (r"\bfatal error: (\S+\.h): No such file", "a header of a C library is not in it"),
    (r"setuptools[-_]scm was unable to detect version|does not appear to be a git|not a git repository",
     "its version is told by version control, which is not there: name it under `version`"),
)  # fmt: skip


def _hint(output: str) -> str:
    return next((f" ({hint})" for pattern, hint in _HINTS if re.search(pattern, output)), "")


def _taken(workspace: Workspace, name: str, place: str) -> BuiltWheel:
    try:
        project, *_ = parse_wheel_filename(name)
        content = workspace.read(f"/lockgate/wheel/{name}", _MAX_WHEEL_BYTES)
    except (InvalidWheelFilename, AgentError) as err:
        raise InputError(f"{place} cannot be built: the file that its build backend made is no wheel: {err}") from err
    if content is None:
        raise InputError(f"{place} cannot be built: its build backend made no wheel")
    return BuiltWheel(name=str(project), filename=name, content=content)


def _pretended(version: str) -> dict[str, str]:
    """Variables by which build backends take a version as given, where they would ask version control."""
    return {
        "SETUPTOOLS_SCM_PRETEND_VERSION": version,
        "PDM_BUILD_SCM_VERSION": version,
        "PBR_VERSION": version,
        "POETRY_DYNAMIC_VERSIONING_BYPASS": version,
        "UV_DYNAMIC_VERSIONING_BYPASS": version,
        "SOURCE_DATE_EPOCH": "315532800",
        "PYTHONHASHSEED": "0",
    }


def _below(directory: str, argv: list[str]) -> list[str]:
    return ["env", "-C", directory, *argv] if directory else argv


def _names(requires: Iterable[str]) -> list[str]:
    names: list[str] = []
    for line in requires:
        try:
            names.append(canonicalize_name(Requirement(line.split(" --hash=")[0]).name))
        except InvalidRequirement:
            continue
    return names


def _script() -> bytes:
    spec = find_spec("blocks.toolchains.inside_build")
    assert spec is not None and spec.origin is not None  # noqa: S101 (it is part of this package)
    return Path(spec.origin).read_bytes()
