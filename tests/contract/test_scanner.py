"""What every scanner promises: it sees what is new, and a scanner that is not sure refuses."""

import base64
import gzip
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.scanners import SCAN_RULES, Bandit, Kingfisher, Ruff, tool
from blocks.scanners.gitleaks import Gitleaks
from blocks.scanners.tool import Tool
from domain.ports import Scanner
from domain.task import Finding, Severity
from domain.trees import Tree, TreeEntry

KINDS: list[type[Tool]] = [Kingfisher, Ruff, Bandit]
Make = Callable[..., Tool]


def secret(turn: int = 0) -> str:
    """A made-up GitHub token, put together here so that no scanner finds it in this file."""
    letters = "Zx7Kq2Wm9Rt4Yb6Nc8Vd3Lf5Js1Hg0Pa2Bu4"
    return "gh" + "p_" + letters[turn:] + letters[:turn]


WEAK: dict[type[Tool], str] = {
    Kingfisher: f"TOKEN = '{secret()}'\n",
    Ruff: "X = eval(text)\n",
    Bandit: "X = eval(text)\n",
}


def tree(files: dict[str, str | bytes]) -> Tree:
    return {path: TreeEntry(0o100644, c.encode() if isinstance(c, str) else c) for path, c in files.items()}


def scan(scanner: Scanner, base: dict[str, str | bytes], head: dict[str, str | bytes]) -> tuple[Finding, ...]:
    before, after = tree(base), tree(head)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return scanner.scan(before, after, changed)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home of its own, kept for the module: kingfisher compiles its rules into it once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCKGATE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__.lower())
def kind(request: pytest.FixtureRequest) -> type[Tool]:
    chosen: type[Tool] = request.param
    return chosen


@pytest.fixture
def scanner(kind: type[Tool]) -> Tool:
    return kind()


def test_it_works_here_and_says_its_version(scanner: Tool) -> None:
    assert scanner.doctor() is None
    assert scanner.version()[0].isdigit()


def test_a_weakness_in_a_new_file_is_found_with_its_place(scanner: Tool) -> None:
    findings = scan(scanner, {}, {"app/new.py": "# one\n" + WEAK[type(scanner)]})
    assert [(f.severity, f.path, f.line, f.gate) for f in findings] == [(Severity.REFUSE, "app/new.py", 2, "scan")]
    assert findings[0].rule.startswith(f"{scanner.name}/")


def test_what_base_has_is_not_found_again_where_lines_move(scanner: Tool) -> None:
    weak = WEAK[type(scanner)]
    assert scan(scanner, {"a.py": weak}, {"a.py": "# moved\n\n" + weak.replace(" = ", "  =  ")}) == ()


def test_a_second_one_like_it_is_new(scanner: Tool) -> None:
    weak = WEAK[type(scanner)]
    assert len(scan(scanner, {"a.py": weak}, {"a.py": weak * 2})) == 1


def test_the_same_weakness_in_another_file_is_new(scanner: Tool) -> None:
    weak = WEAK[type(scanner)]
    assert [f.path for f in scan(scanner, {"a.py": weak}, {"a.py": weak, "b.py": weak})] == ["b.py"]


def test_what_goes_away_is_no_finding(scanner: Tool) -> None:
    assert scan(scanner, {"a.py": WEAK[type(scanner)], "b.py": WEAK[type(scanner)]}, {"a.py": "x = 1\n"}) == ()


def test_files_that_did_not_change_are_not_looked_at(scanner: Tool) -> None:
    both = tree({"a.py": WEAK[type(scanner)]})
    assert scanner.scan({}, both, ["b.py"]) == ()


COMMENTS = (
    "# noqa",
    "# nosec",
    "# ruff: noqa",
    "# ruff: ignore[S307]",
    "# kingfisher:ignore",
    "# gitleaks:allow",
    "# nosemgrep",
)


def test_comments_that_tell_it_to_look_away_do_not_count(scanner: Tool) -> None:
    weak = WEAK[type(scanner)].rstrip("\n")
    head: dict[str, str | bytes] = {f"{n}.py": f"{told}\n{weak}  {told}\n" for n, told in enumerate(COMMENTS)}
    assert sorted(f.path for f in scan(scanner, {}, head)) == sorted(head)


def test_configuration_in_the_tree_does_not_count(scanner: Tool) -> None:
    head: dict[str, str | bytes] = {
        "pyproject.toml": "[tool.ruff]\nexclude = ['*']\n[tool.bandit]\nexclude_dirs = ['/']\nskips = ['B307']\n",
        "ruff.toml": "exclude = ['*']\n",
        ".bandit": "[bandit]\nexclude = /\nskips = B307\n",
        ".gitignore": "*\n",
        ".ignore": "*\n",
        "kingfisher.yaml": "exclude: ['*']\n",
        "app/a.py": WEAK[type(scanner)],
    }
    assert [f.path for f in scan(scanner, {}, head)] == ["app/a.py"]


NAMES = (
    "-rf.py", "a b.py", "$(id).py", "node_modules/x/a.py", ".venv/a.py", ".tox/a.py", "build/a.py", "ünï.py", "a.PY",
    "../../../../tmp/lockgate-escaped.py", "/tmp/lockgate-escaped.py",
)  # fmt: skip


def test_no_name_hides_a_file_or_leads_out_of_the_directory(scanner: Tool) -> None:
    head: dict[str, str | bytes] = dict.fromkeys(NAMES, WEAK[type(scanner)])
    assert sorted(f.path for f in scan(scanner, {}, head)) == sorted(NAMES)
    assert not Path("/tmp/lockgate-escaped.py").exists()


def test_a_clean_change_has_no_findings(scanner: Tool) -> None:
    head: dict[str, str | bytes] = {
        "app/search.py": "import sqlite3\n\n\ndef search(db: sqlite3.Connection, text: str) -> list[str]:\n"
        "    rows = db.execute('select name from products where name like ?', (f'%{text}%',))\n"
        "    return [row[0] for row in rows]\n",
        "uv.lock": 'hash = "sha256:' + "0123456789abcdef" * 4 + '"\n',
        "README.md": "Set `TOKEN=ghp_...` or `password: changeme` in your environment.\n",
        "data.bin": bytes(range(256)),
        "empty.py": "",
    }
    assert scan(scanner, {}, head) == ()


@pytest.fixture
def fake(tmp_path: Path, kind: type[Tool]) -> Make:
    """A scanner whose program is this shell script."""

    def make(script: str, timeout_s: float = 20) -> Tool:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)
        return kind(program=str(program), timeout_s=timeout_s)

    return make


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", "printed nothing"),
        ("exit 1", "printed nothing"),
        ("echo '[]'", "gave no answer"),
        ("echo '{}'", "gave no answer"),
        ('echo \'{"results": [], "errors": [], "metrics": {}, "findings": [], "audit": {"summary": '
         '{"scan_partial": 0, "scan_failed": 0}}}\'', "gave no answer"),
        ("echo 'all good, nothing found'", "something else than its report"),
        ("printf '\\377\\376'", "something else than its report"),
        ("echo '[]'; exit 3", "exit code 3"),
        ("echo '{'; kill -9 $$", "signal 9"),
        ("echo oops >&2; exit 2", "exit code 2"),
    ],
)  # fmt: skip
def test_a_program_that_says_nothing_that_can_be_believed_refuses(fake: Make, script: str, why: str) -> None:
    (finding,) = scan(fake(script), {}, {"a.py": "x = 1\n"})
    assert (finding.rule, finding.severity) == ("scanner-failed", Severity.REFUSE)
    assert why in finding.message
    assert fake(script).doctor()


def test_a_program_that_hangs_is_stopped_with_its_children_and_refuses(fake: Make, tmp_path: Path) -> None:
    scanner = fake(f"(sleep 3; touch {tmp_path}/still-there) & sleep 30", timeout_s=0.5)
    (finding,) = scan(scanner, {}, {"a.py": "x = 1\n"})
    assert (finding.rule, "longer than 0.5 s" in finding.message) == ("scanner-failed", True)
    time.sleep(3.5)
    assert not (tmp_path / "still-there").exists()


def test_a_program_that_is_missing_refuses_and_the_doctor_says_so(kind: type[Tool]) -> None:
    scanner = kind(program="/nowhere/scanner")
    (finding,) = scan(scanner, {}, {"a.py": "x = 1\n"})
    assert (finding.rule, finding.severity) == ("scanner-failed", Severity.REFUSE)
    assert "/nowhere/scanner cannot be started" in str(scanner.doctor())
    assert scanner.version() == "unknown"


def test_the_program_gets_nothing_of_the_platforms_environment(
    fake: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "platform-only")
    scan(fake(f"env > {tmp_path}/env; stat -c %a . > {tmp_path}/mode"), {}, {"a.py": "x = 1\n"})
    assert "platform-only" not in (tmp_path / "env").read_text()
    assert (tmp_path / "mode").read_text() == "700\n"


def test_nothing_is_left_behind(scanner: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scan(scanner, {}, {"a.py": WEAK[type(scanner)]})
    assert list(tmp_path.iterdir()) == []


def test_every_rule_that_a_scan_names_is_documented(scanner: Tool) -> None:
    documented = [rule.name.partition("*")[0] for rule in SCAN_RULES]
    for finding in scan(scanner, {}, {"a.py": WEAK[type(scanner)] + "assert X\n", "b.py": "def (\n"}):
        assert any(finding.rule.startswith(name) for name in documented), finding.rule


# kingfisher alone


def test_secrets_are_found_in_files_of_every_kind() -> None:
    head: dict[str, str | bytes] = {
        "tests/test_a.py": f"TOKEN = '{secret()}'\n",
        ".env": f"TOKEN={secret()}\n",
        "deploy/id_rsa": secret(),
        "notes.txt.gz": gzip.compress(f"TOKEN={secret()}\n".encode(), mtime=0),
        "blob.bin": b"\0\1\2" + f"TOKEN={secret()}\n".encode(),
        "encoded.txt": base64.b64encode(f"TOKEN={secret()} and more".encode()),
    }
    assert sorted(f.path for f in scan(Kingfisher(), {}, head)) == sorted(head)


def test_no_finding_holds_the_secret() -> None:
    aws = "AKI" + "A" + "Q3EGWLXZ7R5TBNMD"
    key = "wJa1rXUt" + "nFEMI7K7MDENGbPxRfiCY9AMPLEKEYq2"
    stripe = "sk_li" + "ve_" + "9aB3dE5fG7hJ1kL2mN4pQ6rS"
    head: dict[str, str | bytes] = {
        "a.py": f"token = '{secret()}'\naws_access_key_id = '{aws}'\naws_secret_access_key = '{key}'\n",
        "b.env": f"STRIPE={stripe}\n",
    }
    findings = scan(Kingfisher(), {}, head)
    assert len(findings) >= 3
    said = " ".join(finding.model_dump_json() for finding in findings)
    for value in (secret(), aws, key, stripe):
        assert value not in said
        assert not any(value[n : n + 8] in said for n in range(4, len(value) - 8))


def test_a_secret_in_place_of_another_is_new() -> None:
    base: dict[str, str | bytes] = {"a.py": f"TOKEN = '{secret()}'\n"}
    findings = scan(Kingfisher(), base, {"a.py": f"TOKEN = '{secret(3)}'\n"})
    assert [f.rule for f in findings] == ["kingfisher/github-pat"]


def in_parts(*parts: str) -> str:
    """An example that a scanner of this file would find, too."""
    return "".join(parts)


EXAMPLES = (
    in_parts("sk_te", "st_4eC39HqLyjWDarjtT1zdp7dc"),
    in_parts("gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"),
    in_parts("https://hooks.sla", "ck.com/services/T00000000/B00000000/", "X" * 24),
    in_parts("AKI", "AIOSFODNN7EXAMPLE"),
    in_parts("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UV", "ErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="),
)


def test_an_example_of_a_vendors_documentation_is_no_secret() -> None:
    for finder in (Kingfisher(), Gitleaks()):
        files: dict[str, str | bytes] = {f"docs/{n}.md": f"API_KEY='{value}'\n" for n, value in enumerate(EXAMPLES)}
        assert finder.secrets(tree(files)) == ((), ())


def test_what_a_project_lists_as_an_example_is_none_and_any_other_value_is() -> None:
    for kind in (Kingfisher, Gitleaks):
        head: dict[str, str | bytes] = {"docs/keys.md": f"TOKEN='{secret()}'\n"}
        (finding,) = scan(kind(), {}, head)
        listed = re.findall(r"hash ([0-9a-f]{8})", finding.message)
        assert scan(kind(examples=tuple(listed)), {}, head) == ()
        (other,) = scan(kind(examples=tuple(listed)), {}, {"docs/keys.md": f"TOKEN='{secret(3)}'\n"})
        assert other.severity is Severity.REFUSE


def test_a_database_on_the_developers_own_machine_goes_to_a_person() -> None:
    address = "postgres://" + "postgres:" + "postgres@db:5432/app"
    findings = scan(Kingfisher(), {}, {"compose.yaml": f"DATABASE_URL: {address}\n"})
    assert [f.severity for f in findings] == [Severity.PERSON]


def test_a_whole_tree_is_scanned_before_an_agent_reads_it() -> None:
    whole = tree({"a.py": "x = 1\n", "deep/er/b.py": f"TOKEN = '{secret()}'\n"})
    assert [(f.path, f.line) for f in Kingfisher().scan_all(whole)] == [("deep/er/b.py", 1)]
    assert Kingfisher().scan_all({}) == ()
    assert [f.rule for f in Kingfisher(program="/nowhere/scanner").scan_all(whole)] == ["scanner-failed"]


# the Python scanners alone


@pytest.fixture(params=[Ruff, Bandit], ids=["ruff", "bandit"])
def python_scanner(request: pytest.FixtureRequest) -> Tool:
    chosen: type[Tool] = request.param
    return chosen()


WEAKNESSES = (
    "subprocess.run(text, shell=True)",
    "requests.get(text, verify=False, timeout=5)",
    "yaml.load(text)",
    "pickle.loads(text)",
    "exec(text)",
    "tempfile.mktemp()",
    "jinja2.Environment(autoescape=False)",
    "ssl._create_unverified_context()",
)


def test_a_weakness_is_refused(python_scanner: Tool) -> None:
    modules = "import hashlib, jinja2, pickle, requests, ssl, subprocess, tempfile, yaml\n"
    base: dict[str, str | bytes] = {f"{n}.py": modules for n in range(len(WEAKNESSES))}
    head: dict[str, str | bytes] = {f"{n}.py": modules + line + "\n" for n, line in enumerate(WEAKNESSES)}
    found = scan(python_scanner, base, head)
    assert sorted({f.path for f in found if f.severity is Severity.REFUSE}) == sorted(head)


SHA1 = "import hashlib\nclass Signer:\n    digest = staticmethod(hashlib.sha1)\n"
LAZY = (
    "import hashlib\ndef lazy(text):\n    return hashlib.sha1(text)\nclass Signer:\n    digest = staticmethod(lazy)\n"
)
SQL = "def drop(cursor, name):\n    cursor.execute('DELETE FROM {}'.format(quoted(name)))\n"
SHELL = "import subprocess\ndef a(x):\n    subprocess.run(x, shell=True)\n"


@pytest.mark.parametrize(
    ("base", "head", "weights"),
    [
        (SHA1, LAZY, {Severity.NOTE}),  # base used it as often, and did not call it there
        (SHA1, LAZY + "KEY = hashlib.sha1(SECRET)\n", {Severity.PERSON}),  # once more than base
        ("import hashlib\n", "import hashlib\nhashlib.md5(text)\n", {Severity.PERSON}),
        ("import hashlib\nhashlib.new('sha256')\n", "import hashlib\nhashlib.new('md5')\n", {Severity.PERSON}),
        (SQL, SQL + "    cursor.execute('SELECT a FROM {}'.format(quoted(name)))\n", {Severity.PERSON}),
        (SHELL, SHELL.replace("(x, shell=True)", "(\n        x,\n        shell=True,\n    )"), set()),
        (SHELL, "import subprocess\ndef b(x):\n    if x:\n        return subprocess.run(x, shell=True)\n", set()),
        ("import subprocess\nsubprocess.run(x)\n", "import subprocess\nsubprocess.run(x, shell=True)\n",
         {Severity.REFUSE}),
        (SHELL, SHELL + "    subprocess.run(x, shell=True)\n", {Severity.REFUSE}),
    ],
)  # fmt: skip
def test_what_base_already_does_is_not_new(python_scanner: Tool, base: str, head: str, weights: set[Severity]) -> None:
    assert {f.severity for f in scan(python_scanner, {"a.py": base}, {"a.py": head})} == weights


def test_tests_may_assert_and_eval(python_scanner: Tool) -> None:
    head: dict[str, str | bytes] = {"tests/test_a.py": "assert eval('1')\n", "conftest.py": "eval('1')\n"}
    assert scan(python_scanner, {}, head) == ()


def test_an_assert_in_product_code_is_a_note(python_scanner: Tool) -> None:
    assert [f.severity for f in scan(python_scanner, {}, {"a.py": "assert X\n"})] == [Severity.NOTE]


def test_a_password_goes_to_a_person_who_is_not_shown_it_here(python_scanner: Tool) -> None:
    (finding,) = scan(python_scanner, {}, {"a.py": "PASSWORD = 'hunter2222'\n"})
    assert finding.severity is Severity.PERSON
    assert "hunter2222" not in finding.model_dump_json()


def test_a_program_without_a_suffix_is_scanned(python_scanner: Tool) -> None:
    assert len(scan(python_scanner, {}, {"bin/run": "#!/usr/bin/env python3\neval(x)\n"})) == 1
    assert scan(python_scanner, {}, {"bin/run": "#!/bin/sh\neval x\n"}) == ()


def test_what_cannot_be_read_is_never_passed_over(python_scanner: Tool) -> None:
    for content in ("def (\n", b"X = '\xe9'\nY = eval(text)\n"):
        assert scan(python_scanner, {}, {"a.py": content})


def test_code_for_a_newer_python_is_not_refused(python_scanner: Tool) -> None:
    weights = {f.severity for f in scan(python_scanner, {}, {"a.py": "type X = int\nprint(f'{'a'}')\n"})}
    assert Severity.REFUSE not in weights


def test_the_version_is_asked_once_until_the_program_is_another_one(kind: type[Tool], tmp_path: Path) -> None:
    program, asked = tmp_path / "scanner", tmp_path / "asked"
    for version in ("1.2.3", "1.2.10"):
        program.write_text(f"#!/bin/sh\necho x >> {asked}\necho scanner {version}\n")
        program.chmod(0o755)
        scanner = kind(program=str(program))
        assert [scanner.version(), kind(program=str(program)).version()] == [version, version]
    assert asked.read_text() == "x\nx\n"


def test_what_it_said_at_the_install_no_process_asks_again_until_the_program_is_another_one(
    kind: type[Tool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, asked = tmp_path / "scanner", tmp_path / "asked"
    program.write_text(f"#!/bin/sh\necho x >> {asked}\necho scanner 1.2.3\n")
    program.chmod(0o755)
    monkeypatch.setattr(tool, "installed", lambda: tmp_path)
    monkeypatch.setattr(tool, "_VERSIONS", {})
    tool.keep_versions([kind(program=str(program))])
    tool._kept_versions.cache_clear()
    try:
        for count, version in enumerate(("1.2.3", "1.2.10"), 1):
            tool._VERSIONS.clear()  # as in another process
            assert kind(program=str(program)).version() == version
            assert asked.read_text() == "x\n" * count
            program.write_text(f"#!/bin/sh\necho x >> {asked}\necho scanner 1.2.10\n")
    finally:
        tool._kept_versions.cache_clear()
