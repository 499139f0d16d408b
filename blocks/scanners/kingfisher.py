"""kingfisher: secrets in files of any kind, in archives and in Base64. It asks nobody whether one is alive."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, Field, ValidationError

from blocks.home import home, installed
from blocks.scanners.examples import is_example, mark_of
from blocks.scanners.tool import Layout, ScannerFailed, Tool, ToolFinding, planted_secret
from domain.policy import Rule
from domain.spots import SecretSpot
from domain.task import Finding, Severity
from domain.trees import Tree

FOUND = 200
"""Its exit code where there are findings; 0 where there are none."""

PERSONS = frozenset(("generic-credential-uri",))
"""Kinds of a shape alone: postgres://postgres:postgres@db/app in a compose file has it too."""

RULES: tuple[Rule[None], ...] = (
    Rule(
        "kingfisher/*", "scan", Severity.REFUSE,
        "Keys, tokens and passwords of known kinds, in any file, test or not, also in archives and Base64. The finding "
        f"names kind, place and a short hash, never the value. {', '.join(PERSONS)} goes to a person. Examples that a "
        "vendor's documentation prints, and those of `example_secrets` on base, are none.",
        "What is committed once is public from then on.",
        "read it from the environment, and revoke it if it ever was real",
        lambda _: (),
    ),
)  # fmt: skip


class _Kind(BaseModel):
    id: str
    name: str


class _Place(BaseModel):
    path: str
    line: int
    snippet: str
    encoding: str | None = None
    dependent_captures: dict[str, str] = {}


class _Secret(BaseModel):
    rule: _Kind
    finding: _Place


class _Counts(BaseModel):
    scan_partial: int
    scan_failed: int


class _Audit(BaseModel):
    summary: _Counts


class _Report(BaseModel):
    findings: list[_Secret]
    audit: _Audit


class Kingfisher(Tool):
    """kingfisher, over all changed files on both sides, or over a whole tree."""

    _block_type_name: ClassVar[str] = "Lockgate kingfisher"
    _block_type_slug: ClassVar[str] = "lockgate-kingfisher"
    _description: ClassVar[str] = "Secrets in changed files, new against base, and in a whole tree."

    name: str = Field("kingfisher", description="How findings call this scanner")
    program: str | None = Field(None, description="Path of kingfisher; empty: the one installed with Lockgate")
    timeout_s: float = Field(300, gt=0, description="A scan that takes longer is stopped and refuses the change")
    examples: tuple[str, ...] = Field(
        (), description="Values that are no secrets, by the eight hex digits that a finding says of each"
    )

    def scan_all(self, tree: Tree) -> tuple[Finding, ...]:
        """Every secret in a tree, sorted by path. A tool that fails gives one refusing finding."""
        return self.secrets(tree)[0]

    def secrets(self, tree: Tree) -> tuple[tuple[Finding, ...], tuple[SecretSpot, ...]]:
        """`scan_all`, and the values with their places, for redaction alone: they are never kept."""
        try:
            found = self._find({"head": tree}, lambda tree: tree.keys())
        except (ScannerFailed, OSError) as err:
            return (self._failed(str(err)),), ()
        hidden = tuple(secret for seen, place in found for secret in _values(seen, place))
        return self._new(seen for seen, _ in found), hidden

    def prepare(self) -> None:
        """Compile the rules for homes to copy. What fails here fails in them again, and is told there."""
        with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as folder, contextlib.suppress(ScannerFailed):
            (Path(folder) / "empty").mkdir()
            self._run(_words(_folder(_compiled()), "empty"), Path(folder))

    def _argv(self) -> list[str]:
        if self.program:
            return [self.program]
        spec = importlib.util.find_spec("kingfisher")
        inside = Path(spec.origin).parent / "bin" / "kingfisher" if spec and spec.origin else None
        return [str(inside if inside and inside.exists() else Path(sys.executable).parent / "kingfisher")]

    def _look(self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]) -> list[ToolFinding]:
        return [seen for seen, _ in self._find(trees, paths)]

    def _find(
        self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]
    ) -> list[tuple[ToolFinding, _Place]]:
        with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as folder:
            layout = Layout(Path(folder) / "tree", trees, paths)
            layout.write("canary.txt", f"token = '{planted_secret()}'\n".encode())
            code, output = self._run(_words(_cache(), "tree"), Path(folder))
            if code not in (0, FOUND):
                raise ScannerFailed(f"it ended with exit code {code}")
            try:
                report = _Report.model_validate_json(output)
            except ValidationError:
                raise ScannerFailed("it printed something else than its report") from None  # the report holds secrets
            counts = report.audit.summary
            if counts.scan_failed or counts.scan_partial:
                raise ScannerFailed("it could not read all that it was given")
            planted = [secret for secret in report.findings if Path(secret.finding.path).name == "canary.txt"]
            if not any(secret.finding.snippet == planted_secret() for secret in planted):
                raise ScannerFailed("it missed what was planted for it")
            return [
                (_secret(secret, layout), secret.finding)
                for secret in report.findings
                if secret not in planted and not is_example(secret.finding.snippet.encode(), self.examples)
            ]


def _values(seen: ToolFinding, place: _Place) -> Iterator[SecretSpot]:
    """The value, and those that it is used with, such as the secret half of a pair of keys."""
    kind, is_encoded = seen.rule.partition("/")[2], place.encoding is not None
    last = seen.line + place.snippet.count("\n")
    yield SecretSpot(seen.path, kind, seen.line, last, place.snippet.encode(), is_encoded)
    for value in place.dependent_captures.values():  # they stand anywhere in the file
        yield SecretSpot(seen.path, kind, min(seen.line, 1), sys.maxsize, value.encode(), is_encoded)


def _words(rules: Path, tree: str) -> list[str]:
    return ["scan", "--no-validate", "--no-update-check", "--format", "json", "--quiet", "--no-dedup", "--no-ignore",
            "--git-history", "none", "--rule-cache-dir", str(rules), tree]  # fmt: skip


def _cache() -> Path:
    """Where the compiled rules stay: a scan takes 0.4 s instead of 5 s of a processor. Only the tool writes there; a
    new home begins with what was compiled at the install, of which the tool takes what fits its rules and version."""
    wanted = home() / "cache" / "kingfisher"
    is_new = not wanted.exists()
    folder = _folder(wanted)
    if is_new and _compiled().is_dir():
        for rules in _compiled().iterdir():
            with contextlib.suppress(OSError):  # it is only time that is lost
                copy = shutil.copyfile(rules, folder / f"{rules.name}.{os.getpid()}.new")
                os.replace(copy, folder / rules.name)
    return folder


def _compiled() -> Path:
    return installed() / "kingfisher"


def _folder(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise ScannerFailed(f"its cache {path} cannot be made: {err.strerror}") from err
    return path


def _secret(secret: _Secret, layout: Layout) -> ToolFinding:
    place, _, inner = secret.finding.path.partition("!")
    side, path = layout.origin(place)
    value = secret.finding.snippet.encode()
    mark = hashlib.sha256(value).hexdigest()
    message = f"a secret of the kind {secret.rule.name} (hash {mark_of(value)})" + (
        ", inside of the archive" if inner else ""
    )
    return ToolFinding(
        side=side, path=path, line=0 if inner else secret.finding.line, rule=f"kingfisher/{secret.rule.name}",
        severity=Severity.PERSON if secret.rule.name in PERSONS else Severity.REFUSE, message=message, key=mark,
        fix=RULES[0].fix,
    )  # fmt: skip
