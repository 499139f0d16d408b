"""What semgrep, zizmor, squawk and gitleaks see, each in files of its own; and that one that is not sure refuses."""

import base64
import gzip
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from blocks.scanners import gitleaks, semgrep, squawk, zizmor
from blocks.scanners.gitleaks import Gitleaks, merged
from blocks.scanners.kingfisher import Kingfisher
from blocks.scanners.semgrep import Semgrep
from blocks.scanners.squawk import Squawk
from blocks.scanners.tool import FAILED, Tool
from blocks.scanners.zizmor import Zizmor
from domain.task import Finding, Severity
from tests.contract.semgrep_examples import EXAMPLES
from tests.contract.test_scanner import scan, secret, tree

RULES = (*semgrep.RULES, *zizmor.RULES, *squawk.RULES, *gitleaks.RULES, FAILED)
REFUSE, PERSON, NOTE = Severity.REFUSE, Severity.PERSON, Severity.NOTE

Make = Callable[..., Tool]


class Case(NamedTuple):
    """A file with one weakness on the last of its lines, and its weight."""

    kind: type[Tool]
    path: str
    before: str
    weak: str
    severity: Severity
    config: dict[str, str]
    look_away: str


WORKFLOW = """on: push
permissions: {}
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - run: make test
"""

CASES = [
    Case(
        Semgrep, "app/new.py", "import yaml\n", "x = yaml.load(text)\n", REFUSE,
        {".semgrepignore": "*\n", ".semgrep.yml": "rules: []\n"}, "  # nosemgrep",
    ),
    Case(
        Zizmor, ".github/workflows/new.yml", WORKFLOW, "      - run: echo ${{ github.head_ref }}\n", REFUSE,
        {"zizmor.yml": "rules: {template-injection: {disable: true}}\n"}, "  # zizmor: ignore[template-injection]",
    ),
    Case(
        Squawk, "db/new.sql", "select 1;\n", "drop table products;\n", PERSON,
        {".squawk.toml": "excluded_rules = ['ban-drop-table']\n"}, "  -- squawk-ignore ban-drop-table",
    ),
    Case(
        Gitleaks, "app/new.txt", "# a\n", f"TOKEN = '{secret()}'\n", REFUSE,
        {".gitleaks.toml": "[allowlist]\npaths = ['''.*''']\n", ".gitleaksignore": "app/new.txt:github-pat:1\n"},
        "  # gitleaks:allow",
    ),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: case.kind.__name__.lower())
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture
def fake(tmp_path: Path, case: Case) -> Make:
    """A scanner whose program is this shell script."""

    def make(script: str, timeout_s: float = 20) -> Tool:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)
        return case.kind(program=str(program), timeout_s=timeout_s)

    return make


def heavy(findings: tuple[Finding, ...]) -> list[tuple[Severity, str | None, int | None]]:
    return [(f.severity, f.path, f.line) for f in findings if f.severity is not NOTE]


def test_it_works_here_and_says_its_version(case: Case) -> None:
    assert case.kind().doctor() is None
    assert case.kind().version()[0].isdigit()


def test_a_weakness_in_a_new_file_is_found_with_its_place(case: Case) -> None:
    text = case.before + case.weak
    assert heavy(scan(case.kind(), {}, {case.path: text})) == [(case.severity, case.path, text.count("\n"))]


def test_what_base_has_is_not_found_again_where_lines_move(case: Case) -> None:
    text = case.before + case.weak
    moved = case.before.replace("\n", "\n\n", 1) + case.weak
    assert moved != text
    assert scan(case.kind(), {case.path: text}, {case.path: moved}) == ()


def test_a_second_one_like_it_is_new(case: Case) -> None:
    text = case.before + case.weak
    assert len(heavy(scan(case.kind(), {case.path: text}, {case.path: text + case.weak}))) == 1


def test_what_goes_away_is_no_finding(case: Case) -> None:
    assert scan(case.kind(), {case.path: case.before + case.weak}, {case.path: case.before}) == ()


def test_files_that_did_not_change_are_not_looked_at(case: Case) -> None:
    assert case.kind().scan({}, tree({case.path: case.before + case.weak}), ["other"]) == ()


def test_neither_comments_nor_configuration_tell_it_to_look_away(case: Case) -> None:
    comment = case.look_away.strip()
    weak = f"{comment}\n{case.weak.rstrip()}{case.look_away}\n"
    head: dict[str, str | bytes] = {**case.config, case.path: case.before + weak}
    assert [finding[:2] for finding in heavy(scan(case.kind(), {}, head))] == [(case.severity, case.path)]


def test_every_rule_that_it_names_is_documented(case: Case) -> None:
    names = [rule.name.partition("*")[0] for rule in RULES]
    for finding in scan(case.kind(), {}, {case.path: case.before + case.weak}):
        assert any(finding.rule.startswith(name) for name in names), finding.rule


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", "printed nothing"),
        ("exit 1", "gave no answer"),
        ("echo '[]'", "gave no answer"),
        ("echo '{}'", "something else than its report"),
        ('echo \'{"version": "1", "results": [], "errors": [], "paths": {"scanned": []}, "skipped_rules": []}\'',
         "gave no answer"),
        ("echo 'all good, nothing found'", "something else than its report"),
        ("printf '\\377\\376'", "something else than its report"),
        ("echo '[]'; exit 7", "exit code 7"),
        ("echo '['; kill -9 $$", "signal 9"),
    ],
)  # fmt: skip
def test_a_program_that_says_nothing_that_can_be_believed_refuses(
    fake: Make, case: Case, script: str, why: str
) -> None:
    findings = scan(fake(script), {}, {case.path: case.before})
    assert [(f.rule, f.severity) for f in findings] == [("scanner-failed", REFUSE)]
    assert why in findings[0].message
    assert fake(script).doctor()


def test_a_program_that_hangs_is_stopped_and_refuses(fake: Make, case: Case) -> None:
    (finding,) = scan(fake("sleep 600", timeout_s=0.3), {}, {case.path: case.before})
    assert (finding.rule, "longer than 0.3 s" in finding.message) == ("scanner-failed", True)


def test_a_program_that_is_missing_refuses_and_the_doctor_says_so(case: Case) -> None:
    scanner = case.kind(program="/nowhere/scanner")
    (finding,) = scan(scanner, {}, {case.path: case.before})
    assert (finding.rule, finding.severity) == ("scanner-failed", REFUSE)
    assert "/nowhere/scanner cannot be started" in str(scanner.doctor())
    assert scanner.version() == "unknown"


def test_nothing_is_left_behind(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scan(case.kind(), {}, {case.path: case.before + case.weak})
    assert list(tmp_path.iterdir()) == []


# semgrep alone


@pytest.fixture(scope="module")
def seen_by_semgrep() -> tuple[Finding, ...]:
    return scan(Semgrep(), {}, {f"{rule}/{example.path}": example.text for rule, example in EXAMPLES.items()})


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_rule_sees_its_bad_lines_and_no_others(seen_by_semgrep: tuple[Finding, ...], rule: str) -> None:
    path, text = f"{rule}/{EXAMPLES[rule].path}", EXAMPLES[rule].text
    bad = [number for number, line in enumerate(text.split("\n"), start=1) if "BAD" in line]
    assert bad
    assert [f.line for f in seen_by_semgrep if (f.rule, f.path) == (f"semgrep/{rule}", path)] == bad


def test_every_semgrep_rule_has_an_example() -> None:
    shown = {f"semgrep/{rule}" for rule in EXAMPLES}
    assert {rule.name for rule in semgrep.RULES} - shown == {
        "semgrep/python-auth-removed", "semgrep/javascript-auth-removed", "semgrep/unparsed"
    }  # fmt: skip


GUARDED_PYTHON = """\
@app.get("/a")
@login_required
def orders():
    return 1

@app.get("/b")
def bills(user=Depends(get_current_user)):
    return 2

@app.get("/c", dependencies=[Depends(require_admin)])
async def admin():
    return 3

@app.get("/d")
async def typed(user: Annotated[User, Depends(current_user)]):
    return 4

@requires_role("admin")
def purge():
    return 5

class Carts(APIView):
    permission_classes = [IsAdminUser]

@method_decorator(login_required, name="dispatch")
class Pages(View):
    pass
"""
GUARDED_JAVASCRIPT = """\
app.get("/a", requireAuth, (req, res) => res.send("a"));
app.post("/b", auth({ role: "admin" }), handler);
router.use(authenticate);
@UseGuards(JwtAuthGuard)
class Orders {
  @Roles("admin")
  remove() { return 1; }
}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("@login_required\ndef", "def", "orders is no longer behind login_required"),
        ("user=Depends(get_current_user)", "", "bills is no longer behind get_current_user"),
        (", dependencies=[Depends(require_admin)]", "", "admin is no longer behind require_admin"),
        ("user: Annotated[User, Depends(current_user)]", "", "typed is no longer behind current_user"),
        ('@requires_role("admin")\n', "", "purge is no longer behind requires_role"),
        ('@requires_role("admin")\n', '@requires_role("guest")\n', "purge is no longer behind requires_role"),
        ("    permission_classes = [IsAdminUser]", "    pass", "Carts is no longer behind IsAdminUser"),
        ('@method_decorator(login_required, name="dispatch")\n', "", "Pages is no longer behind login_required"),
        ("requireAuth, ", "", "/a is no longer behind requireAuth"),
        ('auth({ role: "admin" }), ', "", '/b is no longer behind auth({ role: "admin" })'),
        ("router.use(authenticate);", "router.get();", "router is no longer behind authenticate"),
        ("@UseGuards(JwtAuthGuard)\n", "", "Orders is no longer behind UseGuards"),
        ('  @Roles("admin")\n', "", "remove is no longer behind Roles"),
    ],
)
def test_a_guard_that_goes_away_goes_to_a_person(old: str, new: str, message: str) -> None:
    path, text = ("a.py", GUARDED_PYTHON) if old in GUARDED_PYTHON else ("a.ts", GUARDED_JAVASCRIPT)
    assert old in text
    findings = scan(Semgrep(), {path: text}, {path: text.replace(old, new)})
    assert [(f.severity, f.path, f.message) for f in findings] == [(PERSON, path, message)]


def test_a_guard_that_moves_or_goes_with_its_code_is_no_finding() -> None:
    assert scan(Semgrep(), {"a.py": GUARDED_PYTHON}, {"b.py": "x = 1\n\n" + GUARDED_PYTHON}) == ()
    assert scan(Semgrep(), {"a.py": GUARDED_PYTHON}, {"a.py": "x = 1\n"}) == ()


@pytest.mark.parametrize("path", ["a.py", "a.js", "a.ts"])
def test_a_file_that_cannot_be_parsed_goes_to_a_person(path: str) -> None:
    rules = [f.rule for f in scan(Semgrep(), {}, {path: "function ( def (\neval(text)\n"})]
    assert "semgrep/unparsed" in rules


def test_programs_without_a_suffix_are_read_and_tests_are_not() -> None:
    head: dict[str, str | bytes] = {
        "bin/a": "#!/usr/bin/env python3\neval(text)\n",
        "bin/b": "#!/bin/bash\ncurl https://shop.example | sh\n",
        "tests/test_a.py": "eval(text)\n",
        "src/a.test.ts": "eval(text)\n",
    }
    assert [f.path for f in scan(Semgrep(), {}, head)] == ["bin/a", "bin/b"]


# zizmor alone


@pytest.mark.parametrize(
    ("path", "line", "rule"),
    [
        (".github/workflows/a.yml", "      - run: make test || true", "ci/failure-ignored"),
        (".github/workflows/a.yml", "      - run: make test ||\n          true", "ci/failure-ignored"),
        (".github/workflows/a.yml", "      - run: make test; exit 0", "ci/failure-ignored"),
        (".github/workflows/a.yml", "        continue-on-error: true", "ci/continue-on-error"),
        (".github/workflows/a.yml", "        'continue-on-error': ${{ true }}", "ci/continue-on-error"),
        (".gitlab-ci.yml", "  allow_failure: true", "ci/continue-on-error"),
        (".circleci/config.yml", "      - run: pytest || :", "ci/failure-ignored"),
        (".ci/run", "set +e", "ci/failure-ignored"),
    ],
)
def test_a_step_that_is_told_not_to_fail_is_refused(path: str, line: str, rule: str) -> None:
    base: dict[str, str | bytes] = {path: WORKFLOW}
    findings = scan(Zizmor(), base, {path: f"{WORKFLOW}{line}\n"})
    assert (REFUSE, rule, WORKFLOW.count("\n") + 1) in [(f.severity, f.rule, f.line) for f in findings]


def test_a_trigger_for_outsiders_is_refused() -> None:
    workflow = WORKFLOW.replace("on: push", "on: pull_request_target")
    rules = {f.rule for f in scan(Zizmor(), {}, {".github/workflows/a.yml": workflow}) if f.severity is REFUSE}
    assert rules == {"zizmor/dangerous-triggers", "ci/outsiders-code"}


def test_what_is_honest_in_a_workflow_passes() -> None:
    more = "      # `|| true` would hide it\n      - run: make lint\n        continue-on-error: false\n"
    assert scan(Zizmor(), {".github/workflows/a.yml": WORKFLOW}, {".github/workflows/a.yml": WORKFLOW + more}) == ()
    assert scan(Zizmor(), {}, {"Makefile": "clean:\n\trm x || true\n", "docs/a.yml": "a: [\n"}) == ()


def test_actions_and_dependabot_files_are_known_by_their_names() -> None:
    action = (
        "name: a\ndescription: b\nruns:\n  using: composite\n  steps:\n"
        "    - run: echo ${{ github.head_ref }}\n      shell: bash\n"
    )
    dependabot = (
        "version: 2\nupdates:\n  - package-ecosystem: pip\n    directory: /\n    schedule: {interval: daily}\n"
        "    insecure-external-code-execution: allow\n"
    )
    head: dict[str, str | bytes] = {"tools/x/action.yml": action, ".github/dependabot.yml": dependabot}
    refused = {(f.rule, f.path) for f in scan(Zizmor(), {}, head) if f.severity is REFUSE}
    assert refused == {
        ("zizmor/template-injection", "tools/x/action.yml"), ("zizmor/dependabot-execution", ".github/dependabot.yml")
    }  # fmt: skip


def test_one_workflow_that_cannot_be_read_does_not_hide_another() -> None:
    head: dict[str, str | bytes] = {
        ".github/workflows/a.yml": "jobs: [\n",
        ".github/workflows/b.yml": WORKFLOW + "      - run: echo ${{ github.head_ref }}\n",
    }
    findings = scan(Zizmor(), {}, head)
    assert [(f.rule, f.severity, f.path) for f in findings] == [
        ("zizmor/unparsed", PERSON, ".github/workflows/a.yml"),
        ("zizmor/template-injection", REFUSE, ".github/workflows/b.yml"),
    ]


# squawk alone

ALEMBIC = """from alembic import op
import sqlalchemy as sa


def upgrade():
    op.create_table("new", sa.Column("id", sa.Integer))
    op.create_index("i", "new", ["id"])
    {line}


def downgrade():
    op.drop_table("new")
    op.drop_column("old", "a")
"""
DJANGO = """from django.db import migrations, models


class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel("new", fields=[]),
        migrations.AddIndex("new", models.Index(fields=["a"], name="i")),
        {line}
    ]
"""


@pytest.mark.parametrize(
    ("template", "line", "rule"),
    [
        (ALEMBIC, 'op.drop_table("old")', "ban-drop-table"),
        (ALEMBIC, 'op.drop_column("old", "a")', "ban-drop-column"),
        (ALEMBIC, 'op.alter_column("old", "a", type_=sa.Text)', "changing-column-type"),
        (ALEMBIC, 'op.alter_column("old", "a", nullable=False)', "adding-not-nullable-field"),
        (ALEMBIC, 'op.alter_column("old", "a", new_column_name="b")', "renaming-column"),
        (ALEMBIC, 'op.rename_table("old", "older")', "renaming-table"),
        (ALEMBIC, 'op.add_column("old", sa.Column("a", sa.Text, nullable=False))', "adding-required-field"),
        (ALEMBIC, 'op.create_index("j", "old", ["a"])', "require-concurrent-index-creation"),
        (ALEMBIC, 'op.create_unique_constraint("u", "old", ["a"])', "disallowed-unique-constraint"),
        (ALEMBIC, 'op.create_foreign_key("f", "old", "other", ["a"], ["b"])', "adding-foreign-key-constraint"),
        (ALEMBIC, 'op.execute("alter table old drop column a")', "ban-drop-column"),
        (ALEMBIC, 'op.execute(sa.text("drop table old"))', "ban-drop-table"),
        (ALEMBIC, 'op.execute(f"drop table {name}")', "unparsed"),
        (DJANGO, 'migrations.RemoveField("old", "a"),', "ban-drop-column"),
        (DJANGO, 'migrations.DeleteModel("old"),', "ban-drop-table"),
        (DJANGO, 'migrations.RenameField("old", "a", "b"),', "renaming-column"),
        (DJANGO, 'migrations.AddField("old", "a", models.IntegerField(default=1)),', "adding-required-field"),
        (DJANGO, 'migrations.AddIndex("old", models.Index(fields=["a"])),', "require-concurrent-index-creation"),
        (DJANGO, 'migrations.RunSQL("drop table old"),', "ban-drop-table"),
    ],
)  # fmt: skip
def test_a_dangerous_migration_in_python_goes_to_a_person(template: str, line: str, rule: str) -> None:
    text = template.format(line=line)
    place = None if rule == "unparsed" else text[: text.index(line)].count("\n") + 1
    findings = [f for f in scan(Squawk(), {}, {"migrations/a.py": text}) if f.severity is not NOTE]
    assert [(f.rule, f.severity, f.line) for f in findings] == [(f"squawk/{rule}", PERSON, place)]


@pytest.mark.parametrize(
    ("template", "line"),
    [
        (ALEMBIC, 'op.add_column("old", sa.Column("a", sa.Text))'),
        (ALEMBIC, 'op.create_index("j", "old", ["a"], postgresql_concurrently=True)'),
        (DJANGO, 'migrations.AddField("old", "a", models.IntegerField(null=True)),'),
    ],
)
def test_a_migration_that_only_adds_passes(template: str, line: str) -> None:
    assert scan(Squawk(), {}, {"migrations/a.py": template.format(line=line)}) == ()


def test_what_is_no_migration_is_not_read() -> None:
    head: dict[str, str | bytes] = {"a.sql": "select * from {{ table }};\n", "b.py": "db.drop_table('a')\n"}
    assert scan(Squawk(), {}, head) == ()


@pytest.mark.parametrize(
    ("path", "text"), [("a.sql", "create table ((\n"), ("a.py", "from alembic import op\ndef (\n")]
)
def test_a_migration_that_cannot_be_read_goes_to_a_person(path: str, text: str) -> None:
    assert [(f.rule, f.severity) for f in scan(Squawk(), {}, {path: text})] == [("squawk/unparsed", PERSON)]


# gitleaks alone


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("tests/test_a.py", f"TOKEN = '{secret()}'\n".encode()),
        (".env", f"TOKEN={secret()}\n".encode()),
        ("picture.svg", f"<!-- {secret()} -->\n".encode()),
        ("node_modules/a/b.lock", f"TOKEN={secret()}\n".encode()),
        ("notes.txt.gz", gzip.compress(f"TOKEN={secret()}\n".encode(), mtime=0)),
        ("encoded.txt", base64.b64encode(f"TOKEN={secret()} and more".encode())),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_secrets_are_found_in_files_of_every_kind(path: str, content: bytes) -> None:
    findings = scan(Gitleaks(), {}, {path: content})
    assert [(f.path, f.severity) for f in findings] == [(path, REFUSE)]
    assert secret() not in findings[0].model_dump_json()


def test_a_secret_in_place_of_another_is_new() -> None:
    findings = scan(Gitleaks(), {"a.py": f"TOKEN = '{secret()}'\n"}, {"a.py": f"TOKEN = '{secret(3)}'\n"})
    assert [f.rule for f in findings] == ["gitleaks/github-pat"]


def test_a_word_like_key_beside_letters_goes_to_a_person_and_hashes_in_lock_files_do_not() -> None:
    text = "api_" + "key = 'hG7dk2LmPq9sXv4bTz8w'\n"
    findings = scan(Gitleaks(), {}, {"a.py": text, "uv.lock": text, "requirements.txt": text})
    assert [(f.path, f.severity) for f in findings] == [("a.py", PERSON)]


def test_a_whole_tree_is_scanned_before_an_agent_reads_it() -> None:
    whole = tree({"a.py": "x = 1\n", "deep/er/b.py": f"TOKEN = '{secret()}'\n"})
    assert [(f.path, f.line) for f in Gitleaks().scan_all(whole)] == [("deep/er/b.py", 1)]
    assert Gitleaks().scan_all({}) == ()
    assert [f.rule for f in Gitleaks(program="/nowhere/scanner").scan_all(whole)] == ["scanner-failed"]


def test_what_both_secret_scanners_see_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    whole = tree({"a.py": f"TOKEN = '{secret()}'\n"})
    both = (*Kingfisher().scan_all(whole), *Gitleaks().scan_all(whole))
    assert [f.rule for f in both] == ["kingfisher/github-pat", "gitleaks/github-pat"]
    assert [f.rule for f in merged(both)] == ["kingfisher/github-pat"]


def _said(rule: str, severity: Severity, path: str = "a", line: int = 1) -> Finding:
    return Finding(gate="scan", rule=rule, severity=severity, message="m", path=path, line=line)


def test_of_two_secret_scanners_the_heavier_word_stays() -> None:
    weak, strong = _said("kingfisher/uri", PERSON), _said("gitleaks/aws", REFUSE)
    other = _said("bandit/B105", PERSON)
    elsewhere = _said("gitleaks/aws", REFUSE, line=2)
    assert merged([weak, other, strong, elsewhere]) == (other, strong, elsewhere)
    assert merged([strong, _said("kingfisher/aws", REFUSE)]) == (_said("kingfisher/aws", REFUSE),)
