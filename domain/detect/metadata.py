"""What a Python project says of itself: name, dependencies, extras and groups, from whichever file has them.

pyproject.toml (PEP 621, PEP 735, poetry, pdm, uv, flit), setup.cfg and setup.py, and the requirements files that the
first two name. setup.py is parsed, never run: what it computes is not known here, and `is_computed` says so; the built
wheel's metadata knows.
"""

import ast
import configparser
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from domain.detect.pip_files import Local, is_project, plain_lines
from domain.detect.reading import View
from domain.errors import InputError


class Metadata(NamedTuple):
    """One project. Requirement lines are PEP 508."""

    name: str = ""
    dependencies: tuple[str, ...] = ()
    extras: Mapping[str, tuple[str, ...]] = {}
    groups: Mapping[str, tuple[str, ...]] = {}
    default_groups: tuple[str, ...] = ()
    """What uv and poetry install unless they are told otherwise."""
    requires_python: str = ""
    is_package: bool = False
    """Whether something says how it is built."""
    is_computed: bool = False
    """Its dependencies or extras are computed when it is built."""
    local: tuple[Local, ...] = ()
    """Projects of the same repository that it depends on."""
    path: str = ""
    """The file that told it."""


def read(view: View) -> Metadata:
    """The project of a directory. Raises InputError for a pyproject.toml that cannot be read."""
    if "pyproject.toml" in view:
        data = view.toml("pyproject.toml")
        if not data and view.text("pyproject.toml").strip() and view.unread:
            raise InputError(view.unread[-1])
        return _of_pyproject(view, data)
    return _of_setup(view)


def named_files(view: View) -> tuple[str, ...]:
    """Files that pyproject.toml or setup.cfg of a directory names as a list of what the project depends on, relative to
    the root of the repository. Nothing for a file that cannot be read."""
    try:
        data = view.toml("pyproject.toml")
        named = [path for paths in _dynamic_files(data).values() for path in paths]
    except InputError:
        named = []
    for text in _cfg_texts(view).values():
        named += cfg_files(text)
    return tuple(dict.fromkeys(view.full(path) for path in named))


def expanded(metadata: Metadata, extras: Iterable[str]) -> tuple[str, ...]:
    """The lines of these extras; an extra that names the project itself stands for the project's own lines."""
    return _own(metadata, [line for extra in extras for line in _extra(metadata, extra)])


def grouped(metadata: Metadata, groups: Iterable[str]) -> tuple[str, ...]:
    """The lines of these groups. Raises InputError for one that is not there."""
    known = {canonicalize_name(name): lines for name, lines in metadata.groups.items()}
    lines: list[str] = []
    for group in groups:
        if canonicalize_name(group) not in known:
            raise InputError(f"there is no dependency group {group!r} in {metadata.path or 'pyproject.toml'}")
        lines += known[canonicalize_name(group)]
    return _own(metadata, lines)


def _extra(metadata: Metadata, extra: str) -> tuple[str, ...]:
    for name, lines in metadata.extras.items():
        if canonicalize_name(name) == canonicalize_name(extra):
            return lines
    if metadata.is_computed:
        return ()
    raise InputError(f"there is no extra {extra!r} in {metadata.path or 'pyproject.toml'}")


def _own(metadata: Metadata, lines: Iterable[str]) -> tuple[str, ...]:
    """`lines` with those that ask for extras of the project itself replaced: the index is never asked for its name."""
    found: dict[str, None] = {}
    seen: set[str] = set()

    def visit(line: str) -> None:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            found[line] = None  # the toolchain says what is wrong with it
            return
        if not metadata.name or canonicalize_name(requirement.name) != canonicalize_name(metadata.name):
            found[line] = None
            return
        for extra in sorted(requirement.extras - seen):
            seen.add(extra)
            for inner in _extra(metadata, extra):
                visit(_with_marker(inner, requirement))

    for line in lines:
        visit(line)
    return tuple(found)


def _with_marker(line: str, by: Requirement) -> str:
    if by.marker is None:
        return line
    try:
        inner = Requirement(line)
    except InvalidRequirement:
        return line
    both = f"({inner.marker}) and ({by.marker})" if inner.marker else str(by.marker)
    inner.marker = None
    return f"{inner} ; {both}"


def _of_pyproject(view: View, data: dict[str, Any]) -> Metadata:
    project, tool = _table(data, "project"), _table(data, "tool")
    poetry, uv, pdm, flit = (_table(tool, name) for name in ("poetry", "uv", "pdm", "flit"))
    groups = _pep_735(_table(data, "dependency-groups"))
    for name, lines in _table(pdm, "dev-dependencies").items():
        groups.setdefault(name, _lines(lines, f"tool.pdm.dev-dependencies.{name}"))
    if "dev-dependencies" in uv:
        groups["dev"] = (*groups.get("dev", ()), *_lines(uv["dev-dependencies"], "tool.uv.dev-dependencies"))
    defaults = uv.get("default-groups", ["dev"])
    default_groups = tuple(groups) if defaults == "all" else tuple(name for name in defaults if name in groups)
    own = _of_setup(view) if not project and not poetry and not flit else None
    local = [*_uv_local(view, uv), *_poetry_local(view, poetry)]
    extras = {n: _lines(v, f"optional-dependencies.{n}") for n, v in _table(project, "optional-dependencies").items()}
    dependencies = _lines(project.get("dependencies", []), "project.dependencies")
    if poetry:
        groups.update(_poetry_groups(poetry, groups))
        if "dependencies" not in project:
            dependencies = _poetry_lines(_table(poetry, "dependencies"))
        for name, members in _table(poetry, "extras").items():
            wanted = {canonicalize_name(str(member)) for member in members}
            optional = _poetry_lines(_table(poetry, "dependencies"), optional=True)
            extras.setdefault(name, tuple(line for line in optional if _name(line) in wanted))
        default_groups = tuple(
            name for name in groups if not _table(_table(_table(poetry, "group"), name), "").get("optional")
        )
    legacy = _table(flit, "metadata")
    if legacy:
        dependencies = _lines(legacy.get("requires", []), "tool.flit.metadata.requires")
        extras = {n: _lines(v, f"requires-extra.{n}") for n, v in _table(legacy, "requires-extra").items()}
    dynamic = [str(name) for name in project.get("dynamic", []) if isinstance(name, str)]
    is_off = uv.get("package") is False or poetry.get("package-mode") is False
    python = project.get("requires-python") or _table(poetry, "dependencies").get("python") or ""
    found = Metadata(
        name=str(project.get("name") or poetry.get("name") or legacy.get("dist-name") or legacy.get("module") or ""),
        dependencies=dependencies,
        extras=extras,
        groups=groups,
        default_groups=default_groups,
        requires_python=_poetry_range(str(python)) if poetry else str(python or legacy.get("requires-python") or ""),
        is_package="build-system" in data and not is_off,
        is_computed=bool({"dependencies", "optional-dependencies"} & set(dynamic)),
        local=tuple(dict.fromkeys(local)),
        path=view.full("pyproject.toml"),
    )
    if own and own.path:
        return own._replace(
            groups=groups, default_groups=default_groups, is_package=own.is_package or found.is_package, local=own.local
        )
    return _with_dynamic(view, data, found, dynamic) if found.is_computed else found


def _with_dynamic(view: View, data: dict[str, Any], found: Metadata, dynamic: Collection[str]) -> Metadata:
    """`found` with what pyproject.toml leaves to other files: to requirements files that it names, or to setup.cfg and
    setup.py. https://setuptools.pypa.io/en/stable/userguide/pyproject_config.html#dynamic-metadata"""
    own = _of_setup(view)
    is_told = bool(own.path) and not own.is_computed
    lines = {extra: _lines_in(view, paths) for extra, paths in _dynamic_files(data).items()}
    dependencies = lines.pop("") if "" in lines else own.dependencies if is_told else None
    is_known = dependencies is not None or "dependencies" not in dynamic
    if "optional-dependencies" in dynamic:
        is_known &= None not in lines.values() if lines else is_told
        extras = {**found.extras, **own.extras, **{extra: some or () for extra, some in lines.items()}}
        found = found._replace(extras=extras)
    if "dependencies" in dynamic:
        found = found._replace(dependencies=dependencies or own.dependencies)
    return found._replace(is_computed=not is_known)


def _dynamic_files(data: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Extra, or nothing for what is always needed, → the files that setuptools, or hatch with the plugin
    hatch-requirements-txt, reads it from. https://github.com/repo-helper/hatch-requirements-txt"""
    tool = _table(data, "tool")
    files: dict[str, tuple[str, ...]] = {}
    dynamic = _table(_table(tool, "setuptools"), "dynamic")
    hook = _table(_table(_table(_table(tool, "hatch"), "metadata"), "hooks"), "requirements_txt")
    if "dependencies" in dynamic:
        files[""] = _paths(dynamic["dependencies"], "file")
    files |= {extra: _paths(said, "file") for extra, said in _table(dynamic, "optional-dependencies").items()}
    if hook:
        files[""] = _paths(hook, "files") or _paths(hook, "filename") or ("requirements.txt",)
        files |= {extra: _strings(said) for extra, said in _table(hook, "optional-dependencies").items()}
    return {extra: paths for extra, paths in files.items() if paths}


def _paths(said: Any, key: str) -> tuple[str, ...]:
    return _strings(said.get(key)) if isinstance(said, dict) else ()


def _lines_in(view: View, paths: Iterable[str]) -> tuple[str, ...] | None:
    """The requirement lines of these files; None if one is not there."""
    if not all(path in view for path in paths):
        return None
    return tuple(line for path in paths for line in plain_lines(view.text(path)))


def _pep_735(table: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Groups with what they include, included. https://peps.python.org/pep-0735/"""
    by_name: dict[str, Any] = {canonicalize_name(name): lines for name, lines in table.items()}

    def lines_of(name: str, above: tuple[str, ...]) -> list[str]:
        if name in above:
            raise InputError(f"pyproject.toml: the dependency group {name!r} includes itself")
        if name not in by_name:
            raise InputError(f"pyproject.toml: the dependency group {name!r} is included and not there")
        found: list[str] = []
        if not isinstance(by_name[name], list):
            raise InputError("pyproject.toml has dependencies that are not a list")
        for line in by_name[name]:
            if isinstance(line, str):
                found.append(line)
            elif isinstance(line, dict) and isinstance(line.get("include-group"), str):
                found += lines_of(canonicalize_name(line["include-group"]), (*above, name))
        return found

    return {name: tuple(dict.fromkeys(lines_of(canonicalize_name(name), ()))) for name in table}


def _poetry_groups(poetry: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    groups = {
        name: (*known.get(name, ()), *_poetry_lines(_table(_table(_table(poetry, "group"), name), "dependencies")))
        for name in _table(poetry, "group")
    }
    if "dev-dependencies" in poetry:  # before poetry 1.2
        groups["dev"] = (*groups.get("dev", ()), *_poetry_lines(_table(poetry, "dev-dependencies")))
    return groups


def _poetry_lines(table: Mapping[str, Any], *, optional: bool = False) -> tuple[str, ...]:
    """poetry's tables of dependencies as PEP 508. https://python-poetry.org/docs/dependency-specification/"""
    lines = []
    for name, value in table.items():
        for one in value if isinstance(value, list) else [value]:
            about: Mapping[str, Any] = one if isinstance(one, dict) else {"version": one}
            if name.lower() == "python" or "path" in about or bool(about.get("optional")) != optional:
                continue
            extras = f"[{','.join(str(extra) for extra in about.get('extras', []))}]" if about.get("extras") else ""
            address = about.get("git") or about.get("url")
            if address:
                lines.append(f"{name}{extras} @ {address}")
                continue
            markers = [f"({about['markers']})"] if about.get("markers") else []
            markers += [f"({clause})" for clause in _python_markers(str(about.get("python", "")))]
            version = _poetry_range(str(about.get("version", "*")))
            lines.append(f"{name}{extras}{version}{' ; ' + ' and '.join(markers) if markers else ''}")
    return tuple(lines)


def _python_markers(spec: str) -> list[str]:
    ranges = [part.strip() for part in _poetry_range(spec).split(",") if part.strip()] if "|" not in spec else []
    found = [re.fullmatch(r"(>=|<=|==|!=|<|>)\s*([\d.]+)(?:\.\*)?", part) for part in ranges]
    return [f"python_full_version {one[1]} '{one[2]}'" for one in found if one]


def _poetry_range(spec: str) -> str:
    """`^1.2`, `~1.2`, `1.*` and lists of them as PEP 440. An `||` cannot be said there, and is any version."""
    if "|" in spec:
        return ""
    parts = []
    for part in re.split(r"(?<!\s)\s*,\s*|(?<=[\d*])\s+(?=[<>=!^~])", spec.strip()):
        sign = re.match(r"\^|~(?!=)", part)
        if part in ("*", ""):
            continue
        if sign:
            version = part[1:].strip()
            numbers = [int(number) for number in re.findall(r"\d+", version.split("-")[0])[:3] if len(number) < 19]
            parts.append(f">={version},<{_next(numbers, sign[0])}" if numbers else part)
        else:
            parts.append(f"=={part}" if re.match(r"v?\d", part) else part)
    return ",".join(parts)


def _next(numbers: list[int], sign: str) -> str:
    if sign == "~":
        at = min(1, len(numbers) - 1)
    else:
        at = next((at for at, number in enumerate(numbers) if number), len(numbers) - 1)
    return ".".join(str(number) for number in [*numbers[:at], numbers[at] + 1])


def _uv_local(view: View, uv: Mapping[str, Any]) -> list[Local]:
    """Path and workspace sources. https://docs.astral.sh/uv/concepts/projects/dependencies/"""
    found = []
    for source in _table(uv, "sources").values():
        path = source.get("path") if isinstance(source, dict) else None
        if isinstance(path, str) and is_project(view, path, "pyproject.toml"):
            found.append(Local(path))
    return found


def _poetry_local(view: View, poetry: Mapping[str, Any]) -> list[Local]:
    found = []
    for about in _table(poetry, "dependencies").values():
        path = about.get("path") if isinstance(about, dict) else None
        if isinstance(path, str) and is_project(view, path, "pyproject.toml"):
            found.append(Local(path))
    return found


# --- setup.cfg and setup.py


def _of_setup(view: View) -> Metadata:
    config = _setup_cfg(view)
    told = _of_setup_py(view) if "setup.py" in view else Metadata()
    options = dict(config["options"]) if config.has_section("options") else {}
    texts = _cfg_texts(view)
    known = {key: _cfg_lines(view, text) for key, text in texts.items()}
    dependencies = known.pop("", None)
    name = config.get("metadata", "name", fallback="") or told.name
    if not told.is_package and not name:
        return Metadata()
    return Metadata(
        name=name if not name.startswith(("attr:", "file:")) else "",
        dependencies=dependencies or told.dependencies,
        extras={**told.extras, **{key: lines or () for key, lines in known.items()}},
        requires_python=options.get("python_requires", "") or told.requires_python,
        is_package=True,
        is_computed=told.is_computed or any(_cfg_lines(view, text) is None for text in texts.values()),
        path=view.full("setup.cfg" if options or known else "setup.py" if "setup.py" in view else "setup.cfg"),
    )


def _setup_cfg(view: View) -> configparser.RawConfigParser:
    """setup.cfg; empty if it cannot be read, which is told."""
    config = configparser.RawConfigParser(strict=False)
    try:
        config.read_string(view.text("setup.cfg"))
    except configparser.Error as err:
        view.unread.append(f"{view.full('setup.cfg')} cannot be read: {str(err).splitlines()[0]}")
    return config


def _cfg_texts(view: View) -> dict[str, str]:
    """Extra, or nothing for what is always needed, → what setup.cfg has as its requirements, as it stands there."""
    config = _setup_cfg(view)
    texts = {"": config.get("options", "install_requires", fallback="")}
    for section in ("options.extras_require", "extras"):  # the second is pbr's
        texts |= dict(config[section]) if config.has_section(section) else {}
    return {extra: text or "" for extra, text in texts.items() if extra or text}


def cfg_files(text: str) -> tuple[str, ...]:
    """The files that `file: a.txt, b.txt` names. https://setuptools.pypa.io/en/stable/userguide/declarative_config.html"""
    if not text.strip().startswith("file:"):
        return ()
    return tuple(part.strip() for part in text.strip().removeprefix("file:").split(",") if part.strip())


def _cfg_lines(view: View, text: str) -> tuple[str, ...] | None:
    """Requirements of setup.cfg, also out of the files that it names; None if that is not known."""
    if text.strip().startswith("attr:"):
        return None
    if files := cfg_files(text):
        return _lines_in(view, files)
    return cfg_lines(text)


def cfg_lines(text: str) -> tuple[str, ...]:
    """The requirements in a value of setup.cfg."""
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.splitlines())
    return tuple(_without_pbr_marker(line) for line in lines if line)


def _without_pbr_marker(line: str) -> str:
    """pbr writes a marker as `name>=1:(python_version<'3')`. https://docs.openstack.org/pbr/latest/user/features.html"""
    found = re.fullmatch(r"(.+?):\((.+)\)", line)
    return f"{found[1]} ; {found[2]}" if found else line


def _of_setup_py(view: View) -> Metadata:
    """Literal arguments of `setup(...)`, also those that a variable of the module names."""
    try:
        module = ast.parse(view.text("setup.py"))
        known = literals(module)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Metadata(is_package=True, is_computed=True, path=view.full("setup.py"))
    is_computed = False
    found: dict[str, Any] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "setup":
            for keyword in node.keywords:
                if keyword.arg is None:
                    value = literal(keyword.value, known)
                    found.update(value if isinstance(value, dict) else {})
                    is_computed |= not isinstance(value, dict)
                else:
                    found[keyword.arg] = literal(keyword.value, known)
    is_computed |= any(name in found and not _is_told(found[name]) for name in ("install_requires", "extras_require"))
    extras = found.get("extras_require")
    return Metadata(
        name=found["name"] if isinstance(found.get("name"), str) else "",
        dependencies=_strings(found.get("install_requires")),
        extras={str(key): _strings(value) for key, value in extras.items()} if isinstance(extras, dict) else {},
        groups={},
        requires_python=found["python_requires"] if isinstance(found.get("python_requires"), str) else "",
        is_package=True,
        is_computed=is_computed,
        path=view.full("setup.py"),
    )


def tests_require(view: View) -> tuple[str, ...]:
    """What the old `tests_require` of setup.py or setup.cfg names, as literals."""
    config = configparser.RawConfigParser(strict=False)
    try:
        config.read_string(view.text("setup.cfg"))
        module = ast.parse(view.text("setup.py"))
    except (configparser.Error, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    lines = list(_cfg_lines(view, config.get("options", "tests_require", fallback="")) or ())
    known = literals(module)
    for node in ast.walk(module):
        if isinstance(node, ast.keyword) and node.arg == "tests_require":
            lines += _strings(literal(node.value, known))
    return tuple(dict.fromkeys(lines))


MAX_DEPTH, MAX_ITEMS = 50, 10_000
"""Of a value of setup.py. What is deeper or longer is not known, whoever wrote it."""


def literals(module: ast.Module) -> dict[str, Any]:
    """Names of a module that are set to literals, wherever in it, → the value that stands last."""
    known: dict[str, Any] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            known[node.targets[0].id] = literal(node.value, known)
    return known


def literal(node: ast.expr, known: Mapping[str, Any], depth: int = MAX_DEPTH) -> Any:
    """The value of an expression of literals, known names and `+`; None for anything else."""
    if not depth:
        return None
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = literal(node.left, known, depth - 1), literal(node.right, known, depth - 1)
        is_fine = isinstance(left, list | str) and type(left) is type(right)
        return left + right if is_fine and len(left) + len(right) <= MAX_ITEMS else None
    if isinstance(node, ast.Dict):
        keys = [literal(key, known, depth - 1) if key else None for key in node.keys]
        values = [literal(value, known, depth - 1) for value in node.values]
        is_fine = all(isinstance(key, str) for key in keys)  # a key may be a name, and that a list of lists of lists
        return dict(zip(keys, values, strict=True)) if is_fine else None
    if isinstance(node, ast.List | ast.Tuple):
        return [literal(item, known, depth - 1) for item in node.elts]
    return node.value if isinstance(node, ast.Constant) else None


def _is_told(value: Any) -> bool:
    """Whether all of a value of setup.py is known: texts, a list of them, or a table of such."""
    if isinstance(value, dict):
        return all(_is_told(inner) for inner in value.values() if not isinstance(inner, dict))
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(line.strip() for line in value.splitlines() if line.strip())
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _lines(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InputError(f"pyproject.toml has dependencies that are not a list ({what})")
    return tuple(line for line in value if isinstance(line, str))


def _table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name, {}) if name else data
    if not isinstance(value, dict):
        raise InputError(f"pyproject.toml has a value where {name} should be a table")
    return value


def _name(line: str) -> str:
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement:
        return ""
