"""`lockgate findings`: what is on record of an attempt, for people, for programs and as SARIF."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from blocks.ledger.ledger import Ledger
from domain.errors import InputError
from domain.task import Attempt, Finding, Rehearsed, Scanned, Severity
from domain.task import Tested as OfTests
from domain.value import Value
from station import cli
from station import findings as station_findings
from station.findings import show_findings
from tasks.pages.sarif import as_sarif
from tests.unit.policy_cases import prepared, row
from tests.unit.test_sarif import check

RUN = "0b5b0a52-0000-4000-8000-000000000000"
FIRST, SECOND, THIRD = "1" * 40, "2" * 40, "3" * 40


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A run with two attempts that were judged, and a third that nobody has tested."""
    ledger = Ledger(url=SecretStr(f"sqlite:///{tmp_path}/ledger.db"))
    ready = prepared()
    ready = ready.model_copy(
        update={
            "run_id": RUN,
            "brief": ready.brief.model_copy(update={"repository": "https://git.example.org/shop.git"}),
        }
    )
    eval_ = Finding(
        gate="scan", rule="ruff/S307", severity=Severity.REFUSE, message="eval", path="a b.py", line=3, fix="parse"
    )
    lint = Finding(
        gate="test", rule="lint-broken", severity=Severity.REFUSE, message="lint: [red]x[/]\x1b[2J", path="a.py"
    )
    told: list[tuple[str, str, Value]] = [("prepared", "1", ready)]
    for number, commit in enumerate((FIRST, SECOND, THIRD), 1):
        told.append(("attempt", str(number), Attempt(number=number, base="b" * 40, commit=commit)))
    for commit, seen in ((FIRST, (eval_,)), (SECOND, ())):
        told.append(("scanned", commit, Scanned(commit=commit, findings=seen, scanners=("ruff 1",),
                                                suppressed=("bandit/B101: asserts",))))  # fmt: skip
        told.append(("tested", commit, OfTests(commit=commit, rows=(row("t", "failed", "passed"),), findings=(lint,),
                                              sandbox="fake")))  # fmt: skip
    for kind, key, value in told:
        ledger.record(RUN, kind, key, value)

    def read_run(run_id: str) -> SimpleNamespace:
        if run_id != RUN:
            raise InputError(f"there is no run {run_id!r}")
        return SimpleNamespace(id=run_id)

    monkeypatch.setattr(station_findings, "read_run", read_run)
    monkeypatch.setattr(station_findings, "ledger_of", lambda _: ledger)
    return ledger


def test_the_newest_attempt_that_was_judged_is_shown_with_what_is_suppressed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_findings(RUN)
    out = capsys.readouterr().out
    assert out.startswith(f"attempt 2, commit {SECOND[:12]}")
    assert "lint: [red]x[/]�[2J" in out
    assert "\x1b" not in out
    assert "suppressed: bandit/B101: asserts" in out
    assert "ruff/S307" not in out
    show_findings(RUN, attempt=1)
    assert "ruff/S307" in capsys.readouterr().out


def test_a_program_gets_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings(RUN, attempt=1, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["attempt"], said["commit"], said["suppressed"]) == (1, FIRST, ["bandit/B101: asserts"])
    assert [Finding.model_validate(one).rule for one in said["findings"]] == ["ruff/S307", "lint-broken"]


def test_a_forge_gets_sarif_that_names_the_commit_and_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_findings(RUN, attempt=1, to=tmp_path / "out.sarif")
    assert capsys.readouterr().out == f"wrote {tmp_path}/out.sarif\n"
    run = check(json.loads((tmp_path / "out.sarif").read_text()))
    assert run["versionControlProvenance"] == [
        {"repositoryUri": "https://git.example.org/shop.git", "revisionId": FIRST}
    ]
    assert [result["ruleId"] for result in run["results"]] == ["ruff/S307", "lint-broken"]
    rules = {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}
    assert "succeeds on base" in rules["lint-broken"]["fullDescription"]["text"], "documented by its own rule"
    show_findings(RUN, attempt=1, to=Path("-"))
    assert check(json.loads(capsys.readouterr().out)) == run


def test_a_repository_that_is_a_path_is_not_told(ledger: Ledger) -> None:
    seen = station_findings.seen_of(ledger, RUN)._replace(repository="/srv/git/shop.git")
    assert "versionControlProvenance" not in check(as_sarif(seen.findings, seen.repository, seen.attempt.commit))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nonsense"], "there is no run 'nonsense'"),
        ([RUN, "--attempt", "3"], "no tested and scanned attempt 3 (attempts: 1, 2, 3)"),
        ([RUN, "--attempt", "9"], "no tested and scanned attempt 9"),
        (
            [RUN, "--sarif", "/nowhere/at/all.sarif"],
            "--sarif /nowhere/at/all.sarif: it cannot be written: No such file",
        ),
        ([RUN, "--sarif", "/"], "--sarif /: it cannot be written"),
        ([RUN, "--sarif", "x", "--json"], "give one of --sarif and --json"),
    ],
)
def test_wrong_use_says_what_is_wrong(words: list[str], why: str) -> None:
    done = CliRunner().invoke(cli.app, ["findings", *words])
    assert isinstance(done.exception, InputError), done.output
    assert why in str(done.exception)


def test_a_run_that_was_not_judged_yet_has_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no attempt that was tested and scanned"):
        station_findings.seen_of(Ledger(url=SecretStr(f"sqlite:///{tmp_path}/empty.db")), RUN)


def test_what_the_rehearsal_of_its_migration_found_is_there_too(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks = Finding(
        gate="migration",
        rule="migration-breaks-running",
        severity=Severity.REFUSE,
        message="the running release breaks",
    )
    environment = prepared().brief.environment
    seen = Rehearsed(
        commit=SECOND, environment=str(environment), migration_class="expand", findings=(breaks,), report="r"
    )
    ledger.record(RUN, "rehearsed", f"{environment}/{SECOND}", seen)
    show_findings(RUN, as_json=True)
    assert json.loads(capsys.readouterr().out)["findings"][0]["rule"] == "migration-breaks-running"
