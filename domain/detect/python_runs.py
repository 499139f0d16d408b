"""How a Python project's own tools run its tests: tox, nox and hatch. Read as data; nox's file is parsed, never run."""

import ast
import configparser
import itertools
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from packaging.requirements import Requirement

from domain.detect.pip_files import is_requirement, local_of
from domain.detect.reading import View


class SuiteRun(NamedTuple):
    """What one of the tools says of the test run. Empty where none says anything."""

    path: str = ""
    """The file that told it, relative to the project's directory."""
    program: str = "pytest"
    """Module that runs the tests: pytest, or unittest where only that is named."""
    arguments: tuple[str, ...] = ()
    """Of the program, quoted for a command line: paths, and which tests are meant."""
    command: str = ""
    """In place of both, where a script of the project's own runs the tests."""
    lines: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}

    @property
    def is_empty(self) -> bool:
        named = self.arguments or self.command or self.lines or self.files or self.extras or self.groups
        return not named and self.program == "pytest"


def suite_run(view: View) -> SuiteRun:
    """What tox says, else nox, else hatch, else Django's manage.py: the first that says anything."""
    runs = (reader(view) for reader in (_tox_ini, _tox_toml, _nox, _hatch, _manage))
    return next((run for run in runs if not run.is_empty), SuiteRun())


# --- tox: https://tox.wiki/en/latest/config.html


def _tox_ini(view: View) -> SuiteRun:
    for path, prefix in (("tox.ini", ""), ("setup.cfg", "tox:")):
        if path not in view:
            continue
        config = configparser.RawConfigParser(strict=False)
        try:
            config.read_string(view.text(path))
        except configparser.Error as err:
            view.unread.append(f"{view.full(path)} cannot be read: {str(err).splitlines()[0]}")
            continue
        section, factors = _test_section(config, prefix)
        if section is None:
            continue
        about = {key: _tox_lines(config.get(section, key), factors) for key in config.options(section)}
        return _of_tox(
            view,
            path,
            deps=about.get("deps", []),
            extras=_names(about.get("extras", [])),
            groups=_names(about.get("dependency_groups", [])),
            commands=about.get("commands", []),
            environment=dict(_assignments(about.get("setenv", about.get("set_env", [])))),
            directory=_tox_directory(
                config.get(section, "changedir", fallback="") or config.get(section, "change_dir", fallback=""), factors
            ),
        )
    return SuiteRun()


def _names(lines: Iterable[str]) -> list[str]:
    """Names in lists of them; one that is for some versions of Python is for all."""
    return [name for line in lines for name in re.split(r"[\s,]+", line.partition(";")[0]) if name]


def _test_section(config: configparser.RawConfigParser, prefix: str) -> tuple[str | None, frozenset[str]]:
    """The section whose commands run tests, [testenv] or else [testenv:tests] and the like, and the factors of the
    first environment of `env_list` that runs them there."""
    sections = [name for name in config.sections() if name.startswith("testenv")]
    sections.sort(key=lambda name: (name != "testenv", not re.search(r"test|py\d*$", name.partition(":")[2])))
    listed = config.get(f"{prefix}tox", "env_list", fallback="") or config.get(f"{prefix}tox", "envlist", fallback="")
    for runs in (_RUNS_TESTS, _RUNS_A_SCRIPT):
        for name in sections:
            commands = config.get(name, "commands", fallback="")
            for factors in [*_factors_listed(listed), _NO_FACTORS]:
                if any(runs.search(line) for line in _tox_lines(commands, factors)):
                    return name, factors
    return ("testenv" if "testenv" in sections else None), _NO_FACTORS


_RUNS_TESTS = re.compile(r"\bpy\.?test\b|-m unittest\b")
_RUNS_A_SCRIPT = re.compile(r"(?:^|[\s/])(?:run_?)?tests?\.py\b|\bmanage\.py test\b")
_NO_FACTORS = frozenset({"test", "tests"})
"""Of an environment that nothing names."""


def _factors_listed(text: str) -> list[frozenset[str]]:
    """The factors of each environment that is for some version of CPython, beside that version."""
    names = [name for part in _braces(re.sub(r"#.*", "", text)) for name in part.split()]
    split = [name.split("-") for name in names]
    return list(
        dict.fromkeys(frozenset(f for f in one if not _PYTHON.fullmatch(f)) for one in split if _is_python(one))
    )


_PYTHON = re.compile(r"py|py3|py3?(?P<minor>\d{1,2})t?|(?:py)?3\.(?P<dotted>\d+)t?|(?P<other>pypy.*|jython.*|py2\d*)")


def _is_python(factors: Iterable[str]) -> bool:
    found = [_PYTHON.fullmatch(factor) for factor in factors]
    return any(found) and not any(one and one["other"] for one in found)


def _braces(text: str) -> list[str]:
    """`py{310,311}-{a,b}` as tox expands it, and a list split at its commas: the first _MOST_LISTED of them."""
    parts = [part.strip() for part in re.split(r"[,\n](?![^{]*\})", text[:_MOST_CHARS]) if part.strip()]
    found: list[str] = []
    waiting = parts[::-1]
    while waiting and len(found) < _MOST_LISTED:
        part = waiting.pop()
        inner = re.search(r"\{([^{}]*)\}", part) if part.count("{") <= _MOST_BRACES else None
        if inner is None:
            found.append(part)
        else:
            made = [(part[: inner.start()] + one + part[inner.end() :]).strip() for one in _ranged(inner[1])]
            waiting += made[::-1]
    return found


_MOST_CHARS = 20_000
_MOST_LISTED = 2_000
_MOST_BRACES = 12


def _ranged(text: str) -> Iterator[str]:
    for one in text.split(","):
        bounds = re.fullmatch(r"\s*(\d{1,9})-(\d{1,9})\s*", one)
        yield from (
            map(str, range(int(bounds[1]), min(int(bounds[2]), int(bounds[1]) + 50) + 1)) if bounds else (one.strip(),)
        )


def _tox_lines(text: str, factors: frozenset[str]) -> list[str]:
    """Lines without conditions, and those whose condition holds for the factors. A condition on the version of Python
    becomes a marker. https://tox.wiki/en/latest/config.html#conditional-settings"""
    lines = []
    for line in re.sub(r"\\\s*\n\s*", " ", text).splitlines():
        line = _filled(re.sub(r"(^|\s)#.*$", "", line)).strip()
        condition = re.match(r"(?P<factors>[a-zA-Z0-9,.!{}\-_]+)\s*:\s+(?P<rest>.+)", line)
        if condition is None:
            lines.append(line)
            continue
        held = [one for part in _braces(condition["factors"]) if (one := _holds(part, factors)) is not None]
        if held and not all(held):
            lines.append(condition["rest"])
        elif held:
            lines.append(_for_versions(condition["rest"], held))
    return [line for line in lines if line and not line.startswith("{")]


def _tox_directory(text: str, factors: frozenset[str]) -> str:
    """Where the commands run, relative to the project's directory; empty: there."""
    placed = re.sub(r"\{(?:toxinidir|tox_root)\}/?", "./", text)
    return posixpath.normpath(" ".join(_tox_lines(placed, factors))).removeprefix(".")


def _filled(text: str) -> str:
    """`text` with what tox puts in by itself: the interpreter, and defaults of variables that are not set."""
    text = text.replace("{envpython}", "python").replace("{env_python}", "python")
    while (filled := re.sub(r"\{env:\w+:?([^{}]*)\}", r"\1", text)) != text:
        text = filled
    return text


def _holds(condition: str, factors: frozenset[str]) -> str | None:
    """Whether `a-!b-py39` holds: None for no, else the minor version of Python that it asks for, or empty."""
    version = ""
    for factor in condition.split("-"):
        is_wanted = not factor.startswith("!")
        python = _PYTHON.fullmatch(factor.removeprefix("!"))
        if python is None:
            if (factor.removeprefix("!") in factors) is not is_wanted:
                return None
        elif python["other"]:
            if is_wanted:
                return None
        elif is_wanted:
            version = python["minor"] or python["dotted"] or version
    return version


def _for_versions(line: str, minors: Iterable[str]) -> str:
    """A requirement for these versions of Python 3 alone; what else may stand there is for any."""
    if not is_requirement(line):
        return line
    requirement = Requirement(line)
    asked = " or ".join(f"python_version == '3.{minor}'" for minor in dict.fromkeys(minors))
    marker = f"({requirement.marker}) and ({asked})" if requirement.marker else asked
    requirement.marker = None
    return f"{requirement} ; {marker}"


def _assignments(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = (part.strip() for part in line.partition("="))
        if re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) and "{" not in value and not name.startswith(("COVERAGE", "PIP_")):
            yield name, value


def _tox_toml(view: View) -> SuiteRun:
    for path, data in (
        ("tox.toml", view.toml("tox.toml")),
        ("pyproject.toml", _dig(view.toml("pyproject.toml"), "tool", "tox")),
    ):
        if isinstance(legacy := data.get("legacy_tox_ini"), str):
            return _tox_ini(_Legacy(view, legacy))._replace(path=path)
        base, envs = _dig(data, "env_run_base"), _dig(data, "env")
        candidates = [base, *(value for key, value in envs.items() if "test" in key and isinstance(value, dict))]
        for about in candidates:
            commands = [" ".join(_tox_words(one)) for one in about.get("commands", []) if isinstance(one, list)]
            if not any(_RUNS_TESTS.search(command) for command in commands):
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
    return SuiteRun()


def _tox_words(words: Iterable[Any]) -> Iterator[str]:
    """Of a command in TOML. A table stands for words: only what it has by default is known.

    https://tox.wiki/en/latest/config.html#toml-only-features
    """
    for word in words:
        default = word.get("default", []) if isinstance(word, dict) else word
        yield from _tox_words(default) if isinstance(default, list) else (str(default),)


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
    directory: str = "",
) -> SuiteRun:
    asked = _asked(view, [word.replace("{toxinidir}/", "").replace("{tox_root}/", "") for word in deps])
    commands = list(commands)
    found = first_suite_command(view, commands)
    program, arguments = found or ("pytest", ())
    return asked._replace(
        path=path,
        program=program,
        arguments=arguments,
        command="" if found else _own_command(view, commands, directory),
        extras=tuple(dict.fromkeys([*asked.extras, *filter(None, extras)])),
        groups=tuple(filter(None, groups)),
        environment=environment,
    )


# --- nox: https://nox.thea.codes/en/stable/config.html


def _nox(view: View) -> SuiteRun:
    try:
        module = ast.parse(view.text("noxfile.py"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        view.unread.append(f"{view.full('noxfile.py')} cannot be parsed: {err}")
        return SuiteRun()
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
        command: tuple[str, tuple[str, ...]] | None = None
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            does = getattr(call.func, "attr", "")
            words = _constants(call.args, constants)
            if does == "install":
                installs += words
            elif does in ("run", "run_install", "run_always") and command is None:
                groups += [value for flag, value in itertools.pairwise(words) if flag in ("--group", "--only-group")]
                installs += [f".[{value}]" for flag, value in itertools.pairwise(words) if flag == "--extra"]
                command = suite_command(view, shlex.join(words)) if does == "run" else None
        if command is not None:
            groups += [value for flag, value in itertools.pairwise(installs) if flag == "--group"]
            files = [value for flag, value in itertools.pairwise(installs) if flag == "-r"]
            plain = [
                word
                for before, word in zip(["", *installs], installs, strict=False)
                if before not in ("-r", "--group", "-c") and not word.startswith("--")
            ]
            asked = _asked(view, [*plain, *(f"-r {path}" for path in files)])
            program, arguments = command
            groups_once = tuple(dict.fromkeys(groups))
            return asked._replace(path="noxfile.py", program=program, arguments=arguments, groups=groups_once)
    return SuiteRun()


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


def _hatch(view: View) -> SuiteRun:
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
            is_test = "test" in name or any(_RUNS_TESTS.search(script) for script in scripts)
            lines = [*_words(about.get("dependencies")), *_words(about.get("extra-dependencies"))]
            asked = (*lines, *_words(about.get("features")), *_words(about.get("dependency-groups")))
            if is_test and asked:
                program, arguments = first_suite_command(view, scripts) or ("pytest", ())
                return SuiteRun(
                    path=path,
                    program=program,
                    arguments=arguments,
                    lines=tuple(line for line in lines if is_requirement(line)),
                    extras=tuple(_words(about.get("features"))),
                    groups=tuple(_words(about.get("dependency-groups"))),
                )
    return SuiteRun()


# --- a script of the project's own


def _manage(view: View) -> SuiteRun:
    """Django's own runner, where a project of Django names no pytest."""
    told = (
        "pyproject.toml",
        "setup.cfg",
        "pytest.ini",
        "**/requirements*.txt",
        "requirements/*.txt",
        "Pipfile",
        "*.lock",
    )
    if "django" not in view.text("manage.py") or any("pytest" in view.text(path) for path in view.find(*told)):
        return SuiteRun()
    return SuiteRun(path="manage.py", command="python manage.py test")


_SCRIPT = re.compile(
    r"python3?(?: -W \S+| -(?!W )[A-Za-z]+)* (?:(?P<script>(?:\S+/)?(?:run_?)?tests?\.py|(?:\S+/)?manage\.py test)|"
    r"-m (?P<module>(?:\w+\.)*(?:run_?)?tests?))(?: [\w./=-]+)*"
)


def _own_command(view: View, commands: Iterable[str], directory: str) -> str:
    """The first command that is a script or a package in the tree which runs tests, as a line for the shell."""
    for one in commands:
        command = " ".join(_without_places(one).split())
        command = re.sub(
            r"^(?:\./)?(?=[\w./-]+\.py(?:\s|$))", "python ", command
        )  # a file that says itself what runs it
        if not (told := _SCRIPT.fullmatch(command)):
            continue
        module = (told["module"] or "").replace(".", "/")
        files = [told["script"].split()[0]] if told["script"] else [f"{module}.py", f"{module}/__main__.py"]
        if view.first(*(posixpath.normpath(posixpath.join(directory, file)) for file in files)):
            return f"cd {shlex.quote(directory)} && {command}" if directory else command
    return ""


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
    "--benchmark-disable",
)
_LEFT_WITH_VALUE = (
    "-n", "-r", "--cov", "--cov-config", "--cov-report", "--cov-fail-under", "--numprocesses", "--dist", "--maxfail",
    "--durations", "--durations-min", "--basetemp", "--junitxml", "--junit-xml", "--tb", "--color", "--log-level",
    "--log-cli-level", "--html", "--timeout", "--reruns", "--confcutdir", "--verbosity",
)  # fmt: skip
"""Options of pytest whose value may look like the path of a test."""


def first_suite_command(view: View, commands: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """(program, arguments) of the first command that runs pytest, else of the first that runs unittest. Where pytest is
    given one file, and a module beside it runs other tests, it is all of pytest's."""
    told = list(commands)
    found = [command for one in told if (command := suite_command(view, one)) is not None]
    found.sort(key=lambda command: command[0] != "pytest")
    program, arguments = next(iter(found), (None, ()))
    if program == "pytest" and any(map(_TESTS_MODULE.search, told)):
        arguments = tuple(word for word in arguments if not word.endswith(".py"))
    return (program, arguments) if program else None


_TESTS_MODULE = re.compile(r"\bpython3? (?:-[A-Za-ln-z]\S* )*-m (?:\w+\.)*tests?(?:\.\w+)*(?:\s|$)")
"""A package of tests that runs itself: `python -m shop.tests.all_tests`."""


def suite_command(view: View, command: str) -> tuple[str, tuple[str, ...]] | None:
    """(program, arguments): which tests a command of pytest or unittest means; None if it runs neither.

    Coverage, workers, reports and verbosity are left out: they belong to whoever runs it.
    """
    try:
        words = shlex.split(_without_places(_from_the_tree(view, command)))
    except ValueError:
        return None
    at = next((n for n, word in enumerate(words) if re.search(r"(^|/)py\.?test$", word)), None)
    if at is not None:
        return "pytest", _pytest_arguments(view, words[at + 1 :])
    for at, pair in enumerate(itertools.pairwise(words)):
        if pair == ("-m", "unittest"):
            return "unittest", _unittest_arguments(words[at + 2 :])
    return None


def _from_the_tree(view: View, command: str) -> str:
    """With the project's own packages where they stand, in place of where tox has installed them."""

    def place(match: re.Match[str]) -> str:
        return next((one for one in (f"src/{match[1]}", match[1]) if _is_there(view, one)), match[0])

    return re.sub(r"\{(?:env_site_packages_dir|envsitepackagesdir)\}/([\w.-]+)", place, command)


def _without_places(command: str) -> str:
    """With the defaults of what may be passed on, and relative to the project's directory."""
    command = re.sub(
        r"\{posargs:?([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}|\{args:?([^{}]*)\}", lambda m: m[1] or m[2] or "", command
    )
    return re.sub(r"\{(toxinidir|tox_root|root)\}/", "", command)


def _pytest_arguments(view: View, rest: list[str]) -> tuple[str, ...]:
    kept: list[str] = []
    while rest:
        word = rest.pop(0)
        if "{" in word or "$" in word:
            continue
        if word in _LEFT_WITH_VALUE and rest and not rest[0].startswith("-"):
            rest.pop(0)
        elif word in _KEPT and rest:
            value = rest.pop(0)
            if "{" not in value and "$" not in value and not (word == "-p" and "cov" in value):
                kept += [word, value]
        elif word in (".", "./"):
            kept.append(".")
        elif word.startswith(_KEPT_LONG) or (not word.startswith("-") and _is_there(view, word.split("::")[0])):
            kept.append(word)
    return tuple(shlex.quote(word) for word in kept)


def _unittest_arguments(words: Iterable[str]) -> tuple[str, ...]:
    plain = [word for word in words if "{" not in word and "$" not in word]
    return tuple(
        shlex.quote(word) for word in plain if word not in ("-v", "--verbose", "-q", "--quiet", "-b", "--buffer")
    )


def _is_there(view: View, path: str) -> bool:
    plain = path.strip("/").removeprefix("./")
    return bool(plain) and (plain in view or any(one.startswith(f"{plain}/") for one in view.paths))


def _asked(view: View, words: Iterable[str]) -> SuiteRun:
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
    return SuiteRun(
        lines=tuple(dict.fromkeys(lines)), files=tuple(dict.fromkeys(files)), extras=tuple(dict.fromkeys(extras))
    )


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _dig(data: Any, *names: str) -> dict[str, Any]:
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}
