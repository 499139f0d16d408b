"""How a Python project's own tools run its tests: tox, nox and hatch. Read as data; nox's file is parsed, never run."""

import ast
import configparser
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from domain.detect.pip_files import is_requirement, local_of
from domain.detect.reading import View


class PytestRun(NamedTuple):
    """What one of the tools says of the test run. Empty where none says anything."""

    path: str = ""
    """The file that told it, relative to the project's directory."""
    arguments: tuple[str, ...] = ()
    """Of pytest, quoted for a command line: paths, and which tests are meant."""
    lines: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}

    @property
    def is_empty(self) -> bool:
        return not (self.arguments or self.lines or self.files or self.extras or self.groups)


def pytest_run(view: View) -> PytestRun:
    """What tox says, else nox, else hatch: the first that says anything."""
    runs = (reader(view) for reader in (_tox_ini, _tox_toml, _nox, _hatch))
    return next((run for run in runs if not run.is_empty), PytestRun())


# --- tox: https://tox.wiki/en/latest/config.html


def _tox_ini(view: View) -> PytestRun:
    for path, prefix in (("tox.ini", ""), ("setup.cfg", "tox:")):
        if path not in view:
            continue
        config = configparser.RawConfigParser(strict=False)
        try:
            config.read_string(view.text(path))
        except configparser.Error as err:
            view.unread.append(f"{view.full(path)} cannot be read: {str(err).splitlines()[0]}")
            continue
        section = _test_section(config, prefix)
        if section is None:
            continue
        about = {key: config.get(section, key) for key in config.options(section)}
        return _of_tox(
            view,
            path,
            deps=_tox_lines(about.get("deps", "")),
            extras=re.split(r"[\s,]+", " ".join(_tox_lines(about.get("extras", "")))),
            groups=re.split(r"[\s,]+", " ".join(_tox_lines(about.get("dependency_groups", "")))),
            commands=_tox_lines(about.get("commands", "")),
            environment=dict(_assignments(_tox_lines(about.get("setenv", about.get("set_env", ""))))),
        )
    return PytestRun()


def _test_section(config: configparser.RawConfigParser, prefix: str) -> str | None:
    """The section whose commands run pytest: [testenv], else [testenv:tests] and the like."""
    sections = [name for name in config.sections() if name.startswith("testenv")]
    sections.sort(key=lambda name: (name != "testenv", not re.search(r"test|py\d*$", name.partition(":")[2])))
    runs = [name for name in sections if re.search(r"\bpy\.?test\b", config.get(name, "commands", fallback=""))]
    return next(iter(runs), "testenv" if "testenv" in sections else None)


def _tox_lines(text: str) -> list[str]:
    """Lines without conditions, and those whose condition is a Python version, as `py: coverage`, are for."""
    lines = []
    for line in re.sub(r"\\\s*\n\s*", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        condition = re.match(r"(?P<factors>[a-z0-9,!{}\-_]+)\s*:\s+(?P<rest>.+)", line)
        if condition and not re.fullmatch(r"(py|tests?|!.*)", condition["factors"]):
            continue
        lines.append(condition["rest"] if condition else line)
    return [line for line in lines if line and not line.startswith("{")]


def _assignments(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = (part.strip() for part in line.partition("="))
        if re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) and "{" not in value and not name.startswith(("COVERAGE", "PIP_")):
            yield name, value


def _tox_toml(view: View) -> PytestRun:
    for path, data in (
        ("tox.toml", view.toml("tox.toml")),
        ("pyproject.toml", _dig(view.toml("pyproject.toml"), "tool", "tox")),
    ):
        if isinstance(legacy := data.get("legacy_tox_ini"), str):
            return _tox_ini(_Legacy(view, legacy))._replace(path=path)
        base, envs = _dig(data, "env_run_base"), _dig(data, "env")
        candidates = [base, *(value for key, value in envs.items() if "test" in key and isinstance(value, dict))]
        for about in candidates:
            commands = [
                " ".join(str(word) for word in one) for one in about.get("commands", []) if isinstance(one, list)
            ]
            if not any("pytest" in command for command in commands):
                continue
            return _of_tox(
                view,
                path,
                deps=[line for line in {**base, **about}.get("deps", []) if isinstance(line, str)],
                extras=_words(about.get("extras", base.get("extras"))),
                groups=_words(about.get("dependency_groups", base.get("dependency_groups"))),
                commands=commands,
                environment={},
            )
    return PytestRun()


class _Legacy(View):
    """The same project with a tox.ini that stood inside pyproject.toml."""

    def __init__(self, view: View, content: str) -> None:
        super().__init__(view.tree, view.directory)
        self._content = content

    def __contains__(self, path: str) -> bool:
        return path == "tox.ini" or super().__contains__(path)

    def text(self, path: str) -> str:
        return self._content if path == "tox.ini" else super().text(path)


def _of_tox(
    view: View,
    path: str,
    *,
    deps: Iterable[str],
    extras: Iterable[str],
    groups: Iterable[str],
    commands: Iterable[str],
    environment: Mapping[str, str],
) -> PytestRun:
    asked = _asked(view, [word.replace("{toxinidir}/", "").replace("{tox_root}/", "") for word in deps])
    arguments = next((found for command in commands if (found := pytest_arguments(view, command)) is not None), ())
    return asked._replace(
        path=path,
        arguments=arguments,
        extras=tuple(dict.fromkeys([*asked.extras, *filter(None, extras)])),
        groups=tuple(filter(None, groups)),
        environment=environment,
    )


# --- nox: https://nox.thea.codes/en/stable/config.html


def _nox(view: View) -> PytestRun:
    try:
        module = ast.parse(view.text("noxfile.py"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        view.unread.append(f"{view.full('noxfile.py')} cannot be parsed: {err}")
        return PytestRun()
    constants = {
        node.targets[0].id: words
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and (words := _constants([node.value], {}))
    }
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    functions.sort(key=lambda node: not re.search(r"test", node.name))
    for function in functions:
        installs: list[str] = []
        groups: list[str] = []
        arguments: tuple[str, ...] | None = None
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            does = getattr(call.func, "attr", "")
            words = _constants(call.args, constants)
            if does == "install":
                installs += words
            elif does in ("run", "run_install", "run_always") and arguments is None:
                groups += [value for flag, value in itertools.pairwise(words) if flag in ("--group", "--only-group")]
                installs += [f".[{value}]" for flag, value in itertools.pairwise(words) if flag == "--extra"]
                arguments = pytest_arguments(view, shlex.join(words)) if does == "run" else None
        if arguments is not None:
            groups += [value for flag, value in itertools.pairwise(installs) if flag == "--group"]
            files = [value for flag, value in itertools.pairwise(installs) if flag == "-r"]
            plain = [
                word
                for before, word in zip(["", *installs], installs, strict=False)
                if before not in ("-r", "--group", "-c") and not word.startswith("--")
            ]
            asked = _asked(view, [*plain, *(f"-r {path}" for path in files)])
            return asked._replace(path="noxfile.py", arguments=arguments, groups=tuple(dict.fromkeys(groups)))
    return PytestRun()


def _constants(nodes: Iterable[ast.expr], known: Mapping[str, list[str]]) -> list[str]:
    """The texts among expressions; what is computed is left out."""
    found = []
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        elif isinstance(node, ast.List | ast.Tuple):
            found += _constants(node.elts, known)
        elif isinstance(node, ast.Starred):
            found += _constants([node.value], known)
        elif isinstance(node, ast.Name):
            found += known.get(node.id, [])
    return found


# --- hatch: https://hatch.pypa.io/latest/config/environment/overview/


def _hatch(view: View) -> PytestRun:
    inside = _dig(view.toml("pyproject.toml"), "tool", "hatch", "envs")
    places = (("hatch.toml", _dig(view.toml("hatch.toml"), "envs")), ("pyproject.toml", inside))
    for path, envs in places:
        for name in ("hatch-test", "test", "tests", "testing", "default", "dev"):
            about = _dig(envs, name)
            scripts = [
                script
                for value in _dig(about, "scripts").values()
                for script in ([value] if isinstance(value, str) else _words(value))
            ]
            is_test = "test" in name or any("pytest" in script for script in scripts)
            lines = [*_words(about.get("dependencies")), *_words(about.get("extra-dependencies"))]
            asked = (*lines, *_words(about.get("features")), *_words(about.get("dependency-groups")))
            if is_test and asked:
                arguments = next((found for one in scripts if (found := pytest_arguments(view, one)) is not None), ())
                return PytestRun(
                    path=path,
                    arguments=arguments,
                    lines=tuple(line for line in lines if is_requirement(line)),
                    extras=tuple(_words(about.get("features"))),
                    groups=tuple(_words(about.get("dependency-groups"))),
                )
    return PytestRun()


# --- what they share


_KEPT = ("-m", "-k", "-p", "-c", "-o", "-W")
"""Options of pytest with a value that decide which tests run, or how they are read."""
_KEPT_LONG = (
    "--ignore",
    "--import-mode",
    "--doctest",
    "--pyargs",
    "--deselect",
    "--strict",
    "--rootdir",
    "--asyncio-mode",
)


def pytest_arguments(view: View, command: str) -> tuple[str, ...] | None:
    """The arguments of pytest in a command that say which tests are meant; None where it does not run pytest.

    Coverage, workers, reports and verbosity are left out: they belong to whoever runs it.
    """
    command = re.sub(
        r"\{posargs:?([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}|\{args:?([^{}]*)\}", lambda m: m[1] or m[2] or "", command
    )
    command = re.sub(r"\{(toxinidir|tox_root|root)\}/", "", command)
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    at = next((n for n, word in enumerate(words) if re.search(r"(^|/)py\.?test$", word)), None)
    if at is None:
        return None
    kept: list[str] = []
    rest = words[at + 1 :]
    while rest:
        word = rest.pop(0)
        if "{" in word or "$" in word:
            continue
        if word in _KEPT and rest:
            value = rest.pop(0)
            if "{" not in value and "$" not in value and not (word == "-p" and "cov" in value):
                kept += [word, value]
        elif word.startswith(_KEPT_LONG) or (not word.startswith("-") and _is_there(view, word.split("::")[0])):
            kept.append(word)
    return tuple(shlex.quote(word) for word in kept)


def _is_there(view: View, path: str) -> bool:
    plain = path.strip("/").removeprefix("./")
    return bool(plain) and (plain in view or any(one.startswith(f"{plain}/") for one in view.paths))


def _asked(view: View, words: Iterable[str]) -> PytestRun:
    """What words for pip name: lines, files, and extras of the project itself."""
    lines: list[str] = []
    files: list[str] = []
    extras: list[str] = []
    for word in words:
        included = re.fullmatch(r"(?:-r|--requirement)[\s=]*(\S+)", word)
        if included:
            files.append(included[1].removeprefix("./"))
        elif re.match(r"(-e\s*)?\.(\[|$|/)", word):
            local = local_of(word, view)
            extras += local.extras if local and not local.directory else ()
        elif is_requirement(word):
            lines.append(word)
    return PytestRun(
        lines=tuple(dict.fromkeys(lines)), files=tuple(dict.fromkeys(files)), extras=tuple(dict.fromkeys(extras))
    )


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _dig(data: Any, *names: str) -> dict[str, Any]:
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}
