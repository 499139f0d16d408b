"""What the scanners share: files laid out as numbered data, a tool run on them, and a no where the tool is not sure.

The tool sees 00001.py where the tree says app/search.py, so no name, ignore file or configuration of an agent's reaches
it. Each run holds a planted canary: a tool that does not report it did not look, whatever it prints.
"""

import functools
import importlib.util
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple

from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import installed
from blocks.host.run import run
from domain.policy import Rule
from domain.policy.rule import Hit
from domain.task import Finding, Severity
from domain.trees import Tree

MAX_OUTPUT_BYTES = 64_000_000
CANARY = "canary.py"

FAILED: Rule[None] = Rule(
    "scanner-failed",
    "scan",
    Severity.REFUSE,
    "A scanner that is missing, crashes, takes too long, prints nothing or what it should not, or misses its canary; "
    "or rules over the change that compute for over five minutes, or break.",
    "Unknown is no.",
    "mend the scanner: lockgate doctor says what is wrong; the change need not be altered",
    lambda _: (),
)


class ScannerFailed(Exception):
    """The tool gave no answer that can be believed."""


class ToolFinding(NamedTuple):
    """One thing that a tool saw. `key` tells it from others on the same path; `line` counts from 1."""

    side: str
    path: str
    line: int
    rule: str
    severity: Severity
    message: str
    key: str
    fix: str | None = None


def own_suffix(path: str) -> str:
    """The suffix of a path where it is a plain one, else nothing."""
    suffix = PurePosixPath(path).suffix
    return suffix if re.fullmatch(r"[.][A-Za-z0-9]{1,10}", suffix) else ""


class Layout:
    """Files of two trees as numbered files below a private directory, and the way back.

    `suffix` says how the file for a path ends: `.py`, or `/action.yml` for tools that go by the whole name.
    """

    def __init__(
        self,
        root: Path,
        trees: Mapping[str, Tree],
        paths: Callable[[Tree], Iterable[str]],
        content: Callable[[bytes], bytes] = bytes,
        suffix: Callable[[str], str] = own_suffix,
    ) -> None:
        self.root = root
        self._names: dict[str, tuple[str, str]] = {}
        self._trees = trees
        for side, tree in trees.items():
            (root / side).mkdir(mode=0o700, parents=True)
            for number, path in enumerate(sorted(paths(tree)), start=1):
                name = f"{side}/{number:06d}{suffix(path)}"
                self.write(name, content(tree[path].content))
                self._names[name] = (side, path)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """The files as they are called below `root`, sorted, base first."""
        return tuple(sorted(self._names))

    def paths(self, side: str) -> frozenset[str]:
        """Which paths of one side were laid out."""
        return frozenset(path for one, path in self._names.values() if one == side)

    def write(self, name: str, content: bytes) -> None:
        (self.root / name).parent.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(self.root / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)

    def rename(self, suffix: str) -> None:
        """Give every file this suffix, so that a tool takes all of them for its own."""
        for name in list(self._names):
            new = name.partition(".")[0] + suffix
            if new != name:
                os.rename(self.root / name, self.root / new)
                self._names[new] = self._names.pop(name)

    def origin(self, reported: str) -> tuple[str, str]:
        """(side, path) of a file as the tool names it. Raises ScannerFailed for one that was never laid out."""
        parts = PurePosixPath(reported).parts
        for name in ("/".join(parts[-2:]), "/".join(parts[-3:])):
            if name in self._names:
                return self._names[name]
        raise ScannerFailed(f"it reports on {reported[:200]!r}, which it was not given")

    def content(self, side: str, path: str) -> bytes:
        """A file of one side as the tree has it."""
        return self._trees[side][path].content

    def line(self, side: str, path: str, number: int) -> str:
        """The text of a line, white space put together; empty if the file has no such line."""
        lines = self._trees[side][path].content.split(b"\n")
        return " ".join(lines[number - 1].decode("utf-8", "replace").split()) if 0 < number <= len(lines) else ""


def beside(program: str) -> str:
    """Path of a program that a wheel put beside this interpreter."""
    return str(Path(sys.executable).parent / program)


def within(package: str, program: str) -> str:
    """Path of a program inside of an installed package, which is not imported; `program` if there is no package."""
    spec = importlib.util.find_spec(package)
    return str(Path(spec.origin).parent / program) if spec and spec.origin else program


_VERSIONS: dict[tuple[tuple[str, ...], int, int, int], str] = {}
"""What a program said of itself: (its command, inode, size, time of change) → version."""
_KEPT = "scanner-versions.json"
"""What they said at the install, so that no process of a run asks again: each takes up to half a second to start."""


def keep_versions(tools: "Iterable[Tool]") -> None:
    """Ask each tool, for every process of this installation to read."""
    _VERSIONS.clear()
    for tool in tools:
        tool.version()
    draft = installed() / f"{_KEPT}.new"
    draft.write_text(json.dumps([[*state, version] for state, version in _VERSIONS.items()]))
    draft.replace(installed() / _KEPT)


@functools.cache
def _kept_versions() -> dict[tuple[tuple[str, ...], int, int, int], str]:
    try:
        told = json.loads((installed() / _KEPT).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {(tuple(argv), inode, size, changed): version for argv, inode, size, changed, version in told}


class Tool(LockgateBlock):
    """A scanner that is a program."""

    _block_type_name = "Lockgate scanner"
    _block_type_slug = "lockgate-scanner"

    VERSION: ClassVar[tuple[str, ...]] = ("--version",)
    """Arguments that make it say its version."""
    CALLED: ClassVar[str | None] = None
    """The name that the program is started under, where that decides what it does."""

    name: str = Field("scanner", description="How findings call this scanner")
    program: str | None = Field(None, description="Path of the program; empty: the one installed with Lockgate")
    timeout_s: float = Field(120, gt=0, description="A scan that takes longer is stopped and refuses the change")

    def scan(self, base: Tree, head: Tree, changed: Sequence[str]) -> tuple[Finding, ...]:
        """Findings that are in `head` and not in `base`, sorted. A tool that fails gives one refusing finding."""
        wanted = set(changed)
        try:
            seen = self._look({"base": base, "head": head}, lambda tree: self._wanted(tree, wanted & tree.keys()))
        except (ScannerFailed, OSError) as err:
            return (self._failed(str(err)),)
        return self._new(self._weighed(seen, base, head))

    def doctor(self) -> str | None:
        """None if the tool finds its canary on this machine, else what is wrong and the fix."""
        try:
            self._look({"head": {}}, lambda _: ())
        except (ScannerFailed, OSError) as err:
            return f"{self.name}: {err}; install Lockgate's own requirements again, or set `program` of the block"
        return None

    def version(self) -> str:
        """The tool's version, or `unknown` if it does not say. It is asked once for each state of its program, those
        that came with Lockgate at the install."""
        argv = tuple(self._argv())
        try:
            program = os.stat(argv[0])
            state = (argv, program.st_ino, program.st_size, program.st_mtime_ns)
            if state not in _VERSIONS and (said := _kept_versions().get(state)):
                _VERSIONS[state] = said
            if state not in _VERSIONS:
                with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as folder:
                    _, output = self._run(self.VERSION, Path(folder))
                found = re.search(rb"\d+(?:\.\d+)+", output)
                if not found:
                    return "unknown"
                _VERSIONS[state] = found.group().decode()
        except (ScannerFailed, OSError):
            return "unknown"
        return _VERSIONS[state]

    def _wanted(self, tree: Tree, paths: Iterable[str]) -> Iterable[str]:
        return paths

    def _weighed(self, seen: list[ToolFinding], base: Tree, head: Tree) -> list[ToolFinding]:
        """What it saw, with what only a look at both sides tells."""
        return seen

    def _look(self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]) -> list[ToolFinding]:
        """What the tool sees in these files. Raises ScannerFailed."""
        raise NotImplementedError

    def _argv(self) -> list[str]:
        raise NotImplementedError

    def _failed(self, why: str) -> Finding:
        return FAILED.finding(Hit(f"{self.name} gave no answer: {why}"))

    def _new(self, seen: Iterable[ToolFinding]) -> tuple[Finding, ...]:
        ordered = sorted(seen, key=lambda one: (one.path, one.line, one.rule, one.key))
        known = Counter((one.rule, one.path, one.key) for one in ordered if one.side == "base")
        findings = []
        for one in ordered:
            key = (one.rule, one.path, one.key)
            if one.side == "head" and known[key] > 0:
                known[key] -= 1
            elif one.side == "head":
                findings.append(_finding(one))
        return tuple(findings)

    def _run(self, arguments: Sequence[str], folder: Path, may_be_silent: bool = False) -> tuple[int, bytes]:
        """(exit code, stdout) of the tool, run in `folder` with an environment from scratch.

        Raises ScannerFailed if it cannot be started, is killed, takes too long, prints too much, or prints nothing.
        """
        home = folder / "home"
        home.mkdir(mode=0o700, exist_ok=True)
        env = {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
        argv = [*self._argv(), *arguments]
        words = [self.CALLED or argv[0], *argv[1:]]
        with open(home / "stdout", "w+b") as out, open(home / "stderr", "w+b") as err:
            try:
                ran = run(words, program=argv[0], env=env, timeout_s=self.timeout_s, cwd=folder, out=out, err=err)
            except OSError as trouble:
                raise ScannerFailed(f"{argv[0]} cannot be started: {trouble.strerror or trouble}") from trouble
            code = ran.code
            if code is None:
                raise ScannerFailed(f"it took longer than {self.timeout_s:g} s")
            if os.fstat(out.fileno()).st_size > MAX_OUTPUT_BYTES:
                raise ScannerFailed(f"it printed more than {MAX_OUTPUT_BYTES:,} bytes")
            out.seek(0)
            output = out.read()
        if code < 0:
            raise ScannerFailed(f"it was ended by signal {-code}")
        if not output.strip() and not may_be_silent:
            raise ScannerFailed(f"it printed nothing and ended with exit code {code}")
        return code, output


def _finding(seen: ToolFinding) -> Finding:
    return Finding(
        gate="scan", rule=seen.rule, severity=seen.severity, message=seen.message, path=seen.path,
        line=seen.line or None, fix=seen.fix,
    )  # fmt: skip


def planted_secret() -> str:
    """A made-up token of a known kind, put together here so that no scanner takes this file for a leak."""
    return "gh" + "p_" + "Lq7Zr2Xw9Tn4Vb6Kc8Yd3Mf5Hs1Jg0Pa2Rb4"
