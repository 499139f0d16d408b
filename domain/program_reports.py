"""What test programs wrote because the platform asked each of them: Node's runners, `go test`, `cargo test`.

One command may start many of them, as a workspace does. Each began with a file `NAME.begun`, and ended with its report.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from posixpath import commonpath, dirname, join, normpath
from typing import Any, NamedTuple

from domain.reports import BAD, MAX_MESSAGE, Report, read_jest
from domain.task import CaseOutcome
from domain.trees import Tree

_WORK = "/work/"


class Begun(NamedTuple):
    """One test program: its name, how its report is read, and the directory it ran in, relative to the root."""

    runner: str
    kind: str
    directory: str
    report: str


def read_programs(files: Mapping[str, bytes], tree: Tree) -> Report:
    """All reports of one command. Empty where no program began; raises ValueError for one without its report, or whose
    report cannot be read. `files`: names → contents."""
    whole = Report({}, {})
    runners: list[str] = []
    for name in sorted(files):
        if not name.endswith(".begun"):
            continue
        begun = _begun(files[name])
        where = f"{begun.runner} in {begun.directory or 'the root'}"
        if not (content := files.get(begun.report)):
            raise ValueError(f"{where} did not come to its end")
        try:
            one = _READ[begun.kind](content, begun, tree)
        except ValueError as err:
            raise ValueError(f"{where}: {err}") from err
        for test, outcome in one.cases.items():
            whole.add(test, outcome, one.messages.get(test, ""))
        runners.append(begun.runner)
    return whole._replace(runner=", ".join(sorted(set(runners))))


def _begun(content: bytes) -> Begun:
    try:
        data = json.loads(content)
        directory = f"{data['cwd']}/".removeprefix(_WORK).rstrip("/")
        begun = Begun(str(data["runner"]), str(data["kind"]), directory, str(data["report"]))
    except (KeyError, TypeError, ValueError, RecursionError) as err:
        raise ValueError(f"a program's beginning cannot be read: {err!r}") from err
    if begun.kind not in _READ:
        raise ValueError(f"nobody knows reports of the kind {begun.kind[:40]!r}")
    return begun


def _read_cases(content: bytes, begun: Begun, tree: Tree) -> Report:
    """What our own reporters of mocha, ava and Node's runner write: [file, names, outcome, message]. Node says that a
    file passed which ended before any of its tests; it did not."""
    report = Report({}, {})
    try:
        for file, names, outcome, message in json.loads(content):
            path = str(file).removeprefix(_WORK)
            has_tests = path in tree and _NODE_TEST.search(tree[path].content)
            if not names and outcome == CaseOutcome.PASSED and has_tests:
                continue
            test = "::".join(filter(None, (path, *map(str, names)))) or begun.runner
            report.add(test, CaseOutcome(outcome), str(message))
    except (TypeError, RecursionError) as err:
        raise ValueError(f"not what our reporter writes: {err!r}") from err
    return report


_NODE_TEST = re.compile(
    rb"['\"`]node:test['\"`]|(?<![.\w$])(?:test|it|describe|suite)(?:\.\w+)?\s*\("
    rb"|\.(?:test|it|describe|suite)(?:\.\w+)?\s*\(\s*(['\"`])[^'\"`\n]*\1\s*,"
)
"""A test has a title and a function: `pattern.test(text)` is none."""


def _read_tap(content: bytes, begun: Begun, tree: Tree) -> Report:
    return read_nested_tap(content.decode("utf-8", "replace"), begun.directory)


_POINT = re.compile(r"(not )?ok\b\s*\d*\s*(?:-\s*)?(.*?)\s*(?:#\s*(skip|todo|time)\b.*?)?\s*(\{)?", re.IGNORECASE)


_MAX_POINT = 1000
"""Characters of a line that count: what a test prints does not decide how long it is read."""


def read_nested_tap(text: str, directory: str = "") -> Report:
    """TAP with subtests, as node-tap writes it: a file, its tests, their tests. Assertions count for the test around.

    Raises ValueError if it ends within a subtest, or bails out.
    """
    report = Report({}, {})
    names: list[str] = []
    said: list[str] = []
    has_points = False
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip(" "))) // 4
        word = line.strip()
        if word.startswith("Bail out!"):
            raise ValueError(word[:200])
        if word.startswith("# Subtest: ") and len(line) - len(line.lstrip(" ")) == 4 * len(names):
            names.append(word.removeprefix("# Subtest: "))
        elif (
            (match := _POINT.fullmatch(" ".join(word[:_MAX_POINT].split())))
            and depth in (len(names), len(names) - 1)
            and not line.startswith("\t")
        ):
            if match[4]:  # what was announced follows in braces
                continue
            has_points = has_points or depth == 0
            if names and depth == len(names) - 1:
                bad = bool(match[1]) and (match[3] or "").lower() != "todo"
                path = [join(directory, names[0]) if directory else names[0], *names[1:]]
                outcome = CaseOutcome.FAILED if bad else CaseOutcome.PASSED
                if (match[3] or "").lower() == "skip":
                    outcome = CaseOutcome.SKIPPED
                if len(names) > 1 or outcome is not CaseOutcome.PASSED:
                    _add_tap(report, path, outcome, "\n".join(said[-40:]))
                names.pop()
                said = said if names else []
            elif depth == len(names) and (match[3] or "").lower() == "skip" and names:
                path = [join(directory, names[0]) if directory else names[0], *names[1:], match[2]]
                report.add("::".join(path), CaseOutcome.SKIPPED)
        elif names and len(said) < 4000:
            said.append(line)
    if names or not has_points:
        raise ValueError("it ends in the middle")
    return report


def _add_tap(report: Report, path: list[str], outcome: CaseOutcome, message: str) -> None:
    """A file, or a group, that fails because a test in it does is told by that test."""
    name = "::".join(path)
    if outcome is CaseOutcome.FAILED and any(
        test.startswith(f"{name}::") and seen in BAD for test, seen in report.cases.items()
    ):
        return
    outcome = CaseOutcome.ERROR if outcome is CaseOutcome.FAILED and len(path) == 1 else outcome
    report.add(name, outcome, message)


# --- Go


_GO_OUTCOMES = {"pass": CaseOutcome.PASSED, "fail": CaseOutcome.FAILED, "skip": CaseOutcome.SKIPPED}
_GO_BROKEN = re.compile(r"FAIL\s+(\S+)\s+\[(build failed|setup failed)\]")


def _read_go(content: bytes, begun: Begun, tree: Tree) -> Report:
    return read_go(content.decode("utf-8", "replace"), tree, begun.directory)


def read_go(text: str, tree: Tree, directory: str = "") -> Report:
    """The events of `go test -json` (https://pkg.go.dev/cmd/test2json). A test's id is its file, then its name; what
    stands between the events is what a build says. Raises ValueError if a package began and did not end.
    `directory`: where it ran, relative to the root: modules of one name may stand in several places.
    """
    report, packages = Report({}, {}), _GoPackages(tree, directory)
    said: dict[tuple[str, str], list[str]] = {}
    waiting: set[tuple[str, str]] = set()
    broken: dict[str, str] = {}
    for line in text.splitlines():
        event = _event(line)
        if event is None:
            if match := _GO_BROKEN.match(line):
                broken[match[1]] = match[2]
            continue
        action, test = str(event.get("Action")), str(event.get("Test") or "")
        package = str(event.get("Package") or event.get("ImportPath") or "").split(" ")[0]
        key = (package, test)
        if action in ("output", "build-output"):
            said.setdefault(key, []).append(str(event.get("Output") or ""))
        elif action in ("run", "start"):
            waiting.add(key)
        elif action in _GO_OUTCOMES:
            waiting.discard(key)
            if test:
                report.add(packages.test(package, test), _GO_OUTCOMES[action], "".join(said.get(key, ())))
            elif action == "fail":
                broken[package] = "".join(said.get(key, ()))
    for package, test in sorted(waiting):
        if test:  # its process ended within it: a panic, os.Exit, a time-out
            report.add(packages.test(package, test), CaseOutcome.ERROR, "".join(said.get((package, ""), ())))
        elif package not in broken:
            raise ValueError(f"{package} began and did not end")
    for package, why in broken.items():
        within = f"{packages.directory(package)}/".lstrip("/")
        if not any(seen in BAD for test, seen in report.cases.items() if test.startswith((within, package))):
            report.add(packages.directory(package) or package, CaseOutcome.ERROR, why)
    return report


def _nearest(places: Collection[str], directory: str) -> str:
    """Of places that bear one name, the one that is meant in `directory`: what it lies in, else what lies nearest."""

    def distance(place: str) -> tuple[bool, int, int, str]:
        shared = commonpath((f"/{place}", f"/{directory}"))
        return shared != f"/{place}", -len(shared), len(place), place

    return min(places, key=distance)


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line) if line.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "Action" in event else None


_GO_MODULE = re.compile(r"^[^\S\n]*module\s+\"?([^\s\"]+)", re.MULTILINE)
_GO_TEST = re.compile(r"^func\s+((?:Test|Example|Fuzz|Benchmark)\w*)\s*\(", re.MULTILINE)


class _GoPackages:
    """Where packages and their tests are in the tree."""

    def __init__(self, tree: Tree, directory: str) -> None:
        modules: dict[str, list[str]] = {}
        self._files: dict[str, dict[str, str]] = {}
        for path, entry in sorted(tree.items()):
            if path == "go.mod" or path.endswith("/go.mod"):
                if match := _GO_MODULE.search(entry.content.decode("utf-8", "replace")):
                    modules.setdefault(match[1], []).append(dirname(path))
            elif path.endswith("_test.go"):
                names = _GO_TEST.findall(entry.content.decode("utf-8", "replace"))
                self._files.setdefault(dirname(path), {}).update(dict.fromkeys(names, path))
        self._modules = {name: _nearest(places, directory) for name, places in modules.items()}

    def directory(self, package: str) -> str:
        """Of a package, by its import path; the import path itself where the tree has no such module."""
        for module in sorted(self._modules, key=len, reverse=True):
            if package == module or package.startswith(f"{module}/"):
                return join(self._modules[module], package[len(module) :].strip("/")).rstrip("/")
        return package

    def test(self, package: str, test: str) -> str:
        directory = self.directory(package)
        function, *sub = test.split("/", 1)
        return "::".join((self._files.get(directory, {}).get(function, directory or package), function, *sub))


# --- Rust

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CARGO_BINARY = re.compile(r"\s*Running (?:unittests )?(\S+\.rs) \(.*?([^/\\]+?)-[0-9a-f]{16}(?:\.exe)?\)")
_CARGO_DOC = re.compile(r"\s*Doc-tests (\S+)")
_CARGO_TEST = re.compile(r"test (.+?)(?: - should panic)? \.\.\. (ok|FAILED|ignored)\b.*")
_CARGO_NAME = re.compile(r'^[^\S\n]*name\s*=\s*"([^"]+)"', re.MULTILINE)
_CARGO_DOC_TEST = re.compile(r"(\S+\.rs) - (.*?)\s*\(line \d+\)(.*)")
_CARGO_OUTCOMES = {"ok": CaseOutcome.PASSED, "FAILED": CaseOutcome.FAILED, "ignored": CaseOutcome.SKIPPED}


def _read_cargo(content: bytes, begun: Begun, tree: Tree) -> Report:
    return read_cargo(content.decode("utf-8", "replace"), tree, begun.directory)


def read_cargo(text: str, tree: Tree, directory: str = "") -> Report:
    """What `cargo test` prints. A test's id is the file of its test binary, then its path in there; of a doc test, its
    file and item. Raises ValueError if a binary ran other tests than it said that it would. `directory`: as above.
    """
    report, crates = Report({}, {}), _Crates(tree, directory)
    file = package = ""
    due = 0
    failing: str | None = None
    names: dict[str, str] = {}
    for raw in text.splitlines():
        line = _ANSI.sub("", raw)
        if match := _CARGO_BINARY.match(line):
            _cargo_is_whole(file, due)
            package = crates.package(match[2]) if match[1].startswith("src/") else package
            file, failing, names = crates.file(match[1], package), None, {}
        elif match := _CARGO_DOC.match(line):
            _cargo_is_whole(file, due)
            package = crates.package(match[1])
            file, failing, names = match[1], None, {}
        elif match := re.fullmatch(r"running (\d{1,9}) tests?", line):
            due = int(match[1])
        elif (match := _CARGO_TEST.fullmatch(line)) and due > 0 and file:
            due -= 1
            name = match[1]
            if doc := _CARGO_DOC_TEST.fullmatch(name):
                path = doc[1] if doc[1] in tree else join(package, doc[1])
                test = "::".join(filter(None, (path, f"doc {doc[2]}".strip())))
            else:
                test = f"{file}::{name}"
            names[name] = test
            report.add(test, _CARGO_OUTCOMES[match[2]])
        elif match := re.fullmatch(r"---- (.*) stdout ----", line):
            failing = names.get(match[1])
        elif line.startswith("test result:"):
            _cargo_is_whole(file, due)
            failing = None
        elif failing:
            report.messages[failing] = (report.messages.get(failing, "") + line + "\n")[-MAX_MESSAGE:]
    if not file:
        tail = text[-MAX_MESSAGE:]
        report.add("the build", CaseOutcome.ERROR, tail)
    elif due and not report.is_failing:
        raise ValueError(f"{due} tests of {file} have no outcome")
    return report


def _cargo_is_whole(file: str, due: int) -> None:
    if due:
        raise ValueError(f"{due} tests of {file} have no outcome: did it end the process?")


class _Crates:
    """Where packages are in the tree, by their names as rustc has them."""

    def __init__(self, tree: Tree, directory: str) -> None:
        self._paths: Collection[str] = tree.keys()
        crates: dict[str, list[str]] = {}
        for path, entry in sorted(tree.items()):
            if path == "Cargo.toml" or path.endswith("/Cargo.toml"):
                for name in _CARGO_NAME.findall(entry.content.decode("utf-8", "replace")):
                    crates.setdefault(name.replace("-", "_"), []).append(dirname(path))
        self._directories = {name: _nearest(places, directory) for name, places in crates.items()}

    def package(self, crate: str) -> str:
        return self._directories.get(crate.replace("-", "_"), "")

    def file(self, path: str, package: str) -> str:
        if (there := join(package, path)) in self._paths:
            return there
        candidates = [one for one in {*self._directories.values()} if join(one, path) in self._paths]
        return join(candidates[0], path) if len(candidates) == 1 else normpath(path)


_READ: dict[str, Callable[[bytes, Begun, Tree], Report]] = {
    "cases": _read_cases,
    "jest": lambda content, begun, tree: read_jest(content),
    "tap": _read_tap,
    "go": _read_go,
    "cargo": _read_cargo,
}
