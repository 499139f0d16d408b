"""Canaries for `go test` and `cargo test`: tests of the platform's own that must fail, and others that must pass.

In Go they stand in every package that has tests, before and after these, and so in the process that they watch: the
failing one runs inside of a passing one, by testing.RunTests, and makes no run fail. In Rust they are a test binary of
each package, linked with its library and run by itself after the project's own tests.
"""

import re
import secrets
import tomllib
from collections.abc import Mapping
from posixpath import basename, dirname, join, normpath
from typing import NamedTuple

from domain.reports import Report
from domain.task import CaseOutcome
from domain.trees import Tree
from tasks.running.canaries import PLATFORM, WORK

_GO = """\
package {package}

import lockgate{nonce} "testing"

func TestLockgate{nonce}x{number}(t *lockgate{nonce}.T) {{
	fails := lockgate{nonce}.InternalTest{{
		Name: "TestLockgate{nonce}x{number}xfails",
		F:    func(t *lockgate{nonce}.T) {{ t.Fatal("{token}") }},
	}}
	passes := lockgate{nonce}.InternalTest{{
		Name: "TestLockgate{nonce}x{number}xpasses",
		F:    func(*lockgate{nonce}.T) {{}},
	}}
	all := func(_, _ string) (bool, error) {{ return true, nil }}
	if lockgate{nonce}.RunTests(all, []lockgate{nonce}.InternalTest{{fails}}) ||
		!lockgate{nonce}.RunTests(all, []lockgate{nonce}.InternalTest{{passes}}) {{
		t.Fatal("a test that fails passes, or the other way round")
	}}
}}
"""
"""https://pkg.go.dev/testing#RunTests"""
_RUST = """\
{linked}
#[test]
fn lockgate{nonce}x{number}xfails() {{
    assert_eq!("{token}", "");
}}

#[test]
fn lockgate{nonce}x{number}xpasses() {{}}
"""
_DUE = {"fails": CaseOutcome.FAILED, "passes": CaseOutcome.PASSED}


class ProgramCanaries(NamedTuple):
    """The canaries of one run: nobody knows their names before it. None of them makes the run itself fail."""

    nonce: str
    token: str
    places: Mapping[str, str]
    """Number → `go first DIRECTORY`, `go last DIRECTORY` or `cargo DIRECTORY`; the root is `.`."""
    files: Mapping[str, bytes]
    """Absolute path in the sandbox → content."""

    @property
    def due(self) -> dict[str, str]:
        return {f"{place}.{kind}": str(outcome) for place in self.places.values() for kind, outcome in _DUE.items()}

    def taken_out(self, report: Report) -> tuple[Report, dict[str, str]]:
        """The report without canaries, and how each of them ended: an outcome, or `missing`. As due are those of a
        package that does not build, and the last ones of a process that a test ended: the report says so itself."""
        seen = dict.fromkeys(self.due, str(CaseOutcome.MISSING))
        rest = Report({}, {}, report.runner)
        for test, outcome in report.cases.items():
            message = report.messages.get(test, "")
            if self.nonce not in test:
                rest.add(test, outcome, message)
            elif (match := re.search(rf"{self.nonce}x(\d+)x([a-z]+)$", test)) and match[1] in self.places:
                has_token = match[2] != "fails" or self.token in message
                told = str(outcome) if has_token else f"{outcome} without its reason"
                seen[f"{self.places[match[1]]}.{match[2]}"] = told
        ended = {place for place in self.places.values() if _is_told(place, rest)}
        for name, due in self.due.items():
            if seen[name] == CaseOutcome.MISSING and name.rpartition(".")[0] in ended:
                seen[name] = due
        return rest, seen


def _is_told(place: str, report: Report) -> bool:
    """Whether the report says why the canaries of this place did not run."""
    program, _, rest = place.partition(" ")
    if program == "cargo":
        return report.cases.get("the build") is CaseOutcome.ERROR
    which, _, directory = rest.partition(" ")
    within = [outcome for test, outcome in report.cases.items() if _is_in(test, directory)]
    has_ended = CaseOutcome.ERROR in within
    return has_ended and (which == "last" or CaseOutcome.PASSED not in within)


def _is_in(test: str, directory: str) -> bool:
    """Whether it is a test of a package of Go, or the package itself, which is named by its module at the root."""
    path = test.split("::")[0]
    if path.endswith(".go"):
        return (dirname(path) or ".") == directory
    return path == directory or (directory == "." and path == test)


def program_canaries(tree: Tree, base: Tree | None = None) -> ProgramCanaries:
    """Canaries for every package of Go that has tests, and every package of Rust. Empty where the tree has neither.

    `base`: what else says which libraries are linked; None: the tree alone.
    """
    nonce, token = secrets.token_hex(5), secrets.token_hex(8)
    places: dict[str, str] = {}
    files: dict[str, bytes] = {}
    listed = []
    for place, package in sorted(_go_packages(tree).items()):
        for which, name in (("first", "0lockgate"), ("last", "zlockgate")):
            number = str(len(places))
            places[number] = f"go {which} {place or '.'}"
            text = _GO.format(nonce=nonce, token=token, number=number, package=package)
            files[join(WORK, place, f"{name}{nonce}_test.go")] = text.encode()
    for place, library in sorted(_crates(tree, tree if base is None else base).items()):
        number = str(len(places))
        places[number] = f"cargo {place or '.'}"
        linked = f"#[allow(unused_imports)]\nuse {library} as _;\n" if library else ""
        text = _RUST.format(nonce=nonce, token=token, number=number, linked=linked)
        files[f"{PLATFORM}/cargo_canaries/{number}.rs"] = text.encode()
        listed.append(f"{number} {join(WORK, place)}")
    if listed:
        files[f"{PLATFORM}/cargo_canaries/name"] = f"lockgate{nonce}".encode()
        files[f"{PLATFORM}/cargo_canaries/list"] = ("\n".join(listed) + "\n").encode()
    return ProgramCanaries(nonce, token, places, files)


_PACKAGE = re.compile(r"^package\s+(\w+)", re.MULTILINE)


def _go_packages(tree: Tree) -> dict[str, str]:
    """Directory → the package that its tests are in. What the go command passes over is left out:
    https://pkg.go.dev/cmd/go#hdr-Package_lists_and_patterns"""
    found: dict[str, str] = {}
    for path in sorted(tree):
        place = dirname(path)
        if not path.endswith("_test.go") or place in found or basename(path).startswith(("_", ".")):
            continue
        if any(part in ("testdata", "vendor") or part.startswith(("_", ".")) for part in place.split("/")):
            continue
        text = tree[path].content.decode("utf-8", "replace")
        if (match := _PACKAGE.search(text)) and not re.search(r"^//\s*(go:build|\+build)\b", text, re.MULTILINE):
            found[place] = match[1]
    return found


_LINKED = {"lib", "rlib", "dylib"}
"""Kinds of libraries that another crate can link: https://doc.rust-lang.org/reference/linkage.html"""


def _crates(tree: Tree, base: Tree) -> dict[str, str]:
    """Directory → the name of the library that its tests link; empty: it has none. One that base links stays linked
    for as long as its file is there: a change does not take the canaries away from it."""
    found = {}
    for path in tree:
        if basename(path) == "Cargo.toml" and (library := _library(tree, path, tree)) is not None:
            found[dirname(path)] = library or _library(base, path, tree) or ""
    return found


def _library(manifests: Tree, path: str, tree: Tree) -> str | None:
    """The name of the library of a package by its manifest, empty if none can be linked; None if it is no package.
    `tree`: where the library's file must be."""
    try:
        data = tomllib.loads(manifests[path].content.decode("utf-8-sig")) if path in manifests else {}
        about, lib = data.get("package"), data.get("lib") or {}
        if not isinstance(about, dict) or not isinstance(lib, dict):
            return None
        kinds = {str(kind) for kind in lib.get("crate-type") or lib.get("crate_type") or ["lib"]}
    except (ValueError, TypeError, RecursionError):
        return None
    name = str(lib.get("name") or about.get("name") or "").replace("-", "_")
    file = normpath(join(dirname(path), str(lib.get("path") or "src/lib.rs")))
    is_linked = kinds & _LINKED and not lib.get("proc-macro") and not lib.get("proc_macro")
    return name if is_linked and file in tree and re.fullmatch(r"\w+", name) else ""
