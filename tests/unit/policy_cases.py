"""What the policy tests build on: a small project, and the evidence of a change that did well."""

from collections.abc import Mapping
from typing import Any

from domain.brief import Acceptance, AcceptanceFile, Brief, Scope
from domain.migration import MigrationBudget, Rehearsal
from domain.policy import change_findings, judge
from domain.project import ProjectSettings
from domain.rehearsed import findings_of, reasons_of
from domain.task import Attempt, CaseOutcome, CaseRow, Evidence, Finding, Prepared, Rehearsed, Scanned, Tested, Verdict
from domain.trees import Tree, TreeEntry

COMMIT, BASE = "c" * 40, "b" * 40
ACCEPTANCE = AcceptanceFile(path="tests/test_search.py", content="def test_search():\n    assert search('a') == []\n")


def tree(files: Mapping[str, str | bytes | TreeEntry]) -> Tree:
    def entry(content: str | bytes | TreeEntry) -> TreeEntry:
        if isinstance(content, TreeEntry):
            return content
        return TreeEntry(0o100644, content.encode() if isinstance(content, str) else content)

    return {path: entry(content) for path, content in files.items()}


PROJECT = tree(
    {
        "README.md": "# Shop\n",
        "pyproject.toml": '[project]\ndependencies = ["flask"]\n\n[tool.pytest.ini_options]\naddopts = "-q"\n',
        "setup.cfg": "[metadata]\nname = shop\n\n[tool:pytest]\naddopts = -q\n",
        "requirements.txt": "flask==3.0\n",
        "lockgate.toml": 'test = "python -m pytest"\n',
        "shop/__init__.py": "",
        "shop/app.py": "import sys\n\n\ndef search(text):\n    return []\n\n\ndef main():\n    sys.exit(0)\n",
        "shop/auth.py": "def allowed(user):\n    return user.is_staff\n",
        "shop/logo.png": b"\x89PNG\0\0",
        "tests/__init__.py": "",
        "tests/conftest.py": "import pytest\n",
        "tests/test_app.py": "from shop.app import search\n\n\ndef test_nothing():\n    assert search('') == []\n",
        "tests/test_gone.py": "def test_old():\n    assert True\n",
    }
)


def prepared(*, may_change_tests: tuple[str, ...] = (), scope: Scope | None = None, **settings: Any) -> Prepared:
    brief = Brief(
        title="Add a search endpoint",
        goal="Add a `/v2/search` endpoint that returns JSON",
        repository="shop.git",
        acceptance=Acceptance(files=(ACCEPTANCE,)),
        may_change_tests=may_change_tests,
        scope=scope or Scope(),
    )
    return Prepared(
        run_id="run", brief=brief, base=BASE, settings=ProjectSettings(**settings), settings_source="lockgate.toml",
        contract="d" * 64, requirements=("flask==3.0", "pytest"),
    )  # fmt: skip


def head(changes: Mapping[str, str | bytes | TreeEntry | None]) -> Tree:
    """The project with these files put in; None takes one out."""
    gone = {path for path, content in changes.items() if content is None}
    kept = {path: entry for path, entry in PROJECT.items() if path not in gone}
    return kept | tree({path: content for path, content in changes.items() if content is not None})


def attempt(changed: Tree, **fields: Any) -> Attempt:
    paths = sorted(path for path in PROJECT.keys() | changed.keys() if PROJECT.get(path) != changed.get(path))
    values: dict[str, Any] = {
        "number": 1, "base": BASE, "commit": COMMIT, "changed_paths": tuple(paths), "added_lines": 10,
    }  # fmt: skip
    return Attempt(**{**values, **fields})


def found(changes: Mapping[str, str | bytes | TreeEntry | None], ready: Prepared | None = None) -> tuple[Finding, ...]:
    changed = head(changes)
    return change_findings(ready or prepared(), attempt(changed), PROJECT, changed)


def row(test: str, base: str, head: str, kind: str = "existing", message: str = "") -> CaseRow:
    return CaseRow(test=test, kind=kind, base=CaseOutcome(base), head=CaseOutcome(head), message=message)


GOOD_ROWS = (
    row("tests/test_search.py::test_search", "failed", "passed", "acceptance"),
    row("tests/test_app.py::test_nothing", "passed", "passed"),
    row("tests/test_gone.py::test_old", "passed", "passed"),
    row("tests/test_more.py::test_more", "missing", "passed", "new"),
)


def evidence(
    findings: tuple[Finding, ...] = (),
    rows: tuple[CaseRow, ...] = GOOD_ROWS,
    *,
    of: Attempt | None = None,
    tested: str = COMMIT,
    scanned: str = COMMIT,
    scanners: tuple[str, ...] = ("ruff 1",),
) -> Evidence:
    return Evidence(
        attempt=of or attempt(PROJECT),
        tested=Tested(commit=tested, rows=rows, sandbox="fake"),
        scanned=Scanned(commit=scanned, findings=findings, scanners=scanners),
    )


def judged(rehearsal: Rehearsal, budget: MigrationBudget) -> Verdict:
    """What the judge says of a change that has nothing against it but this. `reasons`: those that people are told."""
    findings, kind = findings_of(rehearsal, budget), rehearsal.migration_class
    seen = Rehearsed(commit=COMMIT, environment="shop", migration_class=kind, findings=findings, report="d")
    verdict = judge(prepared(), evidence().model_copy(update={"rehearsed": seen}))
    return verdict.model_copy(update={"reasons": tuple(reason for _, reason in reasons_of(rehearsal, budget))})
