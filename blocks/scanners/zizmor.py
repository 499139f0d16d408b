"""zizmor: weaknesses in GitHub workflows and actions; and, for any CI, steps that are told not to fail. Offline."""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from blocks.scanners.tool import Layout, ScannerFailed, Tool, ToolFinding, beside
from domain.paths import matches
from domain.policy import Rule
from domain.task import Severity
from domain.trees import LINK, Tree

REFUSALS = frozenset(("bot-conditions", "dangerous-triggers", "dependabot-execution", "github-env", "insecure-commands",
                      "hardcoded-container-credentials", "overprovisioned-secrets", "template-injection",
                      "unsound-condition"))  # fmt: skip
"""Audits that refuse where zizmor itself calls the finding of high severity and at least medium confidence."""

WORKFLOWS = (".github/workflows/*.yml", ".github/workflows/*.yaml")
ACTIONS = ("**/action.yml", "**/action.yaml")
DEPENDABOT = (".github/dependabot.yml", ".github/dependabot.yaml")
CI_FILES = (
    *WORKFLOWS, *ACTIONS, ".gitlab-ci.yml", ".gitlab/**", ".circleci/**", "azure-pipelines*.yml", ".azure-pipelines/**",
    "bitbucket-pipelines.yml", ".drone.yml", ".travis.yml", "appveyor.yml", "cloudbuild.y*ml", ".buildkite/**",
    ".woodpecker/**", "Jenkinsfile*", ".ci/**", "ci/**", ".github/**/*.sh",
)  # fmt: skip
MAX_FILES = 200
UNPARSED = "zizmor/unparsed"

_CANARY = """on: issues
jobs:
  canary:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.issue.title }}
"""


class _CiRule(NamedTuple):
    name: str
    pattern: re.Pattern[str]
    message: str


_CI_RULES = (
    _CiRule("ci/failure-ignored", re.compile(
        r"\|\|[\s\\]*(?:true\b|:(?!\S)|echo\b|exit\s+0|/bin/true)|;\s*(?:true|exit\s+0)\s*(?:$|[\"'#;])|\bset\s+\+e\b"
        r"|--(?:exit-zero|passWithNoTests|no-error-on-unmatched-pattern)\b", re.MULTILINE
    ), "a command may fail without anyone noticing"),
    _CiRule("ci/continue-on-error", re.compile(
        r"[\"']?(?:continue-on-error|allow_failure|continueOnError|ignore_failure|soft_fail)[\"']?\s*:\s*"
        r"(?![\"']?(?:false|no|off)\b)\S"
    ), "a step may fail and the job is green"),
    _CiRule("ci/outsiders-code", re.compile(
        r"\bpull_request_target\b|\bworkflow_run[\"']?\s*:"
    ), "a workflow with secrets runs for what outsiders send"),
)  # fmt: skip

RULES: tuple[Rule[None], ...] = (
    Rule(
        "zizmor/*", "scan", Severity.REFUSE,
        f"Weaknesses in GitHub workflows, actions and Dependabot settings. {', '.join(sorted(REFUSALS))} of high "
        "severity refuse, low severity is a note, the rest goes to a person.",
        "A workflow runs with the repository's rights and secrets.",
        "do what the audit's page under docs.zizmor.sh/audits says; its comments to ignore do not count here",
        lambda _: (),
    ),
    Rule(
        UNPARSED, "scan", Severity.PERSON,
        "A workflow, action or Dependabot file that is no YAML, or not of the form that GitHub takes.",
        "It was not scanned, and unknown is not a pass.",
        "mend it; a reviewer agrees where GitHub takes it all the same",
        lambda _: (),
    ),
    Rule(
        "ci/failure-ignored", "scan", Severity.REFUSE,
        "New `|| true`, `|| :`, `|| exit 0`, `; true`, `set +e`, --exit-zero and their like in a CI file.",
        "A check that cannot fail is no check.",
        "let the step fail; test beforehand for what may be missing",
        lambda _: (),
    ),
    Rule(
        "ci/continue-on-error", "scan", Severity.REFUSE,
        "New continue-on-error, allow_failure, continueOnError or soft_fail that is not false.",
        "A check that cannot fail is no check.",
        "let the step fail",
        lambda _: (),
    ),
    Rule(
        "ci/outsiders-code", "scan", Severity.REFUSE,
        "New pull_request_target or workflow_run triggers.",
        "They run with the repository's secrets on what anyone sends.",
        "use pull_request",
        lambda _: (),
    ),
)  # fmt: skip
_FIXES = {rule.name: rule.fix for rule in RULES}


class _Weight(BaseModel):
    confidence: Literal["Unknown", "Low", "Medium", "High"]
    severity: Literal["Unknown", "Informational", "Low", "Medium", "High"]


class _Local(BaseModel):
    verbatim_path: str


class _Key(BaseModel):
    Local: _Local


class _Symbolic(BaseModel):
    key: _Key
    annotation: str
    kind: str


class _Point(BaseModel):
    row: int


class _Span(BaseModel):
    start_point: _Point


class _Concrete(BaseModel):
    location: _Span


class _Place(BaseModel):
    symbolic: _Symbolic
    concrete: _Concrete


class _Issue(BaseModel):
    ident: str
    desc: str
    url: str
    determinations: _Weight
    locations: list[_Place] = Field(min_length=1)

    @property
    def primary(self) -> _Place:
        return next((place for place in self.locations if place.symbolic.kind == "Primary"), self.locations[0])


_REPORT = TypeAdapter(list[_Issue])


class Zizmor(Tool):
    """zizmor, over changed workflows and actions on both sides, and line rules over changed CI files."""

    _block_type_name: ClassVar[str] = "Lockgate zizmor"
    _block_type_slug: ClassVar[str] = "lockgate-zizmor"
    _description: ClassVar[str] = "Weaknesses in CI files, new against base."

    name: str = Field("zizmor", description="How findings call this scanner")
    program: str | None = Field(None, description="Path of zizmor; empty: the one installed with Lockgate")

    def _argv(self) -> list[str]:
        return [self.program or beside("zizmor")]

    def _wanted(self, tree: Tree, paths: Iterable[str]) -> Iterable[str]:
        for path in paths:
            if tree[path].mode != LINK and matches(path, (*CI_FILES, *DEPENDABOT)):
                yield path

    def _look(self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]) -> list[ToolFinding]:
        seen = [one for side, tree in trees.items() for path in paths(tree) for one in _lines(side, path, tree)]
        with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as name:
            folder = Path(name)
            layout = Layout(folder / "tree", trees, lambda tree: filter(_is_githubs, paths(tree)), suffix=_suffix)
            layout.write("canary.yml", _CANARY.encode())
            if len(layout) > MAX_FILES:
                raise ScannerFailed(f"{len(layout)} changed workflows are more than the {MAX_FILES} that it is given")
            files = [f"tree/{one}" for one in layout.names]
            issues = self._audit(["tree/canary.yml", *files], folder)
            if issues is None:  # one that cannot be read keeps it from reading the others
                issues = self._audit(["tree/canary.yml"], folder) or []
                for file in files:
                    found = self._audit([file], folder)
                    issues += found or []
                    seen += [_unread(*layout.origin(file))] if found is None else []
            planted = [i for i in issues if i.primary.symbolic.key.Local.verbatim_path == "tree/canary.yml"]
            if not any(issue.ident == "template-injection" for issue in planted):
                raise ScannerFailed("it missed what was planted for it")
            return seen + [_seen(issue, layout) for issue in issues if issue not in planted]

    def _audit(self, files: list[str], folder: Path) -> list[_Issue] | None:
        """What it finds; None if it cannot read one of the files."""
        code, output = self._run(
            ["--offline", "--format", "json-v1", "--no-exit-codes", "--no-config", "--no-ignores", "--no-progress",
             "--quiet", "--strict-collection", "--", *files], folder, may_be_silent=True,
        )  # fmt: skip
        if code == 1 and not output.strip():
            return None
        if code or not output.strip():
            raise ScannerFailed(f"it printed nothing and ended with exit code {code}" if not output.strip()
                                else f"it ended with exit code {code}")  # fmt: skip
        try:
            return _REPORT.validate_json(output)
        except ValidationError as err:
            raise ScannerFailed("it printed something else than its report") from err


def _is_githubs(path: str) -> bool:
    return matches(path, (*WORKFLOWS, *ACTIONS, *DEPENDABOT))


def _suffix(path: str) -> str:
    """zizmor tells actions and Dependabot files from workflows by their whole names."""
    whole = matches(path, (*ACTIONS, *DEPENDABOT)) and not matches(path, WORKFLOWS)
    return f"/{PurePosixPath(path).name}" if whole else ".yml"


def _lines(side: str, path: str, tree: Tree) -> Iterator[ToolFinding]:
    if not matches(path, CI_FILES):
        return
    text = tree[path].content.decode("utf-8", "replace")
    lines = text.split("\n")
    for rule in _CI_RULES:
        for found in rule.pattern.finditer(text):
            number = text.count("\n", 0, found.start()) + 1
            line = lines[number - 1]
            if not line.lstrip().startswith(("#", "//")):
                yield ToolFinding(
                    side=side, path=path, line=number, rule=rule.name, severity=Severity.REFUSE, message=rule.message,
                    key=" ".join(line.split()), fix=_FIXES[rule.name],
                )  # fmt: skip


def _seen(issue: _Issue, layout: Layout) -> ToolFinding:
    place = issue.primary
    side, path = layout.origin(place.symbolic.key.Local.verbatim_path)
    line = place.concrete.location.start_point.row + 1
    return ToolFinding(
        side=side, path=path, line=line, rule=f"zizmor/{issue.ident}", severity=_severity(issue),
        message=f"{issue.desc}: {place.symbolic.annotation}", key=layout.line(side, path, line), fix=issue.url,
    )  # fmt: skip


def _severity(issue: _Issue) -> Severity:
    weight = issue.determinations
    if weight.severity in ("Low", "Informational"):
        return Severity.NOTE
    sure = weight.severity == "High" and weight.confidence in ("Medium", "High")
    return Severity.REFUSE if sure and issue.ident in REFUSALS else Severity.PERSON


def _unread(side: str, path: str) -> ToolFinding:
    """Never the same on both sides: a file that was unknown before is still unknown."""
    message = "zizmor could not read this file"
    return ToolFinding(side=side, path=path, line=0, rule=UNPARSED, severity=Severity.PERSON, message=message, key=side)
