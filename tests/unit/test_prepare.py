"""What a task starts from: where the settings come from, what is installed, and which acceptance proves something."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ConfigDict, SecretStr

from blocks.ledger.ledger import Ledger
from blocks.workshop import Workshop
from domain.agent_choice import CHEAPEST, AgentChoice
from domain.agent_scope import AgentScope
from domain.brief import Acceptance, AcceptanceFile, Brief
from domain.errors import InputError
from domain.policy.baseline import ACCEPTANCE_COMMAND, base_refusals, base_warnings, least_passing, standing
from domain.project import ProjectSettings, RecordBar
from domain.task import CaseOutcome, Suite
from domain.value import Value
from tasks.prepare import _check_commands, check_repository, project_settings, with_agent
from tasks.room.requirements import installation
from tests.unit.policy_cases import prepared, tree
from tests.unit.test_by_record import changes
from tests.unit.test_record_of_a_team import Told

FILE = "tests/test_new.py"


def brief(acceptance: Acceptance | None = None, **fields: Any) -> Brief:
    accepted = acceptance or Acceptance(files=(AcceptanceFile(path=FILE, content="def test_it(): ..."),))
    return Brief(title="Search", goal="Add a search", repository="shop.git", acceptance=accepted, **fields)


def no_block(name: str) -> ProjectSettings:
    if name != "shop":
        raise InputError(f"there is no block 'project/{name}'")
    return ProjectSettings(test="make check")


SHOP = cast(Workshop, SimpleNamespace(project=no_block))

# --- repository


def test_a_workshop_may_be_for_some_repositories_alone() -> None:
    check_repository(cast(Workshop, SimpleNamespace(repositories=())), brief())
    check_repository(cast(Workshop, SimpleNamespace(repositories=("/srv/a.git", "shop.git"))), brief())
    with pytest.raises(InputError, match=r"'default' is not for shop\.git: its `repositories` names /srv/a\.git"):
        check_repository(cast(Workshop, SimpleNamespace(repositories=("/srv/a.git",))), brief())


def test_the_cheapest_agent_is_chosen_once_and_is_on_record_with_the_reasons(tmp_path: Path) -> None:
    ledger = Ledger(url=SecretStr(f"sqlite:///{tmp_path}/ledger.db"))
    scopes = {"codex/a": AgentScope(), "codex/b": AgentScope(), "codex/c": AgentScope(repositories=("other.git",))}

    def agent(reference: str) -> Any:
        return SimpleNamespace(scope=scopes[reference])

    choice = AgentChoice(agents=tuple(scopes), bar=RecordBar(window=10))
    shop = cast(Workshop, SimpleNamespace(ledger=ledger, choice=choice, agent=agent))
    wanted = brief(agent=CHEAPEST)
    with pytest.raises(InputError, match=r"name one in `agent`: not codex/a: codex/a has 0 changes"):
        with_agent(shop, "run", wanted)
    told = Told()
    for name, usd in (("codex/a", 2.0), ("codex/b", 1.0), ("codex/c", 0.5)):
        changes(told, 10, name, usd=usd)
    for each in told.entries:
        ledger.record(each.run_id, each.kind, each.key, Body.model_validate(each.body))
    assert with_agent(shop, "run", wanted).agent == "codex/b"
    (noted,) = ledger.entries(run_id="run", kind="chosen")
    assert noted.body["reasons"][0].startswith("$1.00 a merged change")
    assert (
        "not codex/c: the agent codex/c may not work on shop.git: its scope allows other.git" in noted.body["reasons"]
    )
    scopes["codex/b"] = AgentScope(repositories=("other.git",))
    assert with_agent(shop, "run", wanted).agent == "codex/b", "once"
    assert with_agent(shop, "run", brief(agent="codex/a")).agent == "codex/a"


class Body(Value):
    """Any entry."""

    model_config = ConfigDict(extra="allow")


# --- settings

OWN = ProjectSettings(test="make brief")
SOURCES: dict[str, tuple[dict[str, str], ProjectSettings | str | None, str, str]] = {
    "lockgate.toml": ({"lockgate.toml": 'test = "make toml"'}, None, "make toml", "lockgate.toml"),
    "lockgate.toml before the brief": ({"lockgate.toml": 'test = "make toml"'}, OWN, "make toml", "lockgate.toml"),
    "an empty lockgate.toml": ({"lockgate.toml": ""}, None, "python -m pytest", "lockgate.toml"),
    "the brief": ({"tests/test_a.py": ""}, OWN, "make brief", "the brief"),
    "a block": ({"tests/test_a.py": ""}, "shop", "make check", "block shop"),
    "found tests": ({"tests/test_a.py": ""}, None, "python -m pytest", "detected: pytest"),
    "found tests of the other name": ({"a_test.py": ""}, None, "python -m pytest", "detected: pytest"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_settings_come_from_the_repository_then_the_brief_then_what_is_found(name: str) -> None:
    files, project, test, source = SOURCES[name]
    settings, came_from = project_settings(SHOP, brief(project=project, branch="main"), tree(files))
    assert (settings.test, came_from) == (test, source)


def test_a_lock_file_is_found_with_the_tests() -> None:
    found, _ = project_settings(SHOP, brief(), tree({"tests/test_a.py": "", "requirements.txt": "flask==3.0"}))
    assert found.lock == "requirements.txt"
    assert project_settings(SHOP, brief(), tree({"tests/test_a.py": ""}))[0].lock is None


WRONG: dict[str, tuple[dict[str, str | bytes], str | None, str]] = {
    "nothing tells": ({"README.md": "", "latest.py": ""}, None, "add lockgate.toml"),
    "not TOML": ({"lockgate.toml": "test = "}, None, "lockgate.toml on main is not valid"),
    "not UTF-8": ({"lockgate.toml": b'test = "\xff"'}, None, "lockgate.toml on main is not valid"),
    "a misspelt field": ({"lockgate.toml": 'tests = "x"'}, None, "tests"),
    "a wrong type": ({"lockgate.toml": "test_timeout_s = -1"}, None, "test_timeout_s"),
    "an unknown block": ({"tests/test_a.py": ""}, "elsewhere", "project/elsewhere"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_are_wrong_say_what_and_where(name: str) -> None:
    files, project, told = WRONG[name]
    with pytest.raises(InputError, match=told):
        project_settings(SHOP, brief(project=project, branch="main"), tree(files))


@pytest.mark.parametrize(
    ("settings", "command", "told"),
    [
        ({"test": "pytest -k 'a"}, None, r"test \(lockgate\.toml\) is not a command line: No closing quotation"),
        ({"test": ""}, None, r"test \(lockgate\.toml\) is not a command line: it is empty"),
        ({"build": "  "}, None, r"build \(lockgate\.toml\) is not a command line: it is empty"),
        ({"lint": 'ruff "check'}, None, r"lint \(lockgate\.toml\)"),
        ({"types": "mypy \\"}, None, r"types \(lockgate\.toml\)"),
        ({}, "grep 'x", r"acceptance\.command \(the brief\)"),
    ],
)
def test_a_command_that_cannot_be_split_into_words_is_named(
    settings: dict[str, str], command: str | None, told: str
) -> None:
    told_brief = brief(Acceptance(command=command, tests=("a.py::a",)))
    with pytest.raises(InputError, match=told):
        _check_commands(told_brief, ProjectSettings(**cast(Any, settings)), "lockgate.toml")


def test_commands_with_quotes_and_settings_without_checks_are_fine() -> None:
    settings = ProjectSettings(test='pytest -k "a or b"', build="")
    _check_commands(brief(Acceptance(command="grep 'two words' x")), settings, "lockgate.toml")


# --- requirements

LOCK = """\
# made by a tool
flask==3.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
    # via shop
jinja2==3.1 --hash=sha256:cccc  # via flask

colorama==0.4 ; sys_platform == 'win32' --hash=sha256:dddd
"""
METADATA = """
[project]
name = "shop"
dependencies = ["flask>=3", "jinja2"]

[project.optional-dependencies]
test = ["pytest>=8", "hypothesis"]
docs = ["sphinx"]

[dependency-groups]
tests = ["responses", {include-group = "lint"}]
lint = ["ruff"]
"""
REQUIREMENTS: dict[str, tuple[dict[str, Any], dict[str, str], set[str]]] = {
    "none, but pytest runs": ({}, {}, {"pytest"}),
    "none, and pytest does not run": ({"test": "make check"}, {}, set()),
    "a list": ({"requirements": ("flask", "jinja2")}, {}, {"flask", "jinja2", "pytest"}),
    "a list with a pytest of its own": ({"requirements": ("PyTest[x]>=9 ; python_version > '3'",)}, {}, {
        "PyTest[x]>=9 ; python_version > '3'"
    }),
    "a list with a plugin alone": ({"requirements": ("pytest-cov",)}, {}, {"pytest-cov", "pytest"}),
    "a list, whatever the metadata say": ({"requirements": ("flask",)}, {"pyproject.toml": METADATA}, {
        "flask", "pytest"
    }),
    "metadata": ({}, {"pyproject.toml": METADATA}, {
        "flask>=3", "jinja2", "pytest>=8", "hypothesis", "responses", "ruff"
    }),
    "metadata without dependencies": ({}, {"pyproject.toml": "[tool.ruff]\n"}, {"pytest"}),
    "a list and a lock": ({"requirements": ("gunicorn",), "lock": "r.txt"}, {"r.txt": "flask==3.0\n"}, {
        "gunicorn", "flask==3.0", "pytest"
    }),
    "the same line twice": ({"requirements": ("flask", "flask"), "test": "make"}, {}, {"flask"}),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_come_from_the_list_the_lock_or_the_metadata(name: str) -> None:
    settings, files, wanted = REQUIREMENTS[name]
    lines = installation(SHOP, ProjectSettings(**settings), tree(files)).requirements
    assert set(lines) == wanted
    assert list(lines) == sorted(lines)


def test_a_lock_is_read_line_by_line_with_its_hashes() -> None:
    lines = installation(SHOP, ProjectSettings(lock="r.txt"), tree({"r.txt": LOCK})).requirements
    assert set(lines) == {
        "flask==3.0 --hash=sha256:aaaa --hash=sha256:bbbb",
        "jinja2==3.1 --hash=sha256:cccc",
        "colorama==0.4 ; sys_platform == 'win32' --hash=sha256:dddd",
        "pytest",
    }


@pytest.mark.parametrize(
    ("settings", "files", "told"),
    [
        ({"lock": "uv.lock"}, {}, "'uv.lock' is not in the repository"),
        ({}, {"pyproject.toml": "[project"}, "not valid TOML"),
        ({}, {"pyproject.toml": b"\xff"}, "not valid TOML"),
        ({}, {"pyproject.toml": "project = 3"}, "should be a table"),
        ({}, {"pyproject.toml": "[project]\noptional-dependencies = 3"}, "should be a table"),
        ({}, {"pyproject.toml": "dependency-groups = []"}, "should be a table"),
        ({}, {"pyproject.toml": "[project]\ndependencies = 'flask'"}, "not a list"),
        ({}, {"pyproject.toml": "[dependency-groups]\ntest = 'flask'"}, "not a list"),
    ],
)
def test_requirements_that_cannot_be_read_say_why(
    settings: dict[str, Any], files: dict[str, str | bytes], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        installation(SHOP, ProjectSettings(**settings), tree(files))


# --- the acceptance on base


def base(cases: dict[str, str], **fields: Any) -> Suite:
    return Suite(**{"cases": {t: CaseOutcome(o) for t, o in cases.items()}, "exit_code": 1, **fields})


OTHER = AcceptanceFile(path="tests/conftest.py", content="")
TWO = (AcceptanceFile(path=FILE, content=""), AcceptanceFile(path="tests/test_two.py", content=""))
NAMED = Acceptance(tests=("tests/test_a.py::test_x",))
BY_COMMAND = Acceptance(command="grep x y")

CONTRACTS: dict[str, tuple[Acceptance | None, Suite, str | None]] = {
    "red": (None, base({f"{FILE}::test_it": "failed"}), None),
    "does not import": (None, base({FILE: "error"}), None),
    "red and green tests in one file": (None, base({f"{FILE}::a": "failed", f"{FILE}::b": "passed"}), None),
    "green": (None, base({f"{FILE}::test_it": "passed"}), f"already passes on base ({FILE})"),
    "skipped": (None, base({f"{FILE}::test_it": "skipped"}), f"already passes on base ({FILE})"),
    "not found": (None, base({"tests/test_a.py::a": "passed"}), "no acceptance test was found"),
    "both of two files are green": (
        Acceptance(files=TWO),
        base({f"{FILE}::a": "passed", "tests/test_two.py::b": "passed"}),
        f"already passes on base ({FILE}, tests/test_two.py)",
    ),
    "a named test is green and the command fails": (
        Acceptance(tests=NAMED.tests, command="grep x y"),
        base({"tests/test_a.py::test_x": "passed"}, checks={ACCEPTANCE_COMMAND: 1}),
        None,
    ),
    "one of two files is green": (
        Acceptance(files=TWO),
        base({f"{FILE}::a": "failed", "tests/test_two.py::b": "passed"}),
        None,
    ),
    "a file without tests beside a red one": (
        Acceptance(files=(TWO[0], OTHER)),
        base({f"{FILE}::a": "failed"}),
        None,
    ),
    "a named test is red": (NAMED, base({"tests/test_a.py::test_x": "failed"}), None),
    "a named test is not there yet": (NAMED, base({}), None),
    "a named test is green": (NAMED, base({"tests/test_a.py::test_x": "passed"}), "(tests/test_a.py::test_x)"),
    "one parameter of a named test is red": (
        NAMED,
        base({"tests/test_a.py::test_x[1]": "passed", "tests/test_a.py::test_x[2]": "failed"}),
        None,
    ),
    "the command fails": (BY_COMMAND, base({}, checks={ACCEPTANCE_COMMAND: 1}), None),
    "the command succeeds": (BY_COMMAND, base({}, checks={ACCEPTANCE_COMMAND: 0}), "(grep x y)"),
    "the command's program is not there": (
        None,
        base(
            {"go test ./...": "failed"}, runner="exit code", messages={"go test ./...": "start: exec: go: not found\n"}
        ).model_copy(update={"exit_code": 127}),
        "does not start where the tests run: start: exec: go: not found",
    ),
    "the tests cannot be run": (
        None,
        base({f"{FILE}::test_it": "failed"}, problem="pytest wrote no report"),
        "cannot be run on base: pytest wrote no report",
    ),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_an_acceptance_that_proves_nothing_is_refused_with_the_reason(name: str) -> None:
    acceptance, suite, told = CONTRACTS[name]
    refusals = base_refusals(brief(acceptance), ProjectSettings(), suite)
    assert len(refusals) == (told is not None), refusals
    assert (told or "") in " ".join(refusals)


def test_what_fails_on_base_and_is_not_meant_to_is_told() -> None:
    ready = prepared(known_failures=("tests/test_a.py::known",))
    outcomes = {f"tests/test_a.py::test_{n}": "failed" for n in range(6)} | {"tests/test_b.py": "error"}
    meant = {"tests/test_a.py::known": "failed", "tests/test_search.py::test_search": "failed", "a.py::fine": "passed"}
    shares, lint = base_warnings(ready, base(outcomes | meant, checks={"lint": 2, "build": 0, ACCEPTANCE_COMMAND: 1}))
    assert shares.startswith("on base only 1 of 8 tests pass (12 %); these do not count for the change: tests/test_a")
    assert "tests/test_a.py::test_4 and 2 more (mend them" in shares
    assert lint == "lint fails on base (exit code 2), so only what it says anew counts for the change"
    assert base_warnings(ready, base(meant)) == ()


RUNS: dict[str, tuple[dict[str, str], dict[str, Any], str | None]] = {
    "some pass": ({"tests/test_a.py::a": "passed", "tests/test_a.py::b": "failed"}, {}, None),
    "a module is not imported": (
        {"tests/test_a.py::a": "passed", "tests/test_b.py": "error", "tests/test_c.py": "error"},
        {},
        r"tests/test_b\.py cannot be imported on base \(and 1 more\): ModuleNotFoundError: No module named 'yaml'; see",
    ),
    "one that is known": (
        {"tests/test_a.py::a": "passed", "tests/test_b.py": "error"},
        {"known_failures": ("tests/test_b.py",)},
        None,
    ),
    "a file that fails by its tests": (
        {"a.js::a": "passed", "a.js::b": "failed", "a.js": "failed"},
        {"runner": "node"},
        None,
    ),
    "one that skips itself": ({"tests/test_a.py::a": "passed", "tests/test_b.py": "skipped"}, {}, None),
    "none passes": (
        {"tests/test_a.py::a": "failed"},
        {},
        r"none of 1 tests passes on base, .* tests/test_a\.py::a: 1;",
    ),
    "all skip themselves": ({"tests/test_a.py::a": "skipped"}, {}, "none of 1 tests passes on base, .* is skipped"),
    "nothing is collected": ({}, {}, r"runs no test of the project's own on base, and tests/test_a\.py looks like one"),
    "the command fails": (
        {"make check": "failed"},
        {"runner": "exit code", "by": BY_COMMAND},
        "none of 1 tests passes",
    ),
    "it may fail by the acceptance file": ({"make check": "failed"}, {"runner": "exit code"}, None),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_suite_that_does_not_run_is_refused_before_anybody_is_paid(name: str) -> None:
    cases, told, reason = RUNS[name]
    told = {"runner": "pytest", "by": None, "known_failures": (), **told}
    red = {f"{FILE}::test_it": "failed"} if told["runner"] == "pytest" else {}
    messages = {"tests/test_b.py": "E   ModuleNotFoundError: No module named 'yaml'", "tests/test_a.py::a": "E 1"}
    suite = base({**red, **cases}, runner=told["runner"], messages=messages, checks={ACCEPTANCE_COMMAND: 1})
    settings = ProjectSettings(known_failures=told["known_failures"])
    refusals = base_refusals(brief(told["by"]), settings, suite, [FILE, "tests/test_a.py"])
    if reason is None:
        assert refusals == () or "no acceptance test was found" in refusals[0]
    else:
        assert re.search(reason, " ".join(refusals)), refusals


def test_below_the_limit_a_person_is_asked_and_a_brief_only_raises_it() -> None:
    cases = {f"tests/test_a.py::test_{n}": "failed" if n else "passed" for n in range(3)}
    known = {"tests/test_a.py::test_1": "failed", "tests/test_search.py::test_search": "failed"}
    ready = prepared(known_failures=("tests/test_a.py::test_1",)).model_copy(update={"baseline": base(cases | known)})
    assert standing(ready).share == 0.5
    assert standing(ready).sentence == "on base only 1 of 2 tests pass (50 %)"
    low = prepared(review={"least_passing": 0.1})
    assert (least_passing(low, from_base=True), least_passing(low, from_base=False)) == (0.1, 0.5)
